"""core.signaling.edge: connections alone, without a message."""

from __future__ import annotations

import pytest

from visavis_server.core.access.buckets import Buckets, counted_source
from visavis_server.core.access.causes import Cause
from visavis_server.core.signaling.edge import Client, Edge, ServerFull, TooManyConnections
from visavis_server.core.signaling.room import Peer
from visavis_server.core.signaling.rules import Rules

HERE = "192.0.2.1"
THERE = "198.51.100.1"


def new_edge(**rules: float) -> Edge:
    return Edge(Rules(**rules), Buckets())  # type: ignore[arg-type]


def opened(edge: Edge, peer_id: str, address: str = HERE, now: float = 0.0) -> Client:
    client = Client(Peer(peer_id, now, token=peer_id), address, counted_source(address), now)
    edge.open(client)
    return client


def test_who_is_refused_leaves_nothing_behind() -> None:
    edge = new_edge(peer_limit=2, address_limit=1)
    opened(edge, "a")
    with pytest.raises(TooManyConnections):
        opened(edge, "b")
    opened(edge, "c", THERE)
    with pytest.raises(ServerFull):
        opened(edge, "d", "203.0.113.1")
    assert (set(edge.clients), edge.connection_count) == ({"a", "c"}, 2)
    assert edge.buckets.refusals == {Cause.ADDRESS_CONNECTIONS: 1, Cause.CONNECTIONS: 1}


def test_the_relays_connections_count_and_one_makes_place_for_its_successor() -> None:
    edge = new_edge(peer_limit=2)
    opened(edge, "a")
    edge.admit(HERE)
    with pytest.raises(ServerFull):
        edge.admit(THERE)
    edge.admit(THERE, instead_of=HERE)
    assert (edge.is_connected(THERE), edge.share_of(HERE)) == (True, 0.5)
    edge.release(THERE)
    assert not edge.is_connected(THERE)


def test_this_host_itself_is_not_limited_by_address() -> None:
    edge = new_edge(address_limit=1)
    assert [opened(edge, str(number), "127.0.0.1").source for number in range(3)] == [""] * 3


def test_who_takes_a_peer_over_counts_once_and_keeps_its_own_limits() -> None:
    edge = new_edge()
    former = opened(edge, "a")
    fresh = opened(edge, "fresh", THERE, now=5.0)
    fresh.bucket.full_at = 7.0
    edge.rebind(fresh, former.peer, 6.0)
    assert edge.clients == {"a": fresh}
    assert (edge.connection_count, edge.is_connected(HERE)) == (1, False)
    assert (fresh.peer, fresh.bucket.full_at) == (former.peer, 7.0)
    assert (fresh.connected_at, fresh.last_seen_at, fresh.pinged_at) == (0.0, 6.0, 6.0)
    edge.close(fresh)
    assert (edge.clients, edge.connection_count) == ({}, 0)


def test_who_comes_back_after_its_connection_was_lost_is_as_new_as_its_connection() -> None:
    edge = new_edge()
    former = opened(edge, "a")
    edge.close(former)
    fresh = opened(edge, "fresh", now=5.0)
    edge.rebind(fresh, former.peer, 6.0)
    assert (edge.clients, edge.connection_count, fresh.connected_at) == ({"a": fresh}, 1, 6.0)


def test_silence_idleness_and_pings_are_told_apart() -> None:
    edge = new_edge(stale_timeout=60.0, join_timeout=10.0, ping_interval=25.0)
    member, idle = opened(edge, "member"), opened(edge, "idle")
    member.peer.describe(joined_at=0)
    assert (edge.silent(9.0), edge.idle(9.0), edge.to_ping(9.0)) == ([], [], ())
    assert edge.idle(10.0) == [idle]
    assert edge.to_ping(25.0) == ("member", "idle")
    assert edge.to_ping(26.0) == ()
    edge.touch("idle", 59.0)
    assert edge.silent(60.0) == [member]
    assert new_edge().idle(1e6) == []


def test_a_connection_shows_whose_it_is() -> None:
    assert repr(opened(new_edge(), "a")) == "<Client of <Peer a in None>>"
