"""A third member of a room, who knows its secret, cannot take away what two others have."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from tests.hostile.agents import Watched, agent
from tests.hostile.member import member
from tests.support.adversary import AdversarialServer, Letter
from tests.support.conditions import until
from tests.support.ice_sides import LOOPBACK, Heard
from tests.support.server_running import server_process
from tests.support.ws_raw import Message
from visavis_peer.ice import IceSession
from visavis_shared.invite import Invite
from visavis_shared.messages import IceCredentials

pytestmark = pytest.mark.timeout(60)


QUIET: Final = 1.0
"""Seconds for which nothing is to happen that would happen within milliseconds."""
CHALLENGE_SIZE: Final = 100
"""Bytes of a UDP payload with a challenge and nothing else, at most."""


class Thief:
    """An ICE session of the thief's own with a victim."""

    def __init__(self, *, controlling: bool) -> None:
        self.ice = IceSession()
        self.heard = Heard()
        self.came: list[bytes] = []
        """UDP payloads of the victim."""
        self.ice.attach(self.heard.callbacks())
        self.ice.set_role(controlling=controlling)
        self.ice.deliver_to(self.came.extend)

    @property
    def described(self) -> Message:
        """What an OFFER or ANSWER says of it."""
        credentials = self.ice.credentials.model_dump()
        return {"ice": credentials, "candidates": self.ice.candidates, "end_of_candidates": True}

    async def check(self, payload: Message) -> None:
        """Have a valid pair with the one whose OFFER or ANSWER this is."""
        self.ice.set_remote(IceCredentials.model_validate(payload["ice"]))
        for line in payload["candidates"]:
            self.ice.add_candidate(line)
        self.ice.add_candidate(None)
        async with asyncio.timeout(10):
            await self.ice.check()
        assert self.heard.paths


@asynccontextmanager
async def thief(*, controlling: bool) -> AsyncIterator[Thief]:
    one = Thief(controlling=controlling)
    await one.ice.bind((LOOPBACK,))
    try:
        yield one
    finally:
        await one.ice.close()


async def direct(watched: Watched, name: str) -> None:
    """Wait until the link with `name` is up on a direct path."""
    await watched.says("link_up", name=name)
    await until(lambda: any(event["path"] == "direct" for event in watched.of("link_up", "path")))


@asynccontextmanager
async def unmoved(*agents: Watched) -> AsyncIterator[None]:
    """See that no link of theirs moves or ends in the block, nor soon after."""
    seen = [each.of("link_up", "path", "link_down") for each in agents]
    yield
    with pytest.raises(AssertionError, match="did not come true"):
        await until(lambda: seen != [each.of("link_up", "path", "link_down") for each in agents], QUIET)


async def test_claims_that_a_third_member_repeats_move_nothing() -> None:
    secret = secrets.token_bytes(16)
    async with server_process() as server:
        invite = str(Invite(f"http://127.0.0.1:{server.port}", "r", secret))
        async with agent(server.port, "ann", invite=invite) as ann, agent(server.port, "bob", invite=invite) as bob:
            await asyncio.gather(direct(ann, "bob"), direct(bob, "ann"))
            async with member(server.port, secret=secret) as mallory, thief(controlling=True) as path:
                owner, victim = await mallory.peer("ann"), await mallory.peer("bob")
                offer = await mallory.hears(lambda message: (message["type"], message["peer_id"]) == ("OFFER", owner))
                assert len(offer["payload"]["links"]) == 1
                said = ("session_id", "links", "nonce", "instance", "fingerprint", "speaks")
                told = {name: offer["payload"][name] for name in said}
                async with unmoved(ann, bob):
                    mallory.say_sealed("OFFER", victim, **told, **path.described)
                    answer = await mallory.hears(
                        lambda message: (message["type"], message["peer_id"]) == ("ANSWER", victim)
                    )
                    assert "link" not in answer["payload"]
                    await path.check(answer["payload"])


async def test_a_way_that_a_server_puts_in_the_place_of_a_peers_carries_a_challenge_and_nothing_else() -> None:
    async with thief(controlling=True) as path, AdversarialServer() as server:

        def swap(letter: Letter) -> list[Letter]:
            return [letter.with_payload(**path.described)] if letter.message["type"] == "OFFER" else [letter]

        async with agent(server.port, "ann") as ann, agent(server.port, "bob") as bob:
            await asyncio.gather(direct(ann, "bob"), direct(bob, "ann"))
            server.letters.clear()
            server.attack = swap
            async with unmoved(ann, bob):
                await server.client("ann").close()
                await until(lambda: any(letter.message["type"] == "ANSWER" for letter in server.letters))
                (offer, answer, *_) = [each for each in server.letters if each.message["type"] in ("OFFER", "ANSWER")]
                assert len(offer.payload["links"]) == 1
                assert answer.payload["link"]
                await path.check(answer.payload)
                await until(lambda: len(path.came) >= 3)
            assert max(map(len, path.came)) < CHALLENGE_SIZE
