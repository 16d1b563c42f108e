"""How many sessions an agent begins because others want it to.

Each takes sockets and asks STUN servers, which have a limit by address: whoever offers again and again, or comes and
goes, could spend what a friend's link would need. So all peers share one budget. Who has been in the room for a while
and has had few sessions lately is served down to the last of it; a newcomer, and who has had many, leaves something
over.
"""

from __future__ import annotations

from typing import Final

BURST: Final = 64.0
"""Sessions at once: with every peer that an agent has (core/meeting/mesh.py), one each."""
RATE: Final = 4.0
"""Sessions a second: sixteen requests where there are two STUN servers of two addresses each, of the 20 a second that
one gives to an address; and twice the newcomers that a server lets in from an address (docs/limits.md)."""
RESERVE: Final = 4.0
"""Sessions that must be left over for others, for each that a peer has had lately."""
RESERVE_MAX: Final = 48.0
"""The same at most: a peer in need of many rounds gets them, on a quiet day."""
NEWCOMER_RESERVE: Final = 16.0
"""Sessions that newcomers must leave over: whoever comes and goes under ever new ids is nothing else."""
LATELY: Final = 120.0
"""Seconds without a session after which a peer's former ones no longer count: two of the longest waits of a round."""
TABLE_SIZE: Final = 256
"""Peers that are remembered, also when they have left: four times those of an agent. The oldest make way."""


class SessionBudget:
    """Sessions begun, by peer; `now` is in seconds, monotonic."""

    def __init__(self) -> None:
        self._left = BURST
        self._filled_at = 0.0
        self._begun: dict[str, tuple[int, float]] = {}
        """By peer id, oldest first: how many, and when the last one."""

    def __repr__(self) -> str:
        return f"<SessionBudget {self._left:.1f} left, {len(self._begun)} peers>"

    def take(self, peer_id: str, now: float, *, newcomer: bool = False) -> bool:
        """Whether a session with a peer may begin; if so it is counted."""
        count, begun_at = self._begun.get(peer_id, (0, now))
        if now - begun_at >= LATELY:
            count = 0
        self._left = min(BURST, self._left + RATE * (now - self._filled_at))
        self._filled_at = now
        if self._left < 1.0 + max(NEWCOMER_RESERVE if newcomer else 0.0, min(RESERVE_MAX, RESERVE * count)):
            return False
        self._left -= 1.0
        self._begun.pop(peer_id, None)
        self._begun[peer_id] = (count + 1, now)
        if len(self._begun) > TABLE_SIZE:
            del self._begun[next(iter(self._begun))]
        return True
