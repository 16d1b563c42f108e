"""Notices when this machine, or this process alone, has been asleep.

On Linux the event loop's clock (CLOCK_MONOTONIC) stands still while the machine is suspended, so that no timer of ours
knows of it; CLOCK_BOOTTIME goes on. A process that was stopped finds both of them ahead. A look that comes late by the
clock that goes on shows either; by how much it is ahead of the other one tells which it was.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from visavis_peer.core.link.liveness import LATE
from visavis_peer.host.boot_time import read_boot_time
from visavis_peer.host.watch import Watch

INTERVAL: Final = 1.0
"""Seconds between looks."""

_STANDS_STILL: Final = sys.platform != "win32"
"""Whether the loop's clock does in sleep, as it does on Linux and macOS."""


def what_it_was(passed: float, ticked: float, *, stands_still: bool) -> str:
    """Return in words why nothing was done for `passed` seconds, of which the loop's clock has counted `ticked`.

    `stands_still` says whether that clock does in sleep, so that the two can be told apart.
    """
    if passed - ticked > LATE:
        return f"this machine was asleep for {passed:.0f} s"
    who = "this program was stopped" if stands_still else "this program was stopped, or the machine asleep,"
    return f"{who} for {passed:.0f} s"


class SleepWatch(Watch):
    """Compares the loop's clock, which may stand still, with one that does not."""

    def __init__(self, on_wake: Callable[[str], None], clock: Callable[[], float] = read_boot_time) -> None:
        """`on_wake` gets a sentence on what is over, and how long it was; `clock` goes on in sleep."""
        super().__init__()
        self._on_wake = on_wake
        self._clock = clock

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        before, ticks = self._clock(), loop.time()
        while True:
            await asyncio.sleep(INTERVAL)
            now, ticks_now = self._clock(), loop.time()
            if now - before > INTERVAL + LATE:
                self._on_wake(what_it_was(now - before, ticks_now - ticks, stands_still=_STANDS_STILL))
            before, ticks = now, ticks_now
