"""Calls beside the event loop, some of which may block for ever: standard streams, and the system's resolver."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

LOOKUP_COUNT: Final = 32
"""Names looked up at a time: where no resolver answers, each holds a thread until the system gives up."""
_lookups: Final = threading.BoundedSemaphore(LOOKUP_COUNT)


class BlockingThread:
    """A thread of its own for calls that may block for ever, one after the other, as long as the program runs.

    It does not keep the program from ending, as the event loop's own executor would.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def begin(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Return the future of what `function` returns or raises; it is called even if nobody waits for that."""
        run, future = _prepare(function, *arguments)
        self._calls.put(run)
        return future

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns, or raise what it raises."""
        return await self.begin(function, *arguments)

    def _run(self) -> None:
        while True:
            self._calls.get()()


async def call_apart(function: Callable[..., T], *arguments: Any) -> T:
    """Return what `function`, which ends by itself, returns, or raise what it raises; its thread ends with it.

    A program waits for it at its end, whoever no longer does: a thread that Python cuts off while it runs compiled code
    of C++ or Rust, as imports do, aborts the process.
    """
    run, future = _prepare(function, *arguments)
    threading.Thread(target=run).start()
    return await future


async def look_up(
    host: str, port: int, *, kind: socket.SocketKind, family: int = socket.AF_UNSPEC, flags: int = 0
) -> list[tuple[Any, ...]]:
    """Return what `socket.getaddrinfo` returns; who no longer waits for it leaves it behind.

    The event loop's own way keeps the program from ending until the resolver has answered or given up, 10 s and more.
    Raises OSError, also when LOOKUP_COUNT names are without an answer.
    """
    if not _lookups.acquire(blocking=False):
        raise OSError("no answer yet for the names before it: does the resolver answer?")

    def ask() -> list[tuple[Any, ...]]:
        try:
            return list(socket.getaddrinfo(host, port, family, kind, 0, flags))
        finally:
            _lookups.release()

    run, future = _prepare(ask)
    threading.Thread(target=run, daemon=True).start()
    return await future


def _prepare(function: Callable[..., T], *arguments: Any) -> tuple[Callable[[], None], asyncio.Future[T]]:
    """Return what is to be run in a thread, and the future that it settles."""
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

    return run, future
