"""Agents against a real server, over real sockets on loopback."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.support.conditions import until
from tests.support.link_pair import association_of
from tests.support.server_running import joined, running_server
from tests.support.watched import linked_pair, watched
from tests.support.ws_raw import RawClient
from visavis_peer import (
    Agent,
    AgentSettings,
    Link,
    LinkClosed,
    PeerAbsent,
    ServerBusy,
    SignalingUnreachable,
    StreamReader,
    StreamReset,
    StreamWriter,
    UsageError,
)
from visavis_peer.broadcast import Broadcast, ItemsLost
from visavis_peer.core.meeting import negotiation
from visavis_peer.core.signaling import backoff
from visavis_peer.events import (
    EndpointDiscovered,
    Failure,
    Joined,
    LinkDown,
    LinkUp,
    PathChanged,
    PeerJoined,
    PeerLeft,
    Ready,
)
from visavis_peer.ice import IceSession
from visavis_peer.settings import udp_ports
from visavis_shared import limits
from visavis_shared.messages import Offer, OfferPayload

pytestmark = pytest.mark.timeout(30)

DESCRIPTION: Final[dict[str, Any]] = {
    "ice": {"ufrag": "abcd", "pwd": "p" * 22},
    "fingerprint": "f" * 64,
    "nonce": "0" * 32,
    "speaks": ["quic/1"],
}
"""What an OFFER or ANSWER says of an agent that has no candidate."""


async def test_an_offer_that_would_be_too_long_is_told_of_and_ends_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, fits = bytes(16), limits.SEALED_LENGTH
    monkeypatch.setattr(negotiation, "ANSWER_TIMEOUT", 1.0)
    monkeypatch.setattr(limits, "SEALED_LENGTH", 300)
    async with (
        running_server() as server,
        watched(server, "ann", secret=secret) as ann,
        watched(server, "bob", secret=secret) as bob,
    ):
        await until(lambda: ann.of(Failure))
        (failure,) = ann.of(Failure)
        assert (failure.error, failure.peer_id, failure.name) == ("internal", bob.agent.peer_id, None)
        assert failure.message.startswith("cannot tell the peer how to link: its OFFER has ")
        monkeypatch.setattr(limits, "SEALED_LENGTH", fits)
        await until(lambda: ann.links and bob.links, timeout=25.0)  # an attempt 5 s or 15 s later


async def test_two_agents_link_and_exchange_datagrams_both_ways() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        (to_bob,), (to_ann,) = ann.links, bob.links
        assert (to_bob.name, to_ann.name) == ("bob", "ann")
        to_bob.send_datagram(b"hello bob")
        to_ann.send_datagram(b"hello ann")
        assert await to_ann.receive_datagram() == b"hello bob"
        assert await to_bob.receive_datagram() == b"hello ann"
        assert await to_bob.ping(timeout=5) > 0
        await until(lambda: to_bob.path.path == "direct")
        assert not to_bob.authenticated


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
        await until(lambda: ann.links[0].path.kind == "host-host")


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
        path = association_of(ann.links[0]).direct
        mallory = Agent(AgentSettings(server=f"http://127.0.0.1:{server.port}", room="r", interfaces=("lo",)))
        async with mallory:
            assert mallory._peering is not None
            assert bob.agent._peering is not None
            mallory._peering.instance = bob.agent._peering.instance
            await until(lambda: len(ann.links) == 2)
            ann.links[0].send_datagram(b"for bob")
            assert await bob.links[0].receive_datagram() == b"for bob"
            assert association_of(ann.links[0]).direct is path


async def test_a_member_that_knows_a_session_of_others_does_not_change_where_the_peer_was_seen() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        assert ann.agent._peering is not None
        (session,) = ann.agent._peering._sessions.values()
        assert session.seen == "127.0.0.1"
        async with await joined(server, "r", display_name="Mallory") as mallory:
            offer = await _next(mallory, "OFFER")
            for session_id, accepted in ((session.session_id, True), (offer["payload"]["session_id"], False)):
                payload = {"session_id": session_id, "accepted": accepted} | DESCRIPTION
                mallory.send(type="ANSWER", target_id=ann.agent.peer_id, payload=payload)
            # the second is taken after the first
            await until(lambda: ann.of(Failure))
        assert session.seen == "127.0.0.1"
        assert session.peer_id == bob.agent.peer_id


async def test_a_link_whose_path_dies_goes_on_over_another() -> None:
    async with running_server(stun=True) as server, linked_pair(server, relay="never") as (ann, bob):
        reader, writer = await _stream(ann.links[0], bob.links[0])
        session = association_of(ann.links[0]).direct
        assert isinstance(session, IceSession)
        session.sockets[0].transport.abort()
        await until(lambda: ann.of(PathChanged) and bob.of(PathChanged))
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        assert (len(ann.links), len(bob.links)) == (1, 1)
        assert not ann.of(LinkDown)


async def _stream(opener: Link, acceptor: Link) -> tuple[StreamReader, StreamWriter]:
    """Return the acceptor's reader and the opener's writer of one stream."""
    _, writer = await opener.open_stream("test")
    reader, _ = await acceptor.accept_stream("test")
    return reader, writer


async def test_streams_cross_with_half_close_and_a_reset_that_is_told() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        ours, writer = await ann.links[0].open_stream("test")
        theirs, echo = await bob.links[0].accept_stream("test")
        writer.write(bytes(range(256)) * 1024)
        writer.write_eof()
        assert await theirs.read() == bytes(range(256)) * 1024
        echo.write(b"got it")
        echo.write_eof()
        assert await ours.read() == b"got it"
        reader, writer = await _stream(bob.links[0], ann.links[0])
        writer.reset(7)
        with pytest.raises(StreamReset) as caught:
            await reader.read()
        assert caught.value.code == 7


async def test_an_offer_that_comes_while_an_agent_closes_is_ignored() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, _):
        peering = ann.agent._peering
        assert peering is not None
        closing = asyncio.create_task(peering.close())
        await asyncio.sleep(0)
        payload = OfferPayload.model_validate({"session_id": "late"} | DESCRIPTION)
        peering.receive(Offer(peer_id=next(iter(peering.mesh.members)), target_id="x", payload=payload))
        await closing
        assert not any(key.session_id == "late" for key in peering._sessions)


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
    async with (
        running_server() as server,
        watched(server, "ann") as ann,
        await joined(server, "r", display_name="Seed") as client,
    ):
        await until(lambda: ann.of(PeerJoined))
        payload = {"endpoint": {"ip": "203.0.113.1", "port": 12345}, "session_id": "s", "initiator_id": "x"}
        client.send(type="OFFER", target_id=ann.agent.peer_id, payload=payload)
        answer = await _next(client, "ANSWER")
        assert answer["payload"]["accepted"] is False
        assert "ICE" in answer["payload"]["reason"]


async def _next(client: RawClient, kind: str) -> dict[str, Any]:
    """Return the next message of this type."""
    while (message := await client.receive())["type"] != kind:
        pass
    return message


async def test_a_peer_that_never_answers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "ANSWER_TIMEOUT", 0.05)
    async with (
        running_server() as server,
        watched(server, "ann") as ann,
        await joined(server, "r", display_name="Mute"),
    ):
        await until(lambda: ann.of(Failure))
        failure = ann.of(Failure)[0]
        assert (failure.error, failure.name) == ("no_answer", "Mute")


@pytest.mark.parametrize("lacking", ["fingerprint", "nonce"])
async def test_an_answer_without_a_certificate_is_refused(lacking: str) -> None:
    description = {name: value for name, value in DESCRIPTION.items() if name != lacking}
    async with (
        running_server() as server,
        watched(server, "ann") as ann,
        await joined(server, "r", display_name="Old") as client,
    ):
        offer = await _next(client, "OFFER")
        payload = {"session_id": offer["payload"]["session_id"], "accepted": True} | description
        client.send(type="ANSWER", target_id=ann.agent.peer_id, payload=payload)
        await until(lambda: ann.of(Failure))
        assert ann.of(Failure)[0].error == "refused"
        assert "fingerprint" in ann.of(Failure)[0].message


async def test_a_peer_of_another_protocol_is_refused_and_both_learn_who_is_to_be_updated() -> None:
    """Answerer and offerer: a newcomer that offers, and a newcomer that answers."""
    async with (
        running_server() as server,
        watched(server, "ann") as ann,
        await joined(server, "r", display_name="Newer") as client,
    ):
        offer = await _next(client, "OFFER")
        assert offer["payload"]["speaks"] == ["quic/1"]
        newer = DESCRIPTION | {"speaks": ["moq/draft-12", "quic/2"]}
        payload = {"session_id": offer["payload"]["session_id"], "accepted": False, "reason": "?"} | newer
        client.send(type="ANSWER", target_id=ann.agent.peer_id, payload=payload)
        await until(lambda: ann.of(Failure))
        client.send(type="OFFER", target_id=ann.agent.peer_id, payload={"session_id": "theirs"} | newer)
        answer = (await _next(client, "ANSWER"))["payload"]
        assert (answer["accepted"], answer["speaks"]) == (False, ["quic/1"])
        assert answer["reason"].endswith("update the older of the two sides")
        told = "refused: it speaks moq/draft-12, quic/2, this side quic/1: update visavis on this machine"
        await until(lambda: len(ann.of(Failure)) == 2)
        assert [each.message.partition("; trying again")[0] for each in ann.of(Failure)] == [told] * 2


async def test_a_pair_without_a_path_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "ROUND_TIMEOUT", 0.05)
    async with (
        running_server() as server,
        watched(server, "ann", relay="never") as ann,
        await joined(server, "r", display_name="Far") as client,
    ):
        offer = await _next(client, "OFFER")
        payload = {"session_id": offer["payload"]["session_id"], "accepted": True, "nat": {"udp": False}}
        client.send(type="ANSWER", target_id=ann.agent.peer_id, payload=payload | DESCRIPTION)
        await until(lambda: ann.of(Failure))
        assert ann.of(Failure)[0].error == "no_path"
        assert "UDP seems blocked" in ann.of(Failure)[0].message


def _deafen(link: Link) -> None:
    """Let nothing that comes in on the direct path reach the link."""
    direct = association_of(link).direct
    assert isinstance(direct, IceSession)
    direct.deliver_to(lambda _: None)


async def test_a_link_says_when_a_ping_is_lost_and_what_a_datagram_may_hold() -> None:
    async with running_server(stun=True) as server, linked_pair(server, relay="never") as (ann, bob):
        (link,) = ann.links
        with pytest.raises(ValueError, match=str(link.datagram_size)):
            link.send_datagram(bytes(link.datagram_size + 1))
        link.send_datagram(bytes(link.datagram_size))
        assert len(await bob.links[0].receive_datagram()) == link.datagram_size
        _deafen(bob.links[0])
        with pytest.raises(PeerAbsent):
            await link.ping(timeout=0.05)


async def test_a_ping_under_way_ends_with_the_link() -> None:
    async with running_server(stun=True) as server, linked_pair(server, relay="never") as (ann, bob):
        _deafen(bob.links[0])
        ping = asyncio.create_task(ann.links[0].ping(timeout=20))
        await asyncio.sleep(0)
        ann.links[0].close("over")
        with pytest.raises(LinkClosed):
            await ping


async def test_fixed_ports_are_used_in_order() -> None:
    async with running_server() as server, watched(server, "ann", port=47000) as ann, watched(server, "bob") as bob:
        await until(lambda: bob.links and bob.links[0].path.path == "direct")
        port = int(bob.links[0].path.remote.rpartition(":")[2])
        assert 47000 <= port < 47032
        assert udp_ports(ann.agent.settings)[0] == 47000


async def test_a_subscriber_that_sleeps_is_told_that_it_lost_something() -> None:
    source: Broadcast[int] = Broadcast(3)
    slow, fast = source.subscribe(), source.subscribe([0])
    assert await anext(fast) == 0
    for number in range(1, 5):
        source.publish(number)
    with pytest.raises(ItemsLost):
        _ = [item async for item in slow]


async def test_an_item_stands_for_those_that_were_lost_and_the_others_follow() -> None:
    source: Broadcast[int] = Broadcast(3, lambda count: -count)
    slow = source.subscribe()
    for number in range(1, 6):
        source.publish(number)
    assert [await anext(slow) for _ in range(4)] == [1, 2, 3, -2]
    for number in range(6, 10):
        source.publish(number)
    assert await anext(slow) == 6
    source.publish(10)
    source.close()
    assert [item async for item in slow] == [7, 8, -1, 10]


async def test_a_subscriber_reads_what_was_published_before_the_end() -> None:
    source: Broadcast[int] = Broadcast(3)
    items = source.subscribe()
    source.publish(1)
    source.close()
    assert [item async for item in items] == [1]
