"""An agent is no sprinkler: whoever names addresses has little sent there, and keeps nobody from linking by it."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from tests.hostile.agents import agent
from tests.hostile.bystander import Bystander, bystander
from tests.hostile.clients import Clients, clients
from tests.hostile.member import Member, description, member
from tests.support.adversary import AdversarialServer, Client
from tests.support.conditions import until
from tests.support.server_running import server_process
from visavis_peer.core.nat.destinations import PACKET_COUNT
from visavis_shared.tasks import end

pytestmark = pytest.mark.timeout(90)

CONNECTIONS: Final = 12
STORM: Final = 10.0
"""Seconds of OFFERs before a friend comes: enough to spend what the server gives to an address."""
CHURN: Final = 25
"""Newcomers a second."""
OFFERS: Final = 28
"""A second, to one peer: the server passes on 30."""
MEMBERS: Final = 6
SESSIONS: Final = 5
"""Of each member, one after the other."""
RANDOM: Final[dict[str, Any]] = {
    "udp": True,
    "mapping": "address-and-port-dependent",
    "filtering": "address-and-port-dependent",
    "allocation": "random",
    "probing": True,
}
"""A report that has the other side probe."""


async def _sprinkle(mallory: Member, target: Bystander, *, ready: bool, trickle: bool) -> None:
    """Answer the agent and offer again and again, with 32 candidates of one host; the last session runs its course."""
    offer = await mallory.hears(lambda message: message["type"] == "OFFER")
    victim = offer["peer_id"]
    candidates = target.candidates()
    members = description(session_id=offer["payload"]["session_id"], candidates=candidates, nat=RANDOM)
    mallory.say("ANSWER", victim, accepted=True, **members)
    for number in range(SESSIONS):
        session_id = f"S{number}"
        named = candidates[:1] if trickle else candidates
        await mallory.answer(victim, session_id, candidates=named, nat=RANDOM)
        if ready:
            mallory.say("CANDIDATE", victim, session_id=session_id, ready=True)
        for line in candidates[len(named) :]:
            mallory.say("CANDIDATE", victim, session_id=session_id, candidate=line)


@pytest.mark.parametrize("host", ["127.0.0.9", "127.0.0.1"])
async def test_many_members_with_many_sessions_have_few_packets_sent_to_one_address(host: str) -> None:
    unlimited = ("--message-rate", "0", "--pair-rate", "0")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process(*unlimited))
        ann = await stack.enter_async_context(agent(server.port, "ann", "--relay", "never"))
        await ann.says("joined")
        target = stack.enter_context(bystander(host, 32))
        evil = [await stack.enter_async_context(member(server.port, name=f"m{n}")) for n in range(MEMBERS)]
        async with asyncio.timeout(45):
            await asyncio.gather(
                *(_sprinkle(each, target, ready=n % 2 == 0, trickle=n % 3 == 0) for n, each in enumerate(evil))
            )
            for each in evil:
                await ann.says("error", peer_id=each.peer_id)
        assert 0 < target.look() <= PACKET_COUNT
        async with agent(server.port, "bob", "--relay", "never") as bob:
            await asyncio.gather(ann.says("link_up", name="bob"), bob.says("link_up", name="ann"))
        assert target.look() <= PACKET_COUNT


async def _churn(here: Clients) -> None:
    """Join and go at once, under ever new ids, without end."""
    while True:
        client = await here.connect("203.0.113.7")
        client.send(type="JOIN", room_id="r", payload={})
        await client.receive()
        client.abort()
        await asyncio.sleep(1 / CHURN)


async def test_whoever_comes_and_goes_without_end_keeps_nobody_from_linking() -> None:
    async with clients() as here, agent(here.server.port, "ann") as ann:
        await ann.says("joined")
        churning = asyncio.create_task(_churn(here))
        await asyncio.sleep(STORM)
        async with agent(here.server.port, "bob") as bob:
            await asyncio.gather(ann.says("link_up", 15, name="bob"), bob.says("link_up", 15, name="ann"))
        assert not churning.done()
        await end(churning)


class _Naming(AdversarialServer):
    """Names somebody else as its STUN servers, and hangs up on whoever has joined."""

    def __init__(self, target: Bystander) -> None:
        super().__init__()
        self.target = target
        self.joins = 0

    def _welcome(self, client: Client) -> dict[str, Any]:
        stun = [{"host": self.target.host, "port": port} for port in self.target.ports]
        return super()._welcome(client) | {"stun": stun}

    async def _join(self, client: Client, message: dict[str, Any]) -> None:
        await super()._join(client, message)
        self.joins += 1
        await client.close()


async def test_a_signaling_server_that_names_stun_servers_has_few_packets_sent_to_them() -> None:
    """However often it lets an agent connect again, and whatever it names on this machine."""
    with bystander("127.0.0.9", 16) as target:
        async with _Naming(target) as server, agent(server.port, "ann"):
            await until(lambda: server.joins >= CONNECTIONS, 60)
        assert 0 < target.look() <= PACKET_COUNT


async def _storm(mallory: Member, victim: str) -> None:
    """Offer anew as often as the server passes it on, without end."""
    for number in itertools.count():
        mallory.say("OFFER", victim, **description(session_id=f"S{number}"))
        await asyncio.sleep(1 / OFFERS)


async def test_offers_without_end_do_not_spend_what_a_friends_link_needs() -> None:
    """Each session asks the STUN server, which answers one address so often: nobody is to be refused there."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process())
        ann = await stack.enter_async_context(agent(server.port, "ann"))
        joined = await ann.says("joined")
        evil = [await stack.enter_async_context(member(server.port, name=f"m{n}")) for n in range(10)]
        storms = [asyncio.create_task(_storm(each, joined["peer_id"])) for each in evil]
        await asyncio.sleep(STORM)
        bob = await stack.enter_async_context(agent(server.port, "bob"))
        up = await asyncio.gather(ann.says("link_up", name="bob"), bob.says("link_up", name="ann"))
        print(f"linked {up[0]['ts'] - (await bob.says('joined'))['ts']:.2f} s after joining amid the storm")
        assert not any(storm.done() for storm in storms)
        await end(*storms)
        await server.stop()
        assert "stun_rate" not in server.errors
