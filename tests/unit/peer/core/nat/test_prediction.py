"""core.prediction: windows over a sequence of ports, and how often they hold the port that was meant."""

from __future__ import annotations

import itertools
import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.prediction_trial import Trial, success
from visavis_peer.core.nat.allocation import FIRST_PORT, LAST_PORT, PortSample
from visavis_peer.core.nat.prediction import (
    MEETING_LEAST,
    MEETING_LIMIT,
    MEETING_MARGIN,
    WINDOW_SIZE,
    PortSequence,
    between,
    meeting_offset,
    meeting_size,
    window,
)

QUIET: Final = PortSequence(PortSample(0, 20000, 10.0), step=1, foreign_rate=0.0)
RATES: Final = (0.0, 10.0, 100.0, 400.0)

sequences = st.builds(
    PortSequence,
    st.builds(PortSample, st.just(0), st.integers(FIRST_PORT, LAST_PORT), st.just(0.0)),
    st.sampled_from([1, 2, -1, 256]),
    st.none() | st.floats(0, 1e6),
)


def test_on_a_quiet_nat_the_next_ports_come_first() -> None:
    assert window(QUIET, 10.5)[:3] == (20001, 20002, 20003)
    assert set(window(QUIET, 10.5, openers=3)[:3]) == {20001, 20002, 20003}


def test_the_window_follows_the_traffic_of_others() -> None:
    busy = PortSequence(QUIET.last, 1, foreign_rate=100.0)
    ports = window(busy, 10.4)
    assert abs(ports[0] - 20041) <= 1
    assert min(ports) <= 20041 - 15
    assert max(ports) >= 20041 + 15
    assert len(ports) > len(window(QUIET, 10.4))


def test_an_unknown_rate_is_taken_for_a_little_traffic() -> None:
    assert len(window(PortSequence(QUIET.last, 1), 12.0)) > len(window(QUIET, 12.0))


def test_a_sample_from_the_future_is_taken_for_one_of_now() -> None:
    assert window(QUIET, 9.0) == window(QUIET, 10.0)


@pytest.mark.parametrize(
    ("last", "step", "following"),
    [(65535, 1, [1024, 1025]), (1024, -1, [65535, 65534]), (65534, 2, [1024, 1026]), (20000, -2, [19998, 19996])],
)
def test_a_sequence_begins_again_at_its_end(last: int, step: int, following: list[int]) -> None:
    sequence = PortSequence(PortSample(0, last, 0.0), step)
    assert [sequence.port(count) for count in (1, 2)] == following


@given(sequences, st.floats(0, 1e4), st.integers(1, 64))
def test_a_window_is_bounded_and_names_each_port_once(sequence: PortSequence, at: float, openers: int) -> None:
    ports = window(sequence, at, openers)
    assert 1 <= len(ports) <= WINDOW_SIZE
    assert len(set(ports)) == len(ports)
    assert all(FIRST_PORT <= port <= LAST_PORT for port in ports)


@pytest.mark.parametrize(
    ("before", "after", "step", "ports"),
    [
        (20000, 20004, 1, (20001, 20002, 20003)),
        (20000, 20008, 2, (20002, 20004, 20006)),
        (20004, 20000, -1, (20003, 20002, 20001)),
        (20000, 20003, 2, tuple(range(20002, 20018, 2))),
        (20000, 20000, 1, tuple(range(20001, 20009))),
    ],
    ids=["three", "in twos", "downwards", "off the step", "no way at all"],
)
def test_a_bracket_holds_what_lies_in_between(before: int, after: int, step: int, ports: tuple[int, ...]) -> None:
    assert between(before, after, step) == ports


def test_a_bracket_round_the_end_of_the_range_begins_with_what_was_given_out() -> None:
    assert between(65534, 1026, 1)[:3] == (65535, 1024, 1025)


def test_a_wide_bracket_is_cut() -> None:
    assert between(20000, 30000, 1) == tuple(range(20001, 20001 + WINDOW_SIZE))


def test_those_who_meet_make_more_mappings_on_a_busy_nat_up_to_a_limit() -> None:
    sizes = [meeting_size(rate, 0.3) for rate in (0.0, 10.0, 50.0, 1000.0)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (MEETING_LEAST, MEETING_LIMIT)
    assert meeting_size(None, 0.3) == meeting_size(10.0, 0.3)
    assert meeting_offset(MEETING_LEAST) == MEETING_LEAST - MEETING_MARGIN


def test_prediction_holds_against_the_traffic_that_it_has_measured() -> None:
    rng = random.Random(1)
    extrapolated = [success(Trial(rate, delay=0.3), rng, 300) for rate in RATES]
    assert extrapolated[0] == 1.0
    assert min(extrapolated) >= 0.95


def test_a_bracket_beats_an_extrapolation_and_a_measured_rate_an_assumed_one() -> None:
    rng = random.Random(1)
    for rate in (50.0, 400.0):
        bracketed = success(Trial(rate, delay=0.3, bracketed=True), rng, 300)
        extrapolated = success(Trial(rate, delay=0.3), rng, 300)
        assumed = success(Trial(rate, delay=0.3, rate_known=False), rng, 300)
        assert bracketed == 1.0
        assert bracketed >= extrapolated > assumed


def test_success_falls_with_the_traffic_where_it_is_not_measured() -> None:
    rng = random.Random(1)
    curve = [success(Trial(rate, delay=0.3, rate_known=False), rng, 300) for rate in RATES]
    assert all(later <= earlier for earlier, later in itertools.pairwise(curve))
    assert curve[0] == 1.0
    assert curve[-1] < 0.1
