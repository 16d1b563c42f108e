"""SleepWatch: a machine that was suspended, with a fake at the port of the clock; and one that is merely busy."""

from __future__ import annotations

import pytest

from tests.support.conditions import until
from visavis_peer import sleep_watch
from visavis_peer.sleep_watch import LATE, SleepWatch, elapsed


class Suspended:
    """A clock that goes on while the loop's stands still: each look is one interval after the last, and `asleep`."""

    def __init__(self, *asleep: float) -> None:
        self.looks = 0
        self._asleep = list(asleep)
        self._now = 0.0

    def __call__(self) -> float:
        self.looks += 1
        self._now += sleep_watch.INTERVAL + (self._asleep.pop(0) if self._asleep else 0.0)
        return self._now


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleep_watch, "INTERVAL", 0.01)


async def test_a_sleep_is_told_once_with_its_length() -> None:
    clock = Suspended(0.0, 0.0, 900.0)
    woken: list[float] = []
    watch = SleepWatch(woken.append, clock)
    watch.start()
    await until(lambda: clock.looks >= 6)
    await watch.close()
    assert woken == [pytest.approx(900.0 + sleep_watch.INTERVAL)]


async def test_a_busy_machine_is_not_asleep() -> None:
    clock = Suspended(0.0, LATE - 0.1, 0.0, LATE - 0.1)
    woken: list[float] = []
    watch = SleepWatch(woken.append, clock)
    watch.start()
    await until(lambda: clock.looks >= 6)
    await watch.close()
    assert not woken


def test_the_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert elapsed() <= elapsed()
    monkeypatch.delattr("time.CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr("time.time", lambda: 5.0)
    assert elapsed() == 5.0
