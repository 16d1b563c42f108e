"""Notices when this machine, or this process alone, has been asleep.

On Linux the event loop's clock (CLOCK_MONOTONIC) stands still while the machine is suspended, so that no timer of ours
knows of it; CLOCK_BOOTTIME goes on. A process that was stopped finds both of them ahead. A look that comes late by the
clock that goes on shows either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from visavis_peer.watch import Watch

INTERVAL: Final = 1.0
"""Seconds between looks."""
LATE: Final = 4.0
"""Seconds by which a look is too late for a busy machine. To take a hiccup for sleep costs one reconnection."""


def elapsed() -> float:
    """Return the seconds of a clock that goes on in sleep: where there is none, of the wall clock, which may be set."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if boot_time is None else time.clock_gettime(boot_time)


class SleepWatch(Watch):
    """Compares the loop's clock, which may stand still, with one that does not."""

    def __init__(self, on_wake: Callable[[float], None], clock: Callable[[], float] = elapsed) -> None:
        """`on_wake` gets the seconds of a sleep that is over; `clock` goes on in sleep."""
        super().__init__()
        self._on_wake = on_wake
        self._clock = clock

    async def _run(self) -> None:
        before = self._clock()
        while True:
            await asyncio.sleep(INTERVAL)
            now = self._clock()
            if now - before > INTERVAL + LATE:
                self._on_wake(now - before)
            before = now
