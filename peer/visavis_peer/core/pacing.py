"""When the next signaling message may go, so that the server refuses none of them."""

from __future__ import annotations

from typing import Final

SPARE: Final = 5.0
"""Seconds' worth of messages that may go at once: half of what a server admits, the rest is for those that are not
paced, and for bursts that a network makes of an even stream."""
PAUSE: Final = 1.0
"""Seconds without any message after RATE_LIMITED: a server says it once a second at most."""


class Pacer:
    """A token bucket for one connection."""

    def __init__(self, rate: float, now: float) -> None:
        """`rate` in messages per second, as the welcome tells it; 0 is unlimited."""
        self._rate = rate
        self._credit = rate * SPARE
        self._counted_at = now
        self._paused_until = now

    def pause(self, now: float) -> None:
        """Note that the server has refused a message as one too many."""
        self._paused_until = now + PAUSE

    def delay(self, now: float) -> float:
        """Return the seconds until the next message may go."""
        waiting = max(0.0, self._paused_until - now)
        if not self._rate:
            return waiting
        self._credit = min(self._rate * SPARE, self._credit + (now - self._counted_at) * self._rate)
        self._counted_at = now
        return max(waiting, (1 - self._credit) / self._rate)

    def spend(self) -> None:
        """Note that a message goes."""
        self._credit -= 1
