"""An event loop whose clock jumps to the next timer: seconds of a link's life in milliseconds, the same every time."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec

P = ParamSpec("P")
START: Final = 1.0
"""Seconds on the clock at the beginning, as on a machine that has just been started: few things are long ago."""


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what a loop would have waited is added to its clock."""

    elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen again: the test waits in vain")
        if not ready and timeout is not None:
            self.elapsed += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """No I/O but its own wake-ups."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the seconds on the clock."""
        return START + self._clock.elapsed

    def stand_still(self, seconds: float) -> None:
        """Let the clock go on while nothing runs, as when the process is stopped; all that was due comes then."""
        self._clock.elapsed += seconds


def virtually(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a clock of its own: what it tests has no other than the loop's."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def pass_time(seconds: float) -> None:
    """Let the clock go on; what is due meanwhile happens in order."""
    await asyncio.sleep(seconds)


def stand_still(seconds: float) -> None:
    """See VirtualLoop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.stand_still(seconds)


def now() -> float:
    """Return the seconds on the clock."""
    return asyncio.get_running_loop().time()
