"""STUN transactions over UDP (RFC 8489 section 6.2.1): when a request is sent again, and when it is given up.

Beside the RFC: the first retransmission comes after 100 ms where RFC 8445 section 14.3 has 500, for a lost check is
what the user waits for; congestion is bounded otherwise, for what goes to an address without an answer is counted
(core/nat/destinations.py). The round trip is measured from the last transmission, so that it is never too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

CHECK_SCHEDULE: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 1.9)
"""Seconds between the transmissions of a check, the last until it has failed; the sum is one round of 5 s."""
CONSENT_SCHEDULE: Final = (30.0,)
"""One transmission that stays answerable for RFC 7675's bound on consent (section 5.1: it is not sent again)."""
TRIGGER_INTERVAL: Final = 0.02
"""Seconds between the transmissions that incoming checks trigger, so that a flood of them is not answered in kind."""


class Transaction:
    """One request: call `handle_timer` at once and whenever `due_at` has come."""

    def __init__(self, transaction_id: bytes, data: bytes, schedule: Sequence[float], now: float) -> None:
        """`schedule` has the seconds after each transmission."""
        self.transaction_id = transaction_id
        self.data = data
        self.due_at = now
        """When something is to be done."""
        self._sent_at: float | None = None
        self._schedule = schedule
        self._count = 0

    def handle_timer(self, now: float) -> Literal["wait", "send", "timeout"]:
        """Say what is due: to send the request, or to give it up."""
        if now < self.due_at:
            return "wait"
        if self._count >= len(self._schedule):
            return "timeout"
        self.due_at = now + self._schedule[self._count]
        self._count += 1
        return "send"

    def may_repeat(self, now: float) -> bool:
        """Whether an incoming check may have it sent again besides the schedule, which goes on as it was."""
        return self._sent_at is None or now - self._sent_at >= TRIGGER_INTERVAL

    def on_sent(self, now: float) -> None:
        """Note that it has gone out: `round_trip` counts from the last time."""
        self._sent_at = now

    def round_trip(self, now: float) -> float:
        """Return the seconds since the last transmission."""
        return 0.0 if self._sent_at is None else now - self._sent_at
