"""A bound on memory, checked."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

MIB: Final = 1 << 20


@asynccontextmanager
async def memory_bound(bound: int) -> AsyncIterator[None]:
    """Fail when Python objects have grown by more than `bound` bytes at any time."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < bound, f"{(peak - before) / MIB:.1f} MiB"
