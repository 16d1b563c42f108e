"""A signaling server and a relay that say anything: the agent lives, and repeats no word of theirs as a peer's."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from typing import Any, Final

import pytest

from tests.hostile.agents import agent
from tests.hostile.fuzzer import STRANGE
from tests.hostile.member import description
from tests.support.adversary import AdversarialServer, Client, Parcel
from tests.support.commands import run
from tests.support.connection_pair import Breaking
from tests.support.interloper import pack, unpack
from visavis_peer.core.counts import MEMBER_COUNT
from visavis_peer.link.identity import Identity, Introduction
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(60)

OTHER: Final = "ab" * 8
CROWD: Final = 20_000
WORDS: Final = "trust me, I am your peer"


def _messages(own_id: str) -> list[dict[str, Any]]:
    """Return messages of every type that a server sends, none of which asks the agent to end."""
    info = {"peer_id": OTHER, "display_name": "x", "joined_at": 1, "fresh": "0f" * 16}
    members = {"room_id": "r", "peers": [info], "resume": {"token": "t", "grace": 30.0}}
    servers = [{"urls": ["turn:127.0.0.1:9"], "username": "u", "credential": "c", "ttl": 60}]
    directed = {"peer_id": OTHER, "target_id": own_id, "seen": "127.0.0.1"}
    return [
        {"type": "PEER_JOINED", "peer_id": OTHER, "room_id": "r", "payload": info, "seq": 1},
        {"type": "PEER_LEFT", "peer_id": OTHER, "room_id": "r", "seq": 2},
        {"type": "PEER_LIST", "peer_id": own_id, "room_id": "r", "payload": members | {"ice_servers": servers}},
        {"type": "ERROR", "payload": {"code": "RATE_LIMITED", "message": "m", "details": "d"}},
        {"type": "ERROR", "payload": {"code": "PEER_NOT_FOUND", "message": "m"}},
        {"type": "RESUME", "payload": {"token": "t", "grace": 1.0}},
        {"type": "NOTICE", "payload": {"message": "hear"}},
        {"type": "ACK", "peer_id": own_id, "payload": {"message": "connected"}},
        {"type": "OFFER", **directed, "payload": description(session_id="S1")},
        {"type": "ANSWER", **directed, "payload": description(session_id="S1", accepted=True)},
        {"type": "CANDIDATE", **directed, "payload": {"session_id": "S1", "ready": True, "end_of_candidates": True}},
    ]


def _places(message: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return each place of a message where a value stands, as container and key."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [message]
    while waiting:
        container = waiting.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in keys:
            if (container, key) != (message, "type"):
                found.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return found


async def _babble(seed: int, count: int) -> None:
    source = random.Random(seed)
    async with AdversarialServer() as server, agent(server.port, "ann") as ann:
        await ann.says("joined")
        client = server.client("ann")
        for number in range(count):
            message = json.loads(json.dumps(source.choice(_messages(client.own_id))))
            for _ in range(source.randrange(3)):
                container, key = source.choice(_places(message))
                container[key] = json.loads(json.dumps(source.choice(STRANGE)))
            text = json.dumps(message)
            assert client.socket is not None
            await client.socket.send_str(text if source.random() < 0.95 else text[: source.randrange(len(text))])
            if number % 50 == 0:
                await asyncio.sleep(0)
        await server.add_puppet("zoe", secrets.token_hex(8))
        await ann.says("peer_joined", name="zoe")


async def test_what_a_server_makes_up_ends_no_agent() -> None:
    await asyncio.gather(*(_babble(seed, 1500) for seed in range(2)))


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 110))
async def test_campaign_of_what_a_server_makes_up(seed: int) -> None:
    await _babble(seed, 20_000)


class _Breaking:
    """The relay attack: answers the first flight of a handshake with a close as of the peer, and lets nothing on."""

    def __init__(self) -> None:
        self.broken = 0

    def __call__(self, parcel: Parcel) -> list[Parcel]:
        introduction = Introduction("s", "0" * 64, "0" * 64, "0" * 32, "0" * 32)
        middle = Breaking(Identity(), introduction, is_offerer=False)
        now = asyncio.get_running_loop().time()
        middle.receive(unpack(parcel.body), now)
        if not middle.break_off(1, 0, WORDS):
            return []
        self.broken += 1
        return [Parcel(parcel.target, parcel.sender, pack(middle.take_datagrams(now)))]


async def test_a_handshake_that_the_relay_closes_is_no_word_of_the_peer() -> None:
    attack = _Breaking()
    async with AdversarialServer(relay_attack=attack) as server:
        invite = str(Invite(f"http://127.0.0.1:{server.port}", "r", secrets.token_bytes(16)))
        async with (
            agent(0, "ann", "--relay", "only", invite=invite) as ann,
            agent(0, "bob", "--relay", "only", invite=invite) as bob,
        ):
            await asyncio.gather(ann.says("peer_joined"), bob.says("peer_joined"))
            await ann.says("error")
            for event in (*ann.events, *bob.events):
                assert WORDS not in json.dumps(event), event
                assert event["event"] not in ("link_up", "link_down")
            assert attack.broken


class _Talkative(AdversarialServer):
    """Lists more members than an agent keeps events for, and goes on talking."""

    async def _join(self, client: Client, message: dict[str, Any]) -> None:
        await super()._join(client, message)
        joined = {"type": "PEER_JOINED", "room_id": client.room}
        for number in range(CROWD):
            info = {"peer_id": f"{number:016x}", "display_name": f"ghost {number}", "joined_at": 1}
            await client.send(joined | {"peer_id": info["peer_id"], "payload": info})
        for number in range(CROWD):
            await client.send({"type": "NOTICE", "payload": {"message": f"hear {number}"}})
        await client.send({"type": "NOTICE", "payload": {"message": "the last word"}})


@pytest.mark.parametrize("verb", ["agent", "ping"])
async def test_a_server_that_talks_without_end_ends_no_program(verb: str) -> None:
    """Nor does it keep one from hearing what comes after."""
    async with _Talkative() as server:
        url = f"http://127.0.0.1:{server.port}"
        if verb == "agent":
            async with agent(server.port, "ann") as ann:
                await ann.says("notice", message="the last word")
                assert len(ann.of("peer_joined")) <= MEMBER_COUNT
        else:
            code, _, errors = await run(
                "ping", "--server", url, "--room", "r", "--interface", "lo", "--name", "ann", "--timeout", "15"
            )
            assert code == 4, errors
            assert "Traceback" not in errors
