"""Standard output and error, written to without waiting for whoever reads them, or does not.

A pipe that nobody drains and a terminal that is paused (Ctrl-S) would let the program sleep in write(), and its links
with it. Here a descriptor is asked first; what it does not take waits within a bound, and is lost and counted beyond.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from visavis_shared.descriptors import STDERR, STDOUT, wait_writable

PIECE: Final[int] = min(4096, getattr(select, "PIPE_BUF", 512))
"""Bytes that a pipe which is ready takes without blocking: PIPE_BUF (POSIX limits.h)."""
FLUSH_INTERVAL: Final = 0.05
"""Seconds between two attempts at what waits: a person sees no delay, and 20 polls a second cost nothing."""
OUTPUT_BOUND: Final = 1 << 20
"""Bytes of standard output that wait for a slow reader: some 5,000 events."""
STATUS_BOUND: Final = 16 << 10
"""Bytes of standard error that wait: some screens, more than a person reads after a pause."""
FAREWELL_COUNT: Final = 6
"""Attempts, FLUSH_INTERVAL apart, that a program which is to end still makes: 0.3 s, less than a person notices."""


def lost_lines(count: int) -> str:
    """Return the line on lines that were lost."""
    return f"{count} {'line was' if count == 1 else 'lines were'} lost here, for nobody read on"


class Outlet:
    """One descriptor that is written to without waiting; its flags, which others share, stay as they are.

    While something waits, a timer of the running loop writes what is taken; without a loop each write tries.
    """

    def __init__(self, descriptor: int, bound: int, *, dispensable: bool) -> None:
        """Up to `bound` bytes wait; what is `dispensable` is dropped on any error."""
        self.tell: Callable[[int], str] = lost_lines
        """Returns the line on how many were lost."""
        self.on_failure: Callable[[OSError], object] | None = None
        """Called with an error of what was written later."""
        self._descriptor = descriptor
        self._terminal: int | None = None
        self._bound = bound
        self._dispensable = dispensable
        self._waiting = bytearray()
        self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        """The one whose timer runs."""
        self._writing = False
        self._lock = threading.RLock()  # the log comes from threads, and from the collector in mid-write

    def __repr__(self) -> str:
        return f"<Outlet {self._descriptor}: {len(self._waiting)} bytes wait, {self._lost} lines lost>"

    def write(self, line: bytes) -> None:
        """Write a line, now or later; once too much waits it is lost.

        Raises OSError unless it is dispensable.
        """
        with self._lock:
            waits = bool(self._waiting)
            if self._lost or (waits and len(self._waiting) + len(line) > self._bound):
                self._lost += 1
            else:
                self._waiting += line
            if not waits or self._loop is None:
                self.flush()
            self._arm()

    def offer(self, text: bytes) -> bool:
        """Write `text` if it is taken now, and leave it out otherwise; return whether it was not left out."""
        with self._lock:
            if self._waiting or not self._takes():
                return False
            self.write(text)
            return True

    def flush(self) -> None:
        """Write what is taken now of what waits.

        Raises OSError unless it is dispensable.
        """
        with self._lock:
            if self._writing:
                return
            self._writing = True
            try:
                self._write_out()
            except BlockingIOError:
                pass
            except (OSError, ValueError):
                self._waiting.clear()
                self._lost = 0
                if not self._dispensable:
                    raise
            finally:
                self._writing = False

    def finish(self, stopped: Callable[[], bool]) -> None:
        """Wait until everything is written, or FAREWELL_COUNT attempts once `stopped()`: for the end, without a loop.

        Raises OSError unless it is dispensable.
        """
        attempts = FAREWELL_COUNT
        self.flush()
        while self._waiting:
            if stopped():
                attempts -= 1
            if attempts < 0:
                return
            time.sleep(FLUSH_INTERVAL)
            self.flush()

    def _write_out(self) -> None:
        while True:
            if self._lost and len(self._waiting) <= self._bound // 2:  # not one line and one loss in turn
                count, self._lost = self._lost, 0
                self._waiting += f"{self.tell(count)}\n".encode("utf-8", "backslashreplace")
            if not self._waiting or not self._takes():
                return
            del self._waiting[: os.write(self._target(), bytes(self._waiting[:PIECE]))]

    def _takes(self) -> bool:
        try:
            return os.name == "nt" or wait_writable(self._descriptor, 0)
        except (OSError, ValueError):
            return True  # writing tells why

    def _target(self) -> int:
        """Return the descriptor to write to: a terminal is opened once more.

        It may have room for half of a line, and would block for the rest (n_tty_write of Linux).
        """
        if os.name == "nt" or not os.isatty(self._descriptor):
            return self._descriptor
        if self._terminal is None:
            with contextlib.suppress(OSError):  # it belongs to somebody else, or has no name here
                self._terminal = os.open(os.ttyname(self._descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        return self._descriptor if self._terminal is None else self._terminal

    def _arm(self) -> None:
        if not self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(FLUSH_INTERVAL, self._on_timer)

    def _on_timer(self) -> None:
        with self._lock:
            self._loop = None
            try:
                self.flush()
            except OSError as error:
                if self.on_failure is None:
                    raise
                self.on_failure(error)
            self._arm()


OUTPUT: Final = Outlet(STDOUT, OUTPUT_BOUND, dispensable=False)
"""Standard output, where data of the program itself goes; bytes that a pipe carries are written by its own threads."""
STATUS: Final = Outlet(STDERR, STATUS_BOUND, dispensable=True)
"""Standard error."""


def outlet_of(stream: TextIO) -> Outlet | None:
    """Return what writes to the descriptor of a stream, None for one in memory.

    Anything but standard output is dispensable.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    standard = {STDOUT: OUTPUT, STDERR: STATUS}.get(descriptor)
    return standard or Outlet(descriptor, OUTPUT_BOUND, dispensable=stream is not sys.stdout)


def encoded(stream: TextIO, text: str) -> bytes:
    """Return text as a stream has it, what it cannot encode escaped."""
    return text.encode(stream.encoding or "utf-8", "backslashreplace")


def print_status(text: str) -> None:
    """Say something on standard error, if it can be said there."""
    outlet = outlet_of(sys.stderr)
    if outlet is None:
        sys.stderr.write(f"{text}\n")
    else:
        outlet.write(encoded(sys.stderr, f"{text}\n"))


def announce(text: str) -> None:
    """Say something on standard output that the program goes on without."""
    outlet = outlet_of(sys.stdout)
    with contextlib.suppress(OSError):
        if outlet is None:
            sys.stdout.write(f"{text}\n")
        else:
            outlet.write(encoded(sys.stdout, f"{text}\n"))


class StatusHandler(logging.Handler):
    """Logs to standard error, if that takes it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            print_status(self.format(record))
        except Exception:  # noqa: BLE001 -- a faulty record is no reason to end
            self.handleError(record)
