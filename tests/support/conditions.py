"""Waiting for a condition and never for a duration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds after which a condition that should hold within milliseconds is a failure."""


async def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Let the loop run until `condition()` is true.

    Raises AssertionError when it is still false after `timeout` seconds.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout
    while not condition():
        assert loop.time() < give_up_at, "the condition did not come true"
        await asyncio.sleep(0.001)
