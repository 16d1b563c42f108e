"""The secret shared with TURN servers, from a file that is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between looks at the file."""


class TurnSecret:
    """The first line of a file."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises OSError, or ValueError when there is no secret in it.
        """
        self._path = path
        self._task: asyncio.Task[None] | None = None
        self.value = self._read()

    def watch(self, on_change: Callable[[bytes], None]) -> None:
        """Tell of a new secret within INTERVAL; one that cannot be read leaves the old one in place."""
        self._task = asyncio.create_task(self._watch(on_change))

    async def close(self) -> None:
        """Stop watching. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _watch(self, on_change: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                value = await loop.run_in_executor(None, self._read)
            except (OSError, ValueError) as error:
                logger.warning("the TURN secret cannot be read again, the old one stays: %s", error)
                continue
            if value != self.value:
                self.value = value
                logger.info("the TURN secret has changed")
                on_change(value)

    def _read(self) -> bytes:
        lines = self._path.read_bytes().splitlines()
        if not lines or not lines[0].strip():
            raise ValueError(f"{self._path} is empty")
        return lines[0].strip()
