"""core.pacing and the Retry-After header."""

from __future__ import annotations

import pytest

from visavis_peer.core.signaling.backoff import RETRY_AFTER_MAX, told_delay
from visavis_peer.core.signaling.pacing import PAUSE, SPARE, Pacer


def sent_until(pacer: Pacer, start: float, end: float) -> int:
    """Send as early as the pacer allows."""
    now, count = start, 0
    while now < end:
        delay = pacer.delay(now)
        if delay:
            now += delay
            continue
        pacer.spend(now)
        count += 1
    return count


def test_a_burst_then_the_rate() -> None:
    pacer = Pacer(rate=10, now=100.0)
    assert sent_until(pacer, 100.0, 100.01) == pytest.approx(10 * SPARE, abs=1)
    assert sent_until(pacer, 100.01, 110.01) == pytest.approx(100, abs=1)


def test_credit_does_not_pile_up_while_nothing_is_sent() -> None:
    pacer = Pacer(rate=10, now=0.0)
    assert pacer.delay(1000.0) == 0
    assert sent_until(pacer, 1000.0, 1000.01) == pytest.approx(10 * SPARE, abs=1)


def test_without_a_rate_only_a_refusal_makes_it_wait() -> None:
    pacer = Pacer(rate=0, now=5.0)
    for _ in range(1000):
        assert pacer.delay(5.0) == 0
        pacer.spend(5.0)
    pacer.pause(6.0)
    assert pacer.delay(6.0) == pytest.approx(PAUSE)
    assert pacer.delay(6.0 + PAUSE) == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("999999999999", RETRY_AFTER_MAX),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_heeded_where_it_is_a_number_of_seconds(header: str | None, seconds: float | None) -> None:
    assert told_delay(header) == seconds
