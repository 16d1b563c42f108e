"""core.signaling.overview: what REST, the operator and metrics are shown."""

from __future__ import annotations

import pytest

from tests.support.server_world import World
from visavis_server.core.signaling.overview import Overview
from visavis_server.core.signaling.tickets import TicketSigner


@pytest.fixture
def world() -> World:
    return World(signer=TicketSigner([bytes(32)]))


@pytest.fixture
def overview(world: World) -> Overview:
    return world.hub.overview


def test_private_rooms_are_counted_but_not_listed(world: World, overview: Overview) -> None:
    world.joined("a", "r")
    world.connect("b")
    world.request("b", type="JOIN", room_id="den", payload={"private": {"password": "p" * 16}})
    assert (overview.room_count, overview.open_count, overview.member_count, overview.peer_count) == (2, 1, 2, 2)
    assert overview.names() == ["r"]
    assert [room.room_id for room in overview.open_rooms(["den", "r", "nowhere"])] == ["r"]
    assert overview.open_room("den") is None
    assert [(room.room_id, room.private) for room in overview.records(0.0)] == [("r", False), ("den", True)]


def test_the_members_of_a_locked_room_are_the_operators_alone(world: World, overview: Overview) -> None:
    world.connect("a")
    world.request("a", type="JOIN", room_id="r", payload={"create": {"locked": True}})
    world.joined("b", "open")
    assert [overview.shows_members(room_id) for room_id in ("r", "open", "nowhere")] == [False, True, True]
    record = next(overview.records(world.now))
    assert (record.owner_id, record.rules is not None and record.rules.locked) == ("a", True)
    assert [member.away for member in record.members] == [False]


def test_who_is_away_is_counted_with_what_is_kept(world: World, overview: Overview) -> None:
    world.connect("a")
    world.request("a", type="JOIN", room_id="r", payload={"resume": True})
    assert (overview.away_count, overview.mailbox_bytes) == (0, 0)
    world.disconnect("a")
    world.joined("b", "r")
    assert overview.away_count == 1
    assert overview.mailbox_bytes > 0
    assert [member.away for record in overview.records(0.0) for member in record.members] == [True, False]
    world.hub.drain({}, world.now_ms)
    assert overview.draining


def test_without_resuming_nobody_is_away() -> None:
    overview = World().hub.overview
    assert (overview.away_count, overview.mailbox_bytes, overview.draining) == (0, 0, False)
