"""When the next signaling message may go, so that the server refuses none of them."""

from __future__ import annotations

from typing import Final

SPARE: Final = 5.0
"""Seconds' worth of messages that may go at once: half of what a server admits, the rest is for those that are not
paced, and for bursts that a network makes of an even stream."""
PAUSE: Final = 1.0
"""Seconds without any message after RATE_LIMITED: a server says it once a second at most."""

INTERVAL_MAX: Final = 10.0
"""Seconds between messages at most: a server that admits fewer is not heeded, for an agent could not be in a room."""


class Pacer:
    """The rate of one connection, as a schedule (generic cell rate algorithm, ITU-T I.371)."""

    def __init__(self, rate: float, now: float) -> None:
        """`rate` in messages per second, as the welcome tells it; 0 is unlimited."""
        self._interval = min(1 / rate, INTERVAL_MAX) if rate else 0.0
        self._ahead = max(0.0, SPARE - self._interval)
        """Seconds by which a message may go before its time."""
        self._due_at = now
        """When the next message would go in an even stream."""
        self._paused_until = now

    def pause(self, now: float) -> None:
        """Note that the server has refused a message as one too many."""
        self._paused_until = now + PAUSE

    def delay(self, now: float) -> float:
        """Return the seconds until the next message may go."""
        return max(0.0, self._paused_until - now, self._due_at - self._ahead - now)

    def spend(self, now: float) -> None:
        """Note that a message goes."""
        self._due_at = max(self._due_at, now) + self._interval
