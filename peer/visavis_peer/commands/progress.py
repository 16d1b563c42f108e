"""How much a pipe has carried: a line that is written over at a terminal, and one line at the end."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from visavis_shared.descriptors import STDIN, STDOUT
from visavis_shared.outlets import STATUS

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between two looks: as often as a person can read it."""
USUAL_WIDTH: Final = 80
"""Columns."""
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


class Meter:
    """Counts the bytes of one transfer."""

    def __init__(self) -> None:
        self.sent = 0
        """Bytes of standard input that have been given to the link."""
        self.received = 0
        """Bytes that have been written to standard output."""
        self.written_there = 0
        """Bytes of those sent that have been written out on the other side, as far as is known."""
        self.complete = False
        """Whether everything has been written out on both sides."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._shown = False

    def summary(self, way: str) -> str:
        """Return the last line on a transfer that has gone `way`."""
        elapsed = self._loop.time() - self._began
        return f"done: {size(self.sent)} sent, {size(self.received)} received in {elapsed:.1f} s, {way}"

    def shortfall(self, way: str, *, untold: bool) -> str:
        """Return the last line on a transfer that was cut off: to the byte, for whoever wants to go on from there.

        `untold` tells whether the other side has gone without a word: then what is known of it here is all there is.
        """
        elapsed = self._loop.time() - self._began
        sent = f"{exact_size(self.sent)} sent"
        if self.sent and untold:
            known = f"at least {exact_size(self.written_there)}" if self.written_there else "not known"
            sent += f" (written out on the other side: {known})"
        return f"incomplete: {exact_size(self.received)} received, {sent} in {elapsed:.1f} s, {way}"

    async def show(self) -> None:
        """Show how it goes at the terminal that standard error is; nothing, and at once, where it is none.

        Nor is it shown among what is carried, once that comes from a terminal or goes to one.
        """
        if sys.stderr is None or not sys.stderr.isatty():
            return
        typed, read = os.isatty(STDIN), os.isatty(STDOUT)
        before = 0
        try:
            while True:
                await asyncio.sleep(PROGRESS_INTERVAL)
                total = self.sent + self.received
                rate = max(0, total - before) / PROGRESS_INTERVAL
                before = total
                if not (typed and self.sent) and not (read and self.received):
                    text = f"{size(self.sent)} sent, {size(self.received)} received, {size(int(rate))}/s"
                    shown = f"\r{text[: _width() - 1]}\x1b[K"  # more than a line could not be written over
                    self._shown = STATUS.offer(shown.encode()) or self._shown
        finally:
            self.hide()

    def hide(self) -> None:
        """Take what is shown away, before something else is written there."""
        if self._shown:
            self._shown = False
            STATUS.write(b"\r\x1b[K")


def _width() -> int:
    """Return the columns of the terminal, a usual number where it does not tell."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


def exact_size(count: int) -> str:
    """Return a number of bytes to the byte, and as a person says it where that is shorter."""
    return size(count) if count < 1000 else f"{count} bytes ({size(count)})"


def size(count: int) -> str:
    """Return a number of bytes as a person says it, in powers of 1000."""
    number = float(count)
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{count} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")
