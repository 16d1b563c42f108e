"""core.door with a clock of the test's."""

from __future__ import annotations

from visavis_server.core.door import HANDSHAKE_TIMEOUT, Door


def test_who_asks_for_nothing_has_to_go() -> None:
    door: Door[str] = Door()
    assert door.arrive("a", "", 100.0)
    assert door.arrive("b", "", 105.0)
    assert door.overdue(100.0 + HANDSHAKE_TIMEOUT - 0.1) == []
    assert door.overdue(100.0 + HANDSHAKE_TIMEOUT) == ["a"]
    assert door.overdue(100.0 + HANDSHAKE_TIMEOUT) == []
    assert (len(door), door.expired) == (1, 1)


def test_who_has_asked_may_stay() -> None:
    door: Door[str] = Door()
    door.arrive("a", "s", 100.0)
    door.settle("a")
    door.settle("a")
    assert len(door) == 0
    assert door.overdue(1000.0) == []


def test_only_so_many_wait_at_once() -> None:
    door: Door[int] = Door(limit=10, source_limit=3)
    assert [door.arrive(number, "s", 0.0) for number in range(4)] == [True] * 3 + [False]
    assert door.arrive(10, "other", 0.0)
    door.settle(0)
    assert door.arrive(11, "s", 0.0)
    assert all(door.arrive(number, "", 0.0) for number in range(20, 26)), "this host itself counts in total only"
    assert not door.arrive(30, "third", 0.0)
    assert door.refused == 2


def test_nothing_is_left_of_who_went() -> None:
    door: Door[int] = Door(limit=10, source_limit=3)
    for number in range(1000):
        assert door.arrive(number, f"source {number}", 0.0)
        door.settle(number)
    assert repr(vars(door)).count("source ") == 0
