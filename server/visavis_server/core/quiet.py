"""Which of many equal log lines are written: a flood of refusals must not become a flood of lines."""

from __future__ import annotations

from typing import Final

LINE_INTERVAL: Final = 1.0
"""Seconds at least between two lines of one cause."""


class Quiet:
    """When each cause was last written about; causes come from closed sets. `now` is in seconds, monotonic."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[float, int]] = {}
        """Time of the last line, and what has gone unsaid since."""

    def speak(self, cause: str, now: float) -> int | None:
        """Return how many were not written about since the last line, None when this one is not to be written."""
        said_at, unsaid = self._lines.get(cause, (now - LINE_INTERVAL, 0))
        if now - said_at < LINE_INTERVAL:
            self._lines[cause] = said_at, unsaid + 1
            return None
        self._lines[cause] = now, 0
        return unsaid
