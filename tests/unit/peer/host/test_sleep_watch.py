"""SleepWatch: a machine that was suspended, with a fake at the port of the clock; and one that is merely busy."""

from __future__ import annotations

import pytest

from tests.support.conditions import until
from visavis_peer.core.link.liveness import LATE
from visavis_peer.host import sleep_watch
from visavis_peer.host.sleep_watch import SleepWatch, what_it_was


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
    woken: list[str] = []
    watch = SleepWatch(woken.append, clock)
    watch.start()
    await until(lambda: clock.looks >= 6)
    await watch.close()
    assert woken == ["this machine was asleep for 900 s"]


async def test_a_busy_machine_is_not_asleep() -> None:
    clock = Suspended(0.0, LATE - 0.1, 0.0, LATE - 0.1)
    woken: list[str] = []
    watch = SleepWatch(woken.append, clock)
    watch.start()
    await until(lambda: clock.looks >= 6)
    await watch.close()
    assert not woken


@pytest.mark.parametrize(
    ("passed", "ticked", "stands_still", "told"),
    [
        (900.0, 1.0, True, "this machine was asleep for 900 s"),
        (900.0, 2.0, False, "this machine was asleep for 900 s"),
        (12.0, 12.0, True, "this program was stopped for 12 s"),
        (12.0, 12.0 - LATE, True, "this program was stopped for 12 s"),
        (12.0, 12.0, False, "this program was stopped, or the machine asleep, for 12 s"),
    ],
)
def test_a_stop_is_told_from_a_sleep_where_the_clocks_show_it(
    passed: float, ticked: float, stands_still: bool, told: str
) -> None:
    assert what_it_was(passed, ticked, stands_still=stands_still) == told
