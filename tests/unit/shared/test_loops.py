"""shared.loops: which event loop the programs take, and its clock."""

from __future__ import annotations

import asyncio
import sys

import pytest

from visavis_shared.loops import fastest_loop


def test_uvloop_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        Loop = asyncio.SelectorEventLoop

    monkeypatch.setitem(sys.modules, "uvloop", Installed)
    factory = fastest_loop()
    assert factory is not None
    loop = factory()
    loop.close()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert fastest_loop() is None


def test_its_clock_tells_less_than_a_millisecond() -> None:
    """uvloop's own does not, and round trips are measured by it."""

    async def fractions() -> set[float]:
        loop = asyncio.get_running_loop()
        return {loop.time() * 1000 % 1 for _ in range(50)}

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        assert len(runner.run(fractions())) > 10


def test_its_timers_go_by_its_clock() -> None:
    async def late() -> float:
        loop = asyncio.get_running_loop()
        fired: asyncio.Future[float] = loop.create_future()
        due = loop.time() + 0.02
        loop.call_at(due, lambda: fired.set_result(loop.time()))
        return await fired - due

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        assert runner.run(late()) > -0.002
