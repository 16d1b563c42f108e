"""Delays between attempts."""

from __future__ import annotations

from typing import Final

SIGNALING_FIRST: Final = 0.5
"""Seconds before the first reconnection: a restarted server is back within one or two of these."""
SIGNALING_MAX: Final = 15.0
"""Seconds at most between reconnections: 1,000 agents then cost a dead server's front end 70 attempts a second."""

RETRY_AFTER_MAX: Final = 300.0
"""Seconds that a server can make an agent wait, whatever it says: nobody looks for the reason for longer than that."""
TOO_MANY_WAIT: Final = 10.0
"""Seconds to stay away after close code 4029: a server's limits fill again in ten (docs/protocol.md)."""
UNTIMELY_FIRST: Final = 5.0
"""Seconds before a token that is refused for its times is shown again for the first time."""
UNTIMELY_MAX: Final = 60.0
"""Seconds at most between these: a clock is set right by people or by NTP, and each refusal counts as a wrong token of
this address, of which a server takes ten a minute (docs/protocol.md)."""

PUNCH_RETRY: Final = (5.0, 15.0, 60.0)
"""Seconds before each further round of checks: 97.6 % of DCUtR's successes are first attempts (arXiv 2510.27500)."""


def signaling_delay(attempt: int, jitter: float) -> float:
    """Return the seconds to wait before reconnection number `attempt` (from 0).

    Doubles up to SIGNALING_MAX; `jitter` in 0..1 spreads it over the upper half, so that a restarted server does not
    meet all its clients at once.
    """
    return _doubled(SIGNALING_FIRST, SIGNALING_MAX, attempt, jitter)


def untimely_delay(attempt: int, jitter: float) -> float:
    """Return the seconds to wait before a token that has expired or is not valid yet is shown again; as above."""
    return _doubled(UNTIMELY_FIRST, UNTIMELY_MAX, attempt, jitter)


def _doubled(first: float, most: float, attempt: int, jitter: float) -> float:
    full = min(most, first * 2.0 ** min(attempt, 10))
    return full * (0.5 + 0.5 * jitter)


def told_delay(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3); None for anything else."""
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return min(float(header[:6]), RETRY_AFTER_MAX)


def punch_delay(failures: int) -> float:
    """Return the seconds to wait after the `failures`-th failed round (from 1); the last delay repeats."""
    return PUNCH_RETRY[min(failures, len(PUNCH_RETRY)) - 1]
