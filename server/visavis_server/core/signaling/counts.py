"""What a server has done so far, as plain numbers: cheap to keep for every message, read when somebody asks.

Every key comes from a closed set: nothing that a client sends becomes one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from visavis_shared.errors import ErrorCode
from visavis_shared.messages import MessageType
from visavis_shared.nat import NatKind
from visavis_shared.outcomes import LinkOutcome, OutcomePath, OutcomeReason

CLIENT_TYPES: Final = (
    MessageType.JOIN,
    MessageType.LEAVE,
    MessageType.DISCOVER,
    MessageType.OFFER,
    MessageType.ANSWER,
    MessageType.CANDIDATE,
    MessageType.KEEP_ALIVE,
    MessageType.RESUME,
    MessageType.ROOM,
    MessageType.KICK,
)
"""The types that clients send."""
DIRECTED_TYPES: Final = ("OFFER", "ANSWER", "CANDIDATE")
"""The types that are forwarded to one peer."""
DELAY_BOUNDS: Final = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0)
"""Seconds: from an idle loop, which takes some 50 us a message, to one that clients notice."""


class ResumeResult(StrEnum):
    """How a RESUME ended."""

    COMPLETE = "complete"
    """Everything missed was sent again."""
    GAP = "gap"
    """Events may be missing: the client was given the list of members."""
    REFUSED = "refused"


class Histogram:
    """How often a quantity was within each of some bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = DELAY_BOUNDS) -> None:
        """`bounds` are upper ones, ascending."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By the first bound that is not below the value; the last one is for values beyond all."""
        self.total = 0.0
        """Sum of the values."""

    def observe(self, value: float, count: int = 1) -> None:
        """Note `count` equal values."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def cumulative(self) -> list[tuple[float, int]]:
        """Return how many values were within each bound; the last bound is infinite."""
        found: list[tuple[float, int]] = []
        count = 0
        for bound, new in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += new
            found.append((bound, count))
        return found


class Counts:
    """The counts of one hub."""

    def __init__(self) -> None:
        self.connections = 0
        """Signaling connections welcomed."""
        self.received = _zeros(CLIENT_TYPES)
        """Messages of clients by type, those beyond a rate not included."""
        self.refused = _zeros(CLIENT_TYPES)
        """Of these the ones that were answered with an ERROR, or closed the connection."""
        self.invalid = 0
        """Messages without a type that a client may send."""
        self.kept = 0
        """Directed messages for peers that were away."""
        self.undelivered = 0
        """Directed messages kept for a peer that did not come back."""
        self.errors: Counter[ErrorCode] = Counter()
        """ERROR messages sent by code."""
        self.resumes: Counter[ResumeResult] = Counter()
        self.outcomes: Counter[tuple[OutcomePath, OutcomeReason, NatKind, NatKind]] = Counter()
        """Links by path, reason, local and remote NAT, as agents report them: what they say cannot be checked."""

    @property
    def forwarded(self) -> dict[str, int]:
        """Directed messages by type, those kept for a peer that is away included."""
        return {kind: self.received[kind] - self.refused[kind] for kind in DIRECTED_TYPES}

    @property
    def delivered(self) -> int:
        """Directed messages that went to a connection. What is not counted for each of them makes them faster."""
        received, refused = self.received, self.refused
        count = received["OFFER"] + received["ANSWER"] + received["CANDIDATE"] - self.kept
        return count - refused["OFFER"] - refused["ANSWER"] - refused["CANDIDATE"]

    def add_outcomes(self, outcomes: Iterable[LinkOutcome]) -> None:
        """Count what an agent reports."""
        self.outcomes.update((each.path, each.reason, each.nat, each.remote_nat) for each in outcomes)


def _zeros(kinds: Iterable[MessageType]) -> dict[str, int]:
    # by plain text: a dictionary whose keys are all that is looked up fastest
    return {kind.value: 0 for kind in kinds}
