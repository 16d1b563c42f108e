"""core.signaling.rooms: members and rooms, with nobody connected."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from visavis_server.core.access.causes import Cause
from visavis_server.core.signaling.charter import Charter, digest
from visavis_server.core.signaling.counts import Counts
from visavis_server.core.signaling.effects import Send
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.rooms import Rooms
from visavis_server.core.signaling.rules import Rules
from visavis_server.core.signaling.tickets import TicketSigner
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import Departure, RoomTerms


class House:
    """Rooms without a hub."""

    def __init__(self, **rules: Any) -> None:
        self.counts = Counts()
        self.post = Post(self.counts)
        self.refusals: Counter[Cause] = Counter()
        resumption = Resumption(TicketSigner([bytes(32)]), 20.0, 2)
        self.rooms = Rooms(Rules(**rules), self.post, self.counts, self.refusals, resumption=resumption)

    def enter(self, peer_id: str, room: Room, *, kept: bool = False) -> Peer:
        peer = self.rooms.peers[peer_id] = Peer(peer_id, 0.0)
        self.rooms.enter(peer, room, 0)
        if kept:
            assert self.rooms.resumption is not None
            self.rooms.keep_from_now_on(self.rooms.resumption, peer, 0.0)
        return peer

    def said(self) -> list[tuple[tuple[str, ...], str]]:
        """Return to whom and what was sent since it was last asked."""
        return [(each.to, json.loads(each.data)["type"]) for each in self.post.take() if isinstance(each, Send)]


def refused(call: Any, *arguments: Any) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.code


def test_a_rooms_own_capacity_can_only_be_smaller_than_everybodys() -> None:
    house = House(room_capacity=2)
    room = house.rooms.make("r", None, 0.0, 0)
    room.charter = Charter("a")
    room.charter.change(RoomTerms(capacity=5), 0.0)
    house.enter("a", room)
    house.rooms.check_space(room)
    house.enter("b", room)
    assert refused(house.rooms.check_space, room) is ErrorCode.ROOM_FULL
    room.charter.change(RoomTerms(capacity=1), 0.0)
    assert refused(house.rooms.check_space, room) is ErrorCode.ROOM_FULL
    assert house.refusals == {Cause.ROOM_CAPACITY: 2}


def test_an_open_and_a_private_room_of_one_name_know_nothing_of_each_other() -> None:
    house = House()
    password = digest("secret")
    plain, private = house.rooms.make("r", None, 0.0, 0), house.rooms.make("r", password, 0.0, 0)
    house.enter("a", private)
    assert house.rooms.existing("r", None) is plain
    assert house.rooms.existing("r", password) is private
    assert house.rooms.named("r") == list(house.rooms.all()) == [plain, private]
    assert (house.rooms.room_count, house.rooms.member_count) == (2, 1)


def test_an_abandoned_private_room_makes_way_for_one_of_another_password() -> None:
    house = House()
    former = house.rooms.make("r", digest("one"), 0.0, 0)
    peer = house.enter("a", former)
    assert house.rooms.existing("r", digest("two")) is former
    house.rooms.leave(peer, 1.0, 1000)
    assert house.rooms.existing("r", digest("two")) is None
    assert house.rooms.make("r", digest("two"), 2.0, 2000) is house.rooms.private["r"]
    assert (house.rooms.room_count, house.rooms.empty) == (1, ())


def test_without_an_empty_room_there_is_no_place_for_another_one() -> None:
    house = House(room_limit=1)
    peer = house.enter("a", house.rooms.make("r", None, 0.0, 0))
    assert refused(house.rooms.make, "s", None, 0.0, 0) is ErrorCode.ROOM_FULL
    house.rooms.leave(peer, 1.0, 1000)
    assert [room.room_id for room in house.rooms.empty] == ["r"]
    house.rooms.make("s", None, 2.0, 2000)
    assert set(house.rooms.open) == {"s"}
    assert house.refusals == {Cause.ROOMS: 1}


def test_who_has_not_asked_to_be_kept_is_gone_with_its_connection() -> None:
    house = House()
    room = house.rooms.make("r", None, 0.0, 0)
    peer, _ = house.enter("a", room), house.enter("b", room)
    house.rooms.park(peer, Departure.SILENT, 1.0, 1000)
    assert list(house.rooms.peers) == list(room.members) == ["b"]
    assert house.said() == [(("b",), "PEER_LEFT")]


def test_who_is_kept_gets_what_it_was_sent_meanwhile_and_costs_the_longest_away_its_place() -> None:
    house = House()
    room = house.rooms.make("r", None, 0.0, 0)
    writer = house.enter("w", room)
    away = [house.enter(peer_id, room, kept=True) for peer_id in ("a", "b", "c")]
    house.rooms.park(away[0], Departure.CLOSED, 1.0, 1000)
    house.rooms.keep(away[0], b'{"type":"OFFER"}', writer, "q", 1000)
    house.rooms.park(away[1], Departure.CLOSED, 2.0, 2000)
    assert "a" in house.rooms.peers
    house.post.take()
    house.rooms.park(away[2], Departure.CLOSED, 3.0, 3000)
    assert set(house.rooms.peers) == {"w", "b", "c"}
    assert house.said() == [(("w",), "ERROR"), (("w", "b", "c"), "PEER_LEFT")]
    assert (house.counts.kept, house.counts.undelivered) == (1, 1)


def test_a_server_about_to_stop_keeps_no_messages() -> None:
    house = House()
    room = house.rooms.make("r", None, 0.0, 0)
    writer, away = house.enter("w", room), house.enter("a", room, kept=True)
    house.rooms.park(away, Departure.CLOSED, 1.0, 1000)
    house.rooms.drain(1000)
    assert refused(house.rooms.keep, away, b"{}", writer, None, 1000) is ErrorCode.PEER_NOT_FOUND


def test_a_room_that_is_closed_puts_everybody_out_and_is_forgotten() -> None:
    house = House()
    room = house.rooms.make("r", None, 0.0, 0)
    member, away = house.enter("m", room), house.enter("a", room, kept=True)
    house.rooms.park(away, Departure.CLOSED, 1.0, 1000)
    house.rooms.close(room, "over", 2.0, 2000)
    assert (house.rooms.room_count, list(house.rooms.peers), member.room) == (0, ["m"], None)
    assert (("m",), "PEER_LEFT") in house.said()


def test_time_closes_rooms_and_forgets_empty_ones() -> None:
    house = House(empty_room_ttl=300.0)
    empty, ending = house.rooms.make("empty", None, 0.0, 0), house.rooms.make("ending", None, 0.0, 0)
    ending.charter = Charter("m")
    ending.charter.change(RoomTerms(ttl=60), 0.0)
    house.rooms.leave(house.enter("x", empty), 0.0, 0)
    house.enter("m", ending)
    house.rooms.handle_timer(59.0, 59_000)
    assert set(house.rooms.open) == {"empty", "ending"}
    house.rooms.handle_timer(60.0, 60_000)
    assert set(house.rooms.open) == {"empty"}
    house.rooms.handle_timer(300.0, 300_000)
    assert house.rooms.room_count == 0
