"""An event loop whose clock jumps to the next timer: seconds of a link's life in milliseconds, the same every time."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, Final, ParamSpec
from unittest.mock import patch

from visavis_peer.link import association, datagrams, pump

P = ParamSpec("P")
CLOCKED: Final = (association, datagrams, pump)
"""Modules that read a link's clock."""
START = 1000.0
"""Seconds on the clock at the beginning: not 0, which code may take for "never"."""


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


def virtually(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a clock of its own, which is the links' clock as well."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            clock = SimpleNamespace(monotonic=runner.get_loop().time)
            with ExitStack() as stack:
                for module in CLOCKED:
                    stack.enter_context(patch.object(module, "time", clock))
                runner.run(test(*args, **kwargs))
                assert all(vars(module)["time"] is clock for module in CLOCKED), (
                    "what replaces the clock puts it back before the test ends, or after all others"
                )

    return run


async def pass_time(seconds: float) -> None:
    """Let the clock go on; what is due meanwhile happens in order."""
    await asyncio.sleep(seconds)


def now() -> float:
    """Return the seconds on the clock."""
    return asyncio.get_running_loop().time()
