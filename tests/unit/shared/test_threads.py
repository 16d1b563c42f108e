"""shared.threads: calls beside the event loop."""

from __future__ import annotations

import threading

import pytest

from tests.support.conditions import until
from visavis_shared.threads import BlockingThread, call_apart


async def test_what_a_call_returns_or_raises_comes_back() -> None:
    thread = BlockingThread()
    assert await thread.call(lambda number: number + 1, 1) == 2
    assert await call_apart(lambda number: number + 1, 1) == 2
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await call_apart(lambda: 1 / 0)


async def test_the_thread_of_a_single_call_ends_with_it() -> None:
    before = set(threading.enumerate())
    for _ in range(20):
        await call_apart(int)
    await until(lambda: set(threading.enumerate()) <= before)
