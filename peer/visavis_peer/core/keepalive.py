"""Consent to send (RFC 7675): when to ask the peer whether it still listens, and when to stop sending.

Every request stays answerable until consent expires, so a long round trip costs nothing; aioice's own consent check
gives each request 0.5 s and closes a healthy path of 600 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

INTERVAL: Final = 5.0
"""Seconds between checks (RFC 7675 section 5.1); keeps mappings alive too: the shortest seen in the field is 10 s."""
EXPIRY: Final = 15.0
"""Seconds without a response after which the path is given up: three checks; the RFC's bound is 30."""
SUSPECT_INTERVAL: Final = 0.5
"""Seconds between checks once there is a reason for doubt."""
REVIVAL_INTERVAL: Final = 1.0
"""Seconds between checks once consent has expired: how soon a path that works again is used."""
REVIVAL: Final = 60.0
"""Seconds after which nobody asks any longer; a NAT has forgotten the mapping by then."""
SUSPECT_EXPIRY: Final = 3.0
"""Seconds that a peer in doubt has to answer: six checks, and a round trip of 2.5 s still passes."""


@dataclass
class Consent:
    """Timers of one validated path. Times are seconds of one monotonic clock."""

    granted_at: float
    """When the last response (or the first validation) came in."""
    next_check_at: float
    suspected_at: float | None = None
    expired_at: float | None = None
    """Since when there is no consent; nothing but checks may be sent."""

    @classmethod
    def start(cls, now: float) -> Consent:
        """Begin with consent given at `now` by the connectivity check itself."""
        return cls(granted_at=now, next_check_at=now + INTERVAL)

    @property
    def expires_at(self) -> float:
        """When consent ends, or once it has, when the path is given up, if nothing comes in."""
        if self.expired_at is not None:
            return self.expired_at + REVIVAL
        if self.suspected_at is not None:
            return self.suspected_at + SUSPECT_EXPIRY
        return self.granted_at + EXPIRY

    def next_timer(self) -> float:
        """Return when `handle_timer` wants to be called."""
        return min(self.next_check_at, self.expires_at)

    def handle_timer(self, now: float, jitter: float) -> Literal["wait", "check", "expired", "lost"]:
        """Say what is due; `jitter` in 0..1 spreads the interval over 0.8 to 1.2 (RFC 7675 section 5.1)."""
        if now >= self.expires_at:
            if self.expired_at is not None:
                return "lost"
            self.expired_at = self.next_check_at = now
            return "expired"
        if now < self.next_check_at:
            return "wait"
        if self.expired_at is not None:
            interval = REVIVAL_INTERVAL
        else:
            interval = INTERVAL if self.suspected_at is None else SUSPECT_INTERVAL
        self.next_check_at = now + interval * (0.8 + 0.4 * jitter)
        return "check"

    def on_response(self, now: float) -> bool:
        """An authenticated response has come in: consent is fresh and doubt is gone; return whether it had expired."""
        revived = self.expired_at is not None
        self.granted_at = now
        self.suspected_at = self.expired_at = None
        self.next_check_at = min(self.next_check_at, now + INTERVAL)
        return revived

    def suspect(self, now: float) -> None:
        """Somebody says that the peer is gone: ask at once and give it SUSPECT_EXPIRY to answer. Idempotent."""
        if self.suspected_at is None and self.expired_at is None:
            self.suspected_at = now
            self.next_check_at = now
