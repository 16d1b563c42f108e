"""Consent to send (RFC 7675): when to ask the peer whether it still listens, and when to stop sending.

Every request stays answerable until consent expires, so a long round trip costs nothing; aioice's own consent check
gives each request 0.5 s and closes a healthy path of 600 ms.

A path that misses an answer is asked again each second, as a connectivity check is; only while all is well the interval
is the 5 s of the RFC. A silent path is not yet a lost one: other valid pairs are asked as well, and the first that
answers takes over. That is how a NAT that has forgotten its mapping heals without signaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

INTERVAL: Final = 5.0
"""Seconds between checks (RFC 7675 section 5.1); keeps mappings alive too: the shortest seen in the field is 10 s."""
EXPIRY: Final = 15.0
"""Seconds without a response after which the path is suspended: three intervals; the RFC's bound is 30."""
SILENCE: Final = 1.0
"""Seconds that a check may go unanswered before other pairs are asked too, and between those that follow."""
SILENT_ROUND_TRIPS: Final = 3
"""Round trips that this lasts at least, so that a long one is not taken for silence."""
SUSPECT_INTERVAL: Final = 0.5
"""Seconds between checks once there is a reason for doubt."""
SUSPECT_EXPIRY: Final = 3.0
"""Seconds that a peer in doubt has to answer: six checks, and a round trip of 2.5 s still passes."""
REVIVAL_INTERVAL: Final = 1.0
"""Seconds between checks once consent has expired: how soon a path that works again is used."""
REVIVAL: Final = 60.0
"""Seconds after which nobody asks any longer; a NAT has forgotten the mapping by then."""
CHECK_SPACING: Final = 0.2
"""Seconds between checks at least, however often somebody asks for one."""


@dataclass
class Consent:
    """Timers of one validated path. Times are seconds of one monotonic clock."""

    granted_at: float
    """When the last response (or the first validation) came in."""
    checked_at: float
    """When it was last asked for."""
    next_check_at: float
    round_trip: float = 0.0
    """Seconds that the last answer took, 0 while unknown."""
    asked_at: float | None = None
    """When the first check was due that has no answer yet."""
    suspected_at: float | None = None
    expired_at: float | None = None
    """Since when there is no consent; nothing but checks may be sent."""
    _regular_at: float = 0.0
    """When the next check is due if the last one is answered."""

    @classmethod
    def start(cls, now: float, round_trip: float | None = None) -> Consent:
        """Begin with consent given at `now` by the connectivity check itself, which took `round_trip` seconds."""
        return cls(granted_at=now, checked_at=now, next_check_at=now + INTERVAL, round_trip=round_trip or 0.0)

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

    def is_silent(self, now: float) -> bool:
        """Whether an answer is overdue, so that another pair which does answer may take over."""
        if self.expired_at is not None:
            return True
        return self.asked_at is not None and now >= self.asked_at + self._patience

    def handle_timer(self, now: float, jitter: float) -> Literal["wait", "check", "search", "expired", "lost"]:
        """Say what is due; `search` is a check of the other pairs as well.

        `jitter` in 0..1 spreads the regular interval over 0.8 to 1.2 (RFC 7675 section 5.1).
        """
        if now >= self.expires_at:
            if self.expired_at is not None:
                return "lost"
            self.expired_at = self.next_check_at = now
            return "expired"
        if now < self.next_check_at:
            return "wait"
        silent = self.is_silent(now)
        if self.asked_at is None:
            self.asked_at = now
        self.checked_at = now
        self._regular_at = now + INTERVAL * (0.8 + 0.4 * jitter)
        self.next_check_at = now + self._repetition
        return "search" if silent else "check"

    def on_response(self, now: float, round_trip: float | None = None) -> bool:
        """An authenticated response has come in: consent is fresh and doubt is gone; return whether it had expired."""
        revived = self.expired_at is not None
        self.granted_at = now
        self.asked_at = self.suspected_at = self.expired_at = None
        self.next_check_at = max(now, self._regular_at)
        if round_trip is not None:
            self.round_trip = round_trip
        return revived

    def on_peer_check(self, now: float, *, elsewhere: bool) -> None:
        """An authenticated check of the peer has come in, `elsewhere` if on another pair than the selected one.

        It proves that the peer lives, not that it hears us, so it renews nothing. Where there is doubt, or where the
        peer may have moved, it is a reason to ask at once.
        """
        if elsewhere or self.asked_at is not None or self.expired_at is not None:
            self._ask_soon(now)

    def suspect(self, now: float) -> None:
        """Somebody says that the peer is gone: ask at once and give it SUSPECT_EXPIRY to answer. Idempotent."""
        if self.suspected_at is None and self.expired_at is None:
            self.suspected_at = now
            self._ask_soon(now)

    def _ask_soon(self, now: float) -> None:
        self.next_check_at = min(self.next_check_at, max(now, self.checked_at + CHECK_SPACING))

    @property
    def _patience(self) -> float:
        return max(SILENCE, SILENT_ROUND_TRIPS * self.round_trip)

    @property
    def _repetition(self) -> float:
        """Seconds after which an unanswered check is repeated."""
        if self.expired_at is not None:
            return REVIVAL_INTERVAL
        return SUSPECT_INTERVAL if self.suspected_at is not None else self._patience
