"""The secret shared with TURN servers, from a file that is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from visavis_shared.tasks import own

logger = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between looks at the file."""


class TurnSecret:
    """The first line of a file."""

    def __init__(self, path: Path) -> None:
        self.value = b""
        self._path = path
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Read the file.

        Raises OSError, or ValueError when there is no secret in it.
        """
        self.value = await asyncio.get_running_loop().run_in_executor(None, self._first_line)

    def watch(self, on_change: Callable[[bytes], None]) -> None:
        """Tell of a new secret within INTERVAL; one that cannot be read leaves the old one in place."""
        self._task = own(self._watch(on_change))

    async def close(self) -> None:
        """Stop watching. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _watch(self, on_change: Callable[[bytes], None]) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            former = self.value
            try:
                await self.read()
            except (OSError, ValueError) as error:
                logger.warning("the TURN secret cannot be read again, the old one stays: %s", error)
                continue
            if self.value != former:
                logger.info("the TURN secret has changed")
                on_change(self.value)

    def _first_line(self) -> bytes:
        lines = self._path.read_bytes().splitlines()
        if not lines or not lines[0].strip():
            raise ValueError(f"{self._path} is empty")
        return lines[0].strip()
