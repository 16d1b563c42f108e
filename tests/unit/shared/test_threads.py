"""Calls beside the event loop; lookups of names: what the resolver does not answer holds nobody, and few wait."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from tests.support.conditions import until
from visavis_shared.threads import LOOKUP_COUNT, BlockingThread, call_apart, look_up


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


async def test_a_name_is_looked_up() -> None:
    found = await look_up("127.0.0.1", 80, kind=socket.SOCK_STREAM)
    assert [address for *_, address in found] == [("127.0.0.1", 80)]


async def test_no_more_than_so_many_lookups_wait_and_others_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def silent(*_: Any) -> list[Any]:
        answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    waiting = [asyncio.create_task(look_up("nobody.example", 80, kind=socket.SOCK_STREAM)) for _ in range(LOOKUP_COUNT)]
    try:
        await asyncio.sleep(0)  # each begins
        waiting[0].cancel()  # which ends the wait, and not the lookup
        with pytest.raises(OSError, match="does the resolver answer"):
            await look_up("nobody.example", 80, kind=socket.SOCK_STREAM)
    finally:
        answer.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [[]] * (LOOKUP_COUNT - 1)
