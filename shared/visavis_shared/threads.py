"""Blocking reads and writes of standard streams, which may be files, pipes or terminals on any platform."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class BlockingThread:
    """A thread of its own for calls that may block for ever; one call at a time.

    It does not keep the program from ending, as the event loop's own executor would.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(set_it: Callable[[Any], None], value: object) -> None:
            if not future.done():
                set_it(value)

        def run() -> None:
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001 -- it is raised where the call was made
                answer: tuple[Callable[[Any], None], object] = (future.set_exception, error)
            else:
                answer = (future.set_result, result)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile, and whoever waited with it
                loop.call_soon_threadsafe(settle, *answer)

        self._calls.put(run)
        return await future

    def _run(self) -> None:
        while True:
            self._calls.get()()
