"""When the agent ends a signaling connection itself, or need not wait any longer before the next."""

from __future__ import annotations

import asyncio
from typing import Final

LEAVE_SLACK: Final = 2.0
"""Seconds after the announced end of a connection at which this side ends it."""
ANNOUNCED_MAX: Final = 86_400_000
"""Milliseconds of an announcement that are believed: a day is longer than any drain."""


class ConnectionEnd:
    """An event with a reason, set at once or at a time that the server has announced."""

    def __init__(self) -> None:
        self.reason = ""
        """Why it is set, in words."""
        self._event = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, reason: str) -> None:
        """End the connection, or the wait for the next, now."""
        self.reason = reason
        self._event.set()

    def announce(self, milliseconds: int) -> None:
        """Note that the server closes the connection in so many milliseconds; it says so once."""
        if self._timer is None:
            delay = min(milliseconds, ANNOUNCED_MAX) / 1000 + LEAVE_SLACK
            self._timer = asyncio.get_running_loop().call_later(
                delay, self.set, "the signaling server is about to stop"
            )

    def clear(self) -> None:
        """Begin anew."""
        self._event.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait(self) -> None:
        """Wait until it is set."""
        await self._event.wait()
