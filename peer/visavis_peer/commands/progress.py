"""How much a pipe has carried: a line that is written over at a terminal, and one line at the end."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

from visavis_shared.descriptors import write_text

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two looks: as often as a person can read it."""
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


class Meter:
    """Counts the bytes of one transfer."""

    def __init__(self) -> None:
        self.sent = 0
        """Bytes of standard input that have been given to the link."""
        self.received = 0
        """Bytes that have been written to standard output."""
        self._began = time.monotonic()

    def summary(self, way: str) -> str:
        """Return the last line on a transfer that has gone `way`."""
        elapsed = time.monotonic() - self._began
        return f"done: {size(self.sent)} sent, {size(self.received)} received in {elapsed:.1f} s, {way}"

    async def show(self) -> None:
        """Show how it goes at the terminal that standard error is; nothing, and at once, where it is none."""
        if sys.stderr is None or not sys.stderr.isatty():
            return
        before = 0
        shown = False
        try:
            while True:
                await asyncio.sleep(PROGRESS_INTERVAL)
                total = self.sent + self.received
                rate = max(0, total - before) / PROGRESS_INTERVAL
                before = total
                _write(f"\r{size(self.sent)} sent, {size(self.received)} received, {size(int(rate))}/s\x1b[K")
                shown = True
        finally:
            if shown:
                _write("\r\x1b[K")


def _write(text: str) -> None:
    write_text(sys.stderr, text, dispensable=True)


def size(count: int) -> str:
    """Return a number of bytes as a person says it, in powers of 1000."""
    number = float(count)
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{count} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")
