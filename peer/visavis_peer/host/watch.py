"""Something that is looked at again and again, beside everything else."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from visavis_shared.tasks import own


class Watch(ABC):
    """Looks from `start` to `close`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = own(self._run())

    async def close(self) -> None:
        """Stop looking. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @abstractmethod
    async def _run(self) -> None:
        """Look until cancelled."""
