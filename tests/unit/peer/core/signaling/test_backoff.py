"""core.signaling.backoff: how long to wait before the next attempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.signaling.backoff import (
    PUNCH_RETRY,
    SIGNALING_FIRST,
    SIGNALING_MAX,
    UNTIMELY_MAX,
    punch_delay,
    signaling_delay,
    untimely_delay,
)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_reconnections_wait_between_half_and_the_whole_of_a_bounded_delay(attempt: int, jitter: float) -> None:
    assert SIGNALING_FIRST / 2 <= signaling_delay(attempt, jitter) <= SIGNALING_MAX


def test_reconnections_wait_longer_each_time_until_the_bound() -> None:
    delays = [signaling_delay(attempt, 1.0) for attempt in range(8)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_rounds_of_checks_are_repeated_ever_more_seldom() -> None:
    assert [punch_delay(failures) for failures in (1, 2, 3, 4, 99)] == [*PUNCH_RETRY, 60.0, 60.0]


def test_a_token_refused_for_its_times_is_shown_again_slowly() -> None:
    assert [untimely_delay(attempt, 1.0) for attempt in (0, 1, 9)] == [5.0, 10.0, UNTIMELY_MAX]
    assert untimely_delay(0, 0.0) == 2.5
