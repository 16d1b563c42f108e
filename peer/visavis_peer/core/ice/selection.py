"""Which of an ICE session's valid pairs is used: the one of highest priority that answers (RFC 8445 section 8.1.1).

A pair that is silent while another answers is displaced. It stays valid and is asked for some time, and takes its place
again when it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from visavis_peer.core.ice.consent import REVIVAL

Pair = TypeVar("Pair")


class Selection(Generic[Pair]):
    """What is known of pairs besides their priority; `valid` is always the list of valid pairs, the best first."""

    def __init__(self) -> None:
        self._heard_at: dict[Pair, float] = {}
        """When the peer was last heard on a pair, by an authenticated message; for pairs of the check list."""
        self._displaced_at: dict[Pair, float] = {}

    @property
    def displaced(self) -> list[Pair]:
        """The pairs that have been silent while another answered."""
        return list(self._displaced_at)

    def best(self, valid: Sequence[Pair]) -> Pair | None:
        """Return the pair to use, None if there is none."""
        return next((pair for pair in valid if pair not in self._displaced_at), None)

    def others(self, valid: Sequence[Pair], selected: Pair | None) -> list[Pair]:
        """Return all but the selected pair, the one that the peer was heard on last first."""
        others = [pair for pair in valid if pair is not selected]
        return sorted(others, key=lambda pair: self._heard_at.get(pair, 0.0), reverse=True)

    def on_heard(self, pair: Pair, now: float) -> None:
        """The peer has sent an authenticated message on `pair`, which proves that it sends there."""
        self._heard_at[pair] = now

    def on_answer(self, pair: Pair, now: float) -> bool:
        """The peer has answered on `pair`; return whether that ends its displacement."""
        self._heard_at[pair] = now
        return self._displaced_at.pop(pair, None) is not None

    def prefer(self, pair: Pair, valid: Sequence[Pair], now: float) -> None:
        """Displace the pairs of higher priority than `pair`: it answers and they do not."""
        if pair in valid:
            for silent in valid[: valid.index(pair)]:
                self._displaced_at.setdefault(silent, now)

    def give_up(self, now: float) -> list[Pair]:
        """Return the pairs that have been displaced for REVIVAL, and know them no longer."""
        gone = [pair for pair, since in self._displaced_at.items() if now >= since + REVIVAL]
        for pair in gone:
            del self._displaced_at[pair]
            self._heard_at.pop(pair, None)
        return gone
