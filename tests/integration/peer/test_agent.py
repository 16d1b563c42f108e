"""Agents against a real server, over real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.conditions import until
from tests.support.server_running import joined, running_server
from visavis_peer import (
    Agent,
    AgentSettings,
    Link,
    LinkClosed,
    PeerAbsent,
    ServerBusy,
    SignalingUnreachable,
    UsageError,
)
from visavis_peer.broadcast import Broadcast, ItemsLost
from visavis_peer.core import backoff, negotiation
from visavis_peer.core.events import (
    EndpointDiscovered,
    Event,
    Failure,
    Joined,
    LinkDown,
    LinkUp,
    PathChanged,
    PeerJoined,
    PeerLeft,
    Ready,
)
from visavis_server.app import SignalingServer
from visavis_shared.messages import IceCredentials, Offer, OfferPayload

pytestmark = pytest.mark.timeout(30)


class Watched:
    """An agent with everything it has told so far."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.events: list[Event] = []
        self.links: list[Link] = []
        self._tasks = [
            asyncio.create_task(self._keep(agent.events(), self.events)),
            asyncio.create_task(self._keep(agent.links(), self.links)),
        ]

    async def _keep(self, source: AsyncIterator[Any], kept: list[Any]) -> None:
        async for item in source:
            kept.append(item)  # noqa: PERF401 -- each as it comes

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def finish(self) -> None:
        await asyncio.wait(self._tasks)


@asynccontextmanager
async def watched(server: SignalingServer | str, name: str, **settings: Any) -> AsyncIterator[Watched]:
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server.port}"
    values = {"server": url, "room": "r", "name": name, "interfaces": ("lo",)} | settings
    agent = Agent(AgentSettings.model_validate(values))
    watch = Watched(agent)
    try:
        async with agent:
            yield watch
    finally:
        await agent.close()
        await watch.finish()


@asynccontextmanager
async def linked_pair(server: SignalingServer, **settings: Any) -> AsyncIterator[tuple[Watched, Watched]]:
    async with watched(server, "ann", **settings) as ann, watched(server, "bob", **settings) as bob:
        await until(lambda: ann.links and bob.links)
        yield ann, bob


async def test_two_agents_link_and_exchange_datagrams_both_ways() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        (to_bob,), (to_ann,) = ann.links, bob.links
        assert (to_bob.name, to_ann.name) == ("bob", "ann")
        to_bob.send_datagram(b"hello bob")
        to_ann.send_datagram(b"hello ann")
        assert await to_ann.receive_datagram() == b"hello bob"
        assert await to_bob.receive_datagram() == b"hello ann"
        assert await to_bob.ping(timeout=5) > 0
        assert (to_bob.path.path, to_bob.authenticated) == ("direct", False)


async def test_events_tell_the_story_in_order() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, _):
        await until(lambda: ann.of(LinkUp))
        order = [type(event) for event in ann.events]
        assert order.index(Ready) < order.index(EndpointDiscovered) < order.index(Joined)
        assert order.index(Joined) < order.index(PeerJoined) < order.index(LinkUp)


async def test_join_carries_the_public_endpoint_that_stun_has_seen() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        (info,) = ann.agent.members
        assert info.endpoint is not None
        found = bob.of(EndpointDiscovered)[0]
        assert (info.endpoint.ip, info.endpoint.port) == (found.ip, found.port)


async def test_agents_link_without_any_stun_server() -> None:
    async with running_server(stun=False) as server, linked_pair(server) as (ann, _):
        assert ann.links[0].path.kind == "host-host"


async def test_a_room_of_three_is_a_mesh() -> None:
    async with (
        running_server(stun=True) as server,
        watched(server, "ann") as ann,
        watched(server, "bob") as bob,
        watched(server, "cleo") as cleo,
    ):
        await until(lambda: all(len(each.links) == 2 for each in (ann, bob, cleo)))
        assert {link.name for link in cleo.links} == {"ann", "bob"}


async def test_an_agent_that_closes_is_gone_for_the_others_at_once() -> None:
    async with running_server(stun=True) as server, watched(server, "ann") as ann:
        async with watched(server, "bob") as bob:
            await until(lambda: ann.links and bob.links)
        await until(lambda: ann.of(PeerLeft) and ann.of(LinkDown))
        assert ann.of(LinkDown)[0].reason == "closed by the peer"
        (link,) = ann.links
        with pytest.raises(LinkClosed):
            await link.receive_datagram()
        with pytest.raises(LinkClosed):
            link.send_datagram(b"late")
        assert await link.wait_closed() == "closed by the peer"


async def test_a_link_outlives_the_server_and_agents_come_back_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "SIGNALING_FIRST", 0.01)
    async with running_server(stun=True) as server:
        port = server.port
        pair = linked_pair(server)
        ann, bob = await pair.__aenter__()
    try:
        await until(lambda: ann.of(Failure) and bob.of(Failure))
        ann.links[0].send_datagram(b"without a server")
        assert await bob.links[0].receive_datagram() == b"without a server"
        async with running_server(stun=True, port=port):
            await until(lambda: len(ann.of(Joined)) == 2 and len(bob.of(Joined)) == 2)
            await until(lambda: ann.of(PathChanged) and bob.of(PathChanged))
            bob.links[0].send_datagram(b"and with it")
            assert await ann.links[0].receive_datagram() == b"and with it"
            assert (len(ann.links), len(bob.links)) == (1, 1)
            assert not ann.of(LinkDown)
    finally:
        await pair.__aexit__(None, None, None)


async def test_a_member_that_claims_to_be_another_does_not_get_its_link() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        session = ann.links[0].session
        mallory = Agent(AgentSettings(server=f"http://127.0.0.1:{server.port}", room="r", interfaces=("lo",)))
        async with mallory:
            assert mallory._peering is not None
            assert bob.agent._peering is not None
            mallory._peering.instance = bob.agent._peering.instance
            await until(lambda: len(ann.links) == 2)
            ann.links[0].send_datagram(b"for bob")
            assert await bob.links[0].receive_datagram() == b"for bob"
            assert ann.links[0].session is session


async def test_a_link_whose_path_dies_is_made_anew() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        session = ann.links[0].session
        assert session is not None
        session.sockets[0].transport.abort()
        await until(lambda: ann.of(LinkDown))
        await until(lambda: len(ann.links) == 2)
        await until(lambda: bob.of(PathChanged) or len(bob.links) == 2)


async def test_an_offer_that_comes_while_an_agent_closes_is_ignored() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, _):
        peering = ann.agent._peering
        assert peering is not None
        closing = asyncio.create_task(peering.close())
        await asyncio.sleep(0)
        credentials = IceCredentials(ufrag="abcd", pwd="p" * 22)
        payload = OfferPayload(session_id="late", ice=credentials)
        peering.receive(Offer(peer_id=next(iter(peering.mesh.members)), target_id="x", payload=payload))
        await closing
        assert "late" not in peering._sessions


async def test_nobody_listening_is_said_within_the_time_given() -> None:
    with pytest.raises(SignalingUnreachable, match="cannot reach"):
        async with watched("http://127.0.0.1:1", "ann", connect_timeout=0.1):
            pass


async def test_a_full_room_is_said_and_not_tried_again() -> None:
    async with running_server(room_capacity=1) as server, watched(server, "ann"):
        with pytest.raises(ServerBusy):
            async with watched(server, "bob"):
                pass


def test_a_bad_url_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        Agent(AgentSettings(server="ftp://x", room="r"))


async def test_a_client_of_the_seed_document_is_refused_with_the_reason() -> None:
    async with running_server() as server, watched(server, "ann") as ann:
        client = await joined(server, "r", display_name="Seed")
        await until(lambda: ann.of(PeerJoined))
        payload = {"endpoint": {"ip": "203.0.113.1", "port": 12345}, "session_id": "s", "initiator_id": "x"}
        client.send(type="OFFER", target_id=ann.agent.peer_id, payload=payload)
        while (message := await client.receive())["type"] != "ANSWER":
            pass
        assert message["payload"]["accepted"] is False
        assert "ICE" in message["payload"]["reason"]
        client.abort()


async def test_a_peer_that_never_answers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "ANSWER_TIMEOUT", 0.05)
    async with running_server() as server, watched(server, "ann") as ann:
        client = await joined(server, "r", display_name="Mute")
        await until(lambda: ann.of(Failure))
        failure = ann.of(Failure)[0]
        assert (failure.error, failure.name) == ("no_answer", "Mute")
        client.abort()


async def test_a_pair_without_a_path_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "ROUND_TIMEOUT", 0.05)
    async with running_server() as server, watched(server, "ann") as ann:
        client = await joined(server, "r", display_name="Far")
        while (offer := await client.receive())["type"] != "OFFER":
            pass
        payload = {
            "session_id": offer["payload"]["session_id"],
            "accepted": True,
            "ice": {"ufrag": "abcd", "pwd": "p" * 22},
            "nat": {"udp": False},
        }
        client.send(type="ANSWER", target_id=ann.agent.peer_id, payload=payload)
        await until(lambda: ann.of(Failure))
        assert ann.of(Failure)[0].error == "no_path"
        assert "UDP seems blocked" in ann.of(Failure)[0].message
        client.abort()


async def test_a_link_says_when_a_ping_is_lost_and_what_a_datagram_may_hold() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        (link,) = ann.links
        with pytest.raises(ValueError, match="1200"):
            link.send_datagram(bytes(1201))
        for sock in bob.links[0].session.sockets if bob.links[0].session else []:
            sock.trusted.clear()
        with pytest.raises(PeerAbsent):
            await link.ping(timeout=0.05)


async def test_a_ping_under_way_ends_with_the_link() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        for sock in bob.links[0].session.sockets if bob.links[0].session else []:
            sock.trusted.clear()
        ping = asyncio.create_task(ann.links[0].ping(timeout=20))
        await asyncio.sleep(0)
        ann.links[0].close("over")
        with pytest.raises(LinkClosed):
            await ping


async def test_fixed_ports_are_used_in_order() -> None:
    async with running_server() as server, watched(server, "ann", port=47000) as ann, watched(server, "bob") as bob:
        await until(lambda: bob.links)
        port = int(bob.links[0].path.remote.rpartition(":")[2])
        assert 47000 <= port < 47032
        assert ann.agent.settings.ports[0] == 47000


async def test_a_subscriber_that_sleeps_is_told_that_it_lost_something() -> None:
    source: Broadcast[int] = Broadcast(3)
    slow, fast = source.subscribe(), source.subscribe([0])
    assert await anext(fast) == 0
    for number in range(1, 5):
        source.publish(number)
    with pytest.raises(ItemsLost):
        _ = [item async for item in slow]


async def test_a_subscriber_reads_what_was_published_before_the_end() -> None:
    source: Broadcast[int] = Broadcast(3)
    items = source.subscribe()
    source.publish(1)
    source.close()
    assert [item async for item in items] == [1]
