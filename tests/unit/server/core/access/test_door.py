"""core.access.door with a clock of the test's."""

from __future__ import annotations

import pytest

from visavis_server.core.access.causes import Cause
from visavis_server.core.access.door import HANDSHAKE_TIMEOUT, RESERVED_DESCRIPTORS, Capacity, Door, capacity_of

LARGE = Capacity(1000)
SMALL = Capacity(peers=5, pending=3, idle=2)


def test_who_asks_for_nothing_has_to_go() -> None:
    door: Door[str] = Door(LARGE)
    assert door.arrive("a", "", 100.0) == (None, None)
    assert door.arrive("b", "", 105.0) == (None, None)
    assert door.overdue(100.0 + HANDSHAKE_TIMEOUT - 0.1) == []
    assert door.overdue(100.0 + HANDSHAKE_TIMEOUT) == ["a"]
    assert door.overdue(100.0 + HANDSHAKE_TIMEOUT) == []
    assert (len(door), door.expired, door.total) == (1, 1, 1)


def test_who_has_asked_may_stay_and_counts() -> None:
    door: Door[str] = Door(LARGE)
    door.arrive("a", "s", 100.0)
    door.settle("a")
    door.settle("a")
    assert (len(door), door.total) == (0, 1)
    assert door.overdue(1000.0) == []


def test_only_so_many_of_one_source_and_in_all_wait_at_once() -> None:
    door: Door[int] = Door(Capacity(1000, pending=10), source_pending_limit=3)
    assert [door.arrive(number, "s", 0.0)[0] for number in range(4)] == [None] * 3 + [Cause.PENDING]
    assert door.arrive(10, "other", 0.0)[0] is None
    door.settle(0)
    assert door.arrive(11, "s", 0.0)[0] is None
    causes = [door.arrive(number, "", 0.0)[0] for number in range(20, 26)]
    assert causes == [None] * 6, "this host itself counts in total only"
    assert door.arrive(30, "third", 0.0)[0] is Cause.PENDING
    assert door.refused == 2


def test_a_source_has_only_so_many_whatever_they_do() -> None:
    """Kept-alive connections and WebSockets alike."""
    door: Door[int] = Door(LARGE, source_limit=4)
    for number in range(4):
        assert door.arrive(number, "s", 0.0)[0] is None
        door.settle(number)
        if number % 2:
            door.rest(number)
    assert door.arrive(4, "s", 0.0)[0] is Cause.ADDRESS_CONNECTIONS
    assert door.arrive(4, "other", 0.0)[0] is None
    assert door.share_of("s") == pytest.approx(0.8)
    door.leave(1)
    assert door.arrive(5, "s", 0.0)[0] is None


def test_beyond_the_total_the_longest_idle_one_makes_way_and_no_busy_one() -> None:
    door: Door[int] = Door(SMALL)
    for number in range(SMALL.total):
        assert door.arrive(number, "", 0.0) == (None, None)
        door.settle(number)
    assert door.arrive(10, "", 0.0) == (Cause.DESCRIPTORS, None)
    door.rest(3)
    door.rest(1)
    assert door.arrive(11, "", 0.0) == (None, 3)
    assert door.total == SMALL.total


def test_only_so_many_idle_and_who_asks_again_is_busy() -> None:
    door: Door[int] = Door(SMALL)
    for number in range(4):
        door.arrive(number, "", 0.0)
        door.settle(number)
    assert [door.rest(number) for number in range(3)] == [None, None, 0]
    door.settle(1)
    assert door.rest(3) is None, "of those three one has asked again"


def test_who_a_proxy_names_counts_for_itself() -> None:
    door: Door[str] = Door(LARGE, source_limit=1)
    for connection in ("a", "b", "c"):
        assert door.arrive(connection, "", 0.0)[0] is None
    assert door.name("a", "x") is None
    assert door.name("b", "y") is None
    assert door.name("c", "x") is Cause.ADDRESS_CONNECTIONS
    for connection in ("a", "b", "c"):
        door.leave(connection)
    assert door.total == 0


def test_nothing_is_left_of_who_went() -> None:
    door: Door[int] = Door(Capacity(10, pending=10), source_limit=3)
    for number in range(1000):
        assert door.arrive(number, f"source {number}", 0.0)[0] is None
        door.settle(number)
        door.rest(number)
        door.leave(number)
        door.leave(number)
    assert repr(vars(door)).count("source ") == 0
    assert door.total == 0


@pytest.mark.parametrize("descriptors", [256, 1024, 4096, 1 << 20])
def test_what_is_promised_is_had(descriptors: int) -> None:
    capacity = capacity_of(10_000, descriptors)
    assert capacity.total + RESERVED_DESCRIPTORS <= descriptors
    assert 0 < capacity.peers <= 10_000
    assert capacity.pending > 0
    assert capacity.idle > 0


def test_enough_descriptors_leave_the_limits_as_they_are() -> None:
    assert capacity_of(10_000, None) == capacity_of(10_000, 1 << 20) == Capacity(10_000)
