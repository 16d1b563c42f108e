"""core.access.guessing: what is left to try, with a clock of the test's."""

from __future__ import annotations

from visavis_server.core.access.guessing import (
    FAILURE_BURST,
    FAILURE_RATE,
    KNOWN_TIME,
    NOTICE_INTERVAL,
    RESUME_BURST,
    Guard,
    Suspicion,
)
from visavis_server.core.access.rate import NETWORK_FACTOR

HERE = "192.0.2.1"
ROOM = "room r"


def spend(guard: Guard, source: str, now: float = 0.0, scope: str = ROOM) -> None:
    while guard.may_try(scope, source, now):
        guard.fail(scope, source, now)


def test_tries_come_back_little_by_little() -> None:
    guard = Guard()
    spend(guard, HERE)
    assert not guard.may_try(ROOM, HERE, 0.5 / FAILURE_RATE)
    assert guard.may_try(ROOM, HERE, 1.01 / FAILURE_RATE)


def test_a_network_runs_out_and_its_neighbours_with_it() -> None:
    guard = Guard()
    for host in range(NETWORK_FACTOR):
        spend(guard, f"192.0.2.{host}")
    assert not guard.may_try(ROOM, "192.0.2.200", 0.0)
    assert guard.may_try(ROOM, "203.0.113.1", 0.0)


def test_who_was_let_in_has_tries_of_its_own_there_for_an_hour() -> None:
    guard = Guard()
    guard.let_in(ROOM, "192.0.2.200", 0.0)
    for host in range(NETWORK_FACTOR):
        spend(guard, f"192.0.2.{host}")
    assert guard.may_try(ROOM, "192.0.2.200", 0.0)
    assert not guard.may_try("room other", "192.0.2.200", 0.0)
    spend(guard, "192.0.2.200")
    assert not guard.may_try(ROOM, "192.0.2.200", 0.0), "its own are bounded as well"
    for host in range(NETWORK_FACTOR):
        spend(guard, f"192.0.2.{host}", KNOWN_TIME)
    assert not guard.may_try(ROOM, "192.0.2.200", KNOWN_TIME)


def test_resume_tokens_have_tries_of_their_own() -> None:
    guard = Guard()
    spend(guard, HERE)
    for _ in range(RESUME_BURST):
        assert guard.may_resume(HERE, 0.0)
        guard.fail_resume(HERE, 0.0)
    assert not guard.may_resume(HERE, 0.0)


def test_a_notice_counts_what_has_come_since_the_last_one() -> None:
    suspicion = Suspicion(least=3)
    assert [suspicion.add(0.0) for _ in range(3)] == [0, 0, 3]
    assert [suspicion.add(1.0) for _ in range(FAILURE_BURST)] == [0] * FAILURE_BURST
    assert suspicion.add(NOTICE_INTERVAL) == FAILURE_BURST + 1
