"""Waiting, in a test without an event loop, for a condition and never for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 10.0
"""Seconds after which a condition that should hold within milliseconds is a failure."""


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true.

    Raises AssertionError when it is still false after `PATIENCE`.
    """
    give_up_at = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up_at, "the condition did not come true"
        time.sleep(0.001)
