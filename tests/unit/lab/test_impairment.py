"""impairment: the frames of one direction of a cable, with the clock in hand."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from tests.netns.engine.impairment import FRAMES_MAX, PERFECT, Direction, Impairment


def direction(**impairment: Any) -> Direction:
    made = Direction(random.Random(1))
    made.impair(Impairment(**impairment))
    return made


def arrivals(path: Direction) -> list[tuple[float, bytes]]:
    """Let everything arrive, and return when and what."""
    seen = []
    while (timer := path.next_timer()) is not None:
        seen += [(timer, frame) for frame in path.handle_timer(timer)]
    return seen


def test_a_perfect_path_hands_every_frame_straight_back() -> None:
    path = direction()
    assert path.receive_frame(b"a", 0)
    assert path.next_timer() is None
    assert path.counts.delivered == 1


def test_a_delayed_frame_arrives_when_its_time_has_come_and_no_sooner() -> None:
    path = direction(delay=0.05)
    assert not path.receive_frame(b"a", 1.0)
    assert path.next_timer() == 1.05
    assert path.handle_timer(1.0499) == []
    assert path.handle_timer(1.05) == [b"a"]


def test_jitter_spreads_the_delay_and_keeps_the_order() -> None:
    path = direction(delay=0.01, jitter=0.02)
    for number in range(200):
        path.receive_frame(bytes([number]), number * 0.001)
    seen = arrivals(path)
    assert [frame[0] for _, frame in seen] == list(range(200))
    delays = [at - number * 0.001 for number, (at, _) in enumerate(seen)]
    assert min(delays) >= 0.01
    assert max(delays) <= 0.03 + 1e-9
    assert max(delays) - min(delays) > 0.005


def test_loss_takes_its_share() -> None:
    path = direction(loss=0.25)
    for _ in range(4000):
        path.receive_frame(b"x", 0)
    assert 900 < path.counts.lost < 1100
    assert len(arrivals(path)) == 4000 - path.counts.lost == path.counts.delivered


def test_a_frame_held_back_is_overtaken() -> None:
    path = direction(reordering=0.1, held_back=0.05)
    for number in range(100):
        path.receive_frame(bytes([number]), number * 0.01)
    order = [frame[0] for _, frame in arrivals(path)]
    assert sorted(order) == list(range(100))
    displaced = sum(1 for earlier, later in itertools.pairwise(order) if later < earlier)
    assert 0 < displaced <= 20


def test_the_rate_spaces_frames_and_its_queue_has_an_end() -> None:
    path = direction(rate=1000, queue_size=250)
    for _ in range(5):
        path.receive_frame(bytes(100), 0)
    assert [at for at, _ in arrivals(path)] == pytest.approx([0.1, 0.2])
    assert path.counts.overflowed == 3
    path.receive_frame(bytes(100), 10)
    assert [at for at, _ in arrivals(path)] == pytest.approx([10.1])


def test_a_frame_larger_than_the_queue_passes_when_nothing_is_ahead() -> None:
    path = direction(rate=1000, queue_size=10)
    path.receive_frame(bytes(100), 0)
    path.receive_frame(bytes(100), 0)
    assert len(arrivals(path)) == 1


def test_a_new_impairment_leaves_what_is_on_the_way_its_time() -> None:
    path = direction(delay=1.0)
    path.receive_frame(b"old", 0)
    path.impair(Impairment(delay=0.1))
    path.receive_frame(b"new", 0)
    assert arrivals(path) == [(0.1, b"new"), (1.0, b"old")]


def test_a_path_made_perfect_does_not_hold_up_new_frames() -> None:
    path = direction(delay=1.0)
    path.receive_frame(b"old", 0)
    path.impair(PERFECT)
    assert path.receive_frame(b"new", 0.5)
    assert arrivals(path) == [(1.0, b"old")]


def test_a_cut_loses_what_is_on_the_way_and_what_comes_until_mended() -> None:
    path = direction(delay=1.0)
    path.receive_frame(b"a", 0)
    path.cut()
    path.receive_frame(b"b", 0.1)
    path.mend()
    path.receive_frame(b"c", 0.2)
    assert arrivals(path) == [(1.2, b"c")]
    assert path.counts.cut == 2


@pytest.mark.parametrize("impairment", [{"delay": 1.0}, {"rate": 1.0, "queue_size": 10**9}])
def test_only_so_many_frames_are_held(impairment: dict[str, Any]) -> None:
    path = direction(**impairment)
    for _ in range(FRAMES_MAX + 3):
        path.receive_frame(b"x", 0)
    assert path.counts.overflowed == 3


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.1}, {"reordering": -0.1}, {"delay": -1}, {"jitter": -1}, {"rate": 0}, {"queue_size": -1}],
)
def test_impossible_impairments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Impairment(**wrong)
