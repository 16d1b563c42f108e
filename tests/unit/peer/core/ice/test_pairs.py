"""core.ice.pairs: states, foundations, priorities, and which check is next."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ice_agents import HOST, named
from visavis_peer.core.ice.candidates import Candidate
from visavis_peer.core.ice.pairs import Pair, PairState, PairTable
from visavis_peer.ice.candidates import host_candidate

LOCAL = host_candidate(HOST, 65535)
FROZEN, WAITING, IN_PROGRESS = PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS
SUCCEEDED, FAILED = PairState.SUCCEEDED, PairState.FAILED


def table_of(*remotes: Candidate, started: bool = False) -> tuple[PairTable, list[Pair]]:
    table = PairTable()
    pairs = [Pair(0, LOCAL, remote) for remote in remotes]
    for pair in pairs:
        table.add(pair, controlling=True, started=started)
    return table, pairs


def states(pairs: Sequence[Pair]) -> list[PairState]:
    return [pair.state for pair in pairs]


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_both_sides_give_a_pair_the_same_priority(ours: int, theirs: int) -> None:
    one, other = Candidate("host", "11.0.0.1", 1, ours, "1"), Candidate("host", "11.0.0.2", 1, theirs, "2")
    seen = Pair(0, one, other).priority(controlling=True)
    assert seen == Pair(0, other, one).priority(controlling=False)
    assert seen == (min(ours, theirs) << 32) + 2 * max(ours, theirs) + (ours > theirs)


def test_the_best_pair_of_each_foundation_waits_at_the_start_and_the_others_are_frozen() -> None:
    table, pairs = table_of(named(("11.0.0.1", 1)), named(("11.0.0.1", 2), 5), named(("11.0.0.2", 1), 3))
    assert states(pairs) == [FROZEN] * 3
    table.start()
    assert states(pairs) == [WAITING, FROZEN, WAITING]
    assert [pair.remote.address for pair in table] == [("11.0.0.1", 1), ("11.0.0.1", 2), ("11.0.0.2", 1)]


def test_a_pair_that_is_not_frozen_any_more_keeps_its_state_at_the_start() -> None:
    table, pairs = table_of(named(("11.0.0.1", 1)), named(("11.0.0.1", 2), 5))
    pairs[0].state = SUCCEEDED
    table.start()
    assert states(pairs) == [SUCCEEDED, FROZEN]


@pytest.mark.parametrize(
    ("former", "state"),
    [(FROZEN, WAITING), (WAITING, FROZEN), (IN_PROGRESS, FROZEN), (SUCCEEDED, WAITING), (FAILED, WAITING)],
)
def test_a_pair_that_comes_later_waits_if_its_foundation_is_not_being_checked(
    former: PairState, state: PairState
) -> None:
    table, pairs = table_of(named(("11.0.0.1", 1)), started=True)
    assert states(pairs) == [WAITING]
    pairs[0].state = former
    late = Pair(0, LOCAL, named(("11.0.0.1", 2)))
    table.add(late, controlling=True, started=True)
    assert late.state is state


def test_a_pair_that_comes_later_waits_if_one_of_its_foundation_has_succeeded_whatever_the_others_do() -> None:
    table, pairs = table_of(named(("11.0.0.1", 1)), named(("11.0.0.1", 2)), started=True)
    pairs[0].state, pairs[1].state = SUCCEEDED, IN_PROGRESS
    late = Pair(0, LOCAL, named(("11.0.0.1", 3)))
    table.add(late, controlling=True, started=True)
    assert late.state is WAITING


def test_a_success_thaws_its_foundation_and_no_other() -> None:
    table, pairs = table_of(named(("11.0.0.1", 1)), named(("11.0.0.1", 2)), named(("11.0.0.2", 1)))
    table.thaw(pairs[0].foundation)
    assert states(pairs) == [WAITING, WAITING, FROZEN]


def test_what_waits_is_checked_first_then_what_is_frozen_the_best_first() -> None:
    table, (best, middle, worst) = table_of(*(named(("11.0.0.1", port), 9 - port) for port in (1, 2, 3)))
    worst.state = WAITING
    assert table.next_check(None) is worst
    worst.state = IN_PROGRESS
    assert table.next_check(None) is best
    best.state = FAILED
    assert table.next_check(None) is middle
    middle.state = SUCCEEDED
    assert table.next_check(None) is None


def test_only_what_is_better_than_the_selected_pair_is_worth_a_check() -> None:
    table, (best, middle, worst) = table_of(*(named(("11.0.0.1", port), 9 - port) for port in (1, 2, 3)))
    worst.state = WAITING
    assert table.next_check(best) is None
    assert table.next_check(middle) is best


def test_a_pair_is_found_by_its_socket_and_remote_address() -> None:
    table, (pair,) = table_of(named(("11.0.0.1", 1)))
    assert table.find(0, ("11.0.0.1", 1)) is pair
    assert table.find(1, ("11.0.0.1", 1)) is None
    assert table.find(0, ("11.0.0.1", 2)) is None
    table.remove(pair)
    assert table.find(0, ("11.0.0.1", 1)) is None


def test_a_pair_is_valid_once_it_is_nominated_and_has_succeeded() -> None:
    table, (pair,) = table_of(named(("11.0.0.1", 1)))
    pair.state = SUCCEEDED
    assert table.valid == []
    pair.nominated = True
    assert table.valid == [pair]
    assert repr(pair) == "<Pair 0 to 11.0.0.1 port 1 SUCCEEDED nominated>"
    pair.state = FAILED
    assert table.valid == []
