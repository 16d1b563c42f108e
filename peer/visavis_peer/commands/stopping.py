"""How a command ends by a signal: once, in order, within seconds, and so that whoever has started it can see it.

The first signal cancels the command, so that links close and peers are told. Any that follow change nothing, at
whatever distance they come. When everything is closed the program dies by the signal, as one does that handles none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from visavis_shared.descriptors import STDOUT

GRACE: Final = 1.5
"""Seconds from the first signal to the end, whatever still waits: people press Ctrl-C again after two."""
SIGPIPE: Final[int] = getattr(signal, "SIGPIPE", 13)
SIGHUP: Final[int] = getattr(signal, "SIGHUP", 1)
IN_ORDER: Final = frozenset({int(signal.SIGTERM), SIGHUP})
"""Signals by which what runs until it is stopped is stopped in order (exit code 0)."""


class Stopping:
    """Takes the signals that end a program, from the moment it is entered to the end; in the main thread only."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that has come."""
        self._before: dict[int, Any] = {}
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # `nohup` has SIGHUP ignored, and means it
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def attach(self) -> None:
        """Have the first signal cancel the current task from now on."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancel = task.cancel
        self._cancel = lambda: loop.call_soon_threadsafe(cancel)
        if self.number is not None:
            task.cancel()

    def watch_reader(self) -> None:
        """Take the end of standard output's reader for SIGPIPE: who writes seldom would not notice it for long."""
        if hasattr(select, "poll"):
            threading.Thread(target=self._await_hangup, daemon=True).start()

    def stop(self, number: int) -> None:
        """Cancel the command because of a signal; those after the first change nothing."""
        if self.number is None:
            self.number = number
            if self._cancel is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                    self._cancel()

    def die(self, number: int) -> int:
        """End the program by a signal; return the exit code that says the same where that is not possible."""
        if os.name != "nt" and threading.current_thread() is threading.main_thread():
            handler = self._before.get(number)
            ours = handler in (None, signal.SIG_IGN, signal.default_int_handler, self._on_signal)
            signal.signal(number, signal.SIG_DFL if ours else handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
            os.kill(os.getpid(), number)
        return 128 + number  # process 1 of a container does not die of signals

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._cancel is None:
            self.die(number)  # nothing has begun
            raise SystemExit(128 + number)
        if self.number is None and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        self.stop(number)

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        """Something does not end: a resolver, a write to a terminal that is stopped."""
        assert self.number is not None
        os._exit(self.die(self.number))

    def _await_hangup(self) -> None:
        poll = select.poll()
        poll.register(STDOUT, 0)
        while not any(happened & (select.POLLERR | select.POLLHUP) for _, happened in poll.poll()):
            if any(happened & select.POLLNVAL for _, happened in poll.poll(0)):
                return
        self.stop(SIGPIPE)
