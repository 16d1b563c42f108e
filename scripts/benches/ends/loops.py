"""Event loops that an end can be measured with."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from typing import Any

from visavis_shared.loops import fastest_loop


def available() -> list[str]:
    """Return the names of those that can be had here, the fastest last."""
    return ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]


def run(main: Coroutine[Any, Any, None], name: str) -> None:
    """Run `main` on the loop with this name."""
    factory = fastest_loop() if name == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
