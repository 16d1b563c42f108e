"""core.session_budget: who begins sessions without end spends nobody else's."""

from __future__ import annotations

from visavis_peer.core.meeting.session_budget import (
    BURST,
    LATELY,
    RATE,
    RESERVE_MAX,
    TABLE_SIZE,
    SessionBudget,
)

START = 1000.0


def drain(budget: SessionBudget, peer_id: str, now: float, attempts: int = 1000) -> int:
    return sum(budget.take(peer_id, now) for _ in range(attempts))


def test_as_many_peers_as_an_agent_has_get_a_session_each_at_once() -> None:
    budget = SessionBudget()
    assert all(budget.take(f"p{number}", START) for number in range(int(BURST)))
    assert not budget.take("one more", START)
    assert budget.take("one more", START + 1.0 / RATE)


def test_who_wants_more_and_more_leaves_enough_for_others() -> None:
    budget = SessionBudget()
    crowd = [f"m{number}" for number in range(10)]
    for _ in range(280):
        for each in crowd:
            budget.take(each, START)
    assert all(budget.take(f"friend {number}", START) for number in range(15))


def test_a_storm_that_goes_on_gets_no_more_than_the_rate_and_friends_still_come_first() -> None:
    budget = SessionBudget()
    taken = 0
    for tick in range(28 * 60):
        now = START + tick / 28
        taken += sum(budget.take(f"m{number}", now) for number in range(10))
        if tick % 280 == 279:
            assert budget.take(f"friend {tick}", now)
    assert taken <= BURST + RATE * 60


def test_a_peer_in_need_of_many_rounds_gets_them_on_a_quiet_day() -> None:
    budget = SessionBudget()
    assert all(budget.take("hard", START + 5.0 * number) for number in range(100))


def test_former_sessions_are_forgotten_after_a_while() -> None:
    budget = SessionBudget()
    assert drain(budget, "m", START) < BURST - RESERVE_MAX + 1
    later = START + LATELY
    assert all(budget.take(f"p{number}", later) for number in range(int(BURST) - 1))
    assert budget.take("m", later)


def test_the_table_has_a_bound() -> None:
    budget = SessionBudget()
    for number in range(2 * TABLE_SIZE):
        assert budget.take(f"p{number}", START + number)
    assert f"{TABLE_SIZE} peers" in repr(budget)
