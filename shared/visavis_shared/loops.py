"""What the programs run on: the event loop, whose clock is their only one, and the collector of cyclic garbage."""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
from collections.abc import Callable
from typing import Final

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Generations of the cyclic garbage collector: a connection to the server leaves some 100 tracked objects, and with the
defaults the collector takes about a third of the CPU time of connecting, and a twentieth of a bulk transfer's
(measured)."""


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed, None for asyncio's own."""
    try:
        loop = importlib.import_module("uvloop").Loop
    except ImportError:
        return None
    # the same clock as uvloop's own, of which it tells the milliseconds only: a round trip may be shorter
    factory: Callable[[], asyncio.AbstractEventLoop] = type(
        loop.__name__, (loop,), {"time": staticmethod(time.monotonic)}
    )
    return factory


def relax_collector() -> None:
    """Have the collector run seldom, and never look at what is there already: for a program once it has started."""
    gc.collect()  # what importing has left, 2 MiB
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
