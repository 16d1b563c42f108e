"""core.signaling.intake: what was taken, in the peer's own numbers."""

from __future__ import annotations

from visavis_server.core.signaling.intake import Intake


def taken(intake: Intake, count: int, *, again: bool = False) -> int:
    for _ in range(count):
        intake.count()
    return intake.resume(again=again)


def test_each_ack_starts_the_count_anew() -> None:
    intake = Intake()
    assert taken(intake, 3) == 3
    assert taken(intake, 2) == 2


def test_who_has_not_seen_the_last_ack_is_told_what_came_since_the_one_before() -> None:
    intake = Intake()
    assert taken(intake, 3) == 3
    assert taken(intake, 2, again=True) == 5
    assert taken(intake, 0, again=True) == 5
    assert taken(intake, 1) == 1
