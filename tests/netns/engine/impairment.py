"""What a bad path does to the frames of one direction: rate, loss, delay, jitter, reordering."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import asdict, dataclass
from typing import Final

FRAMES_MAX: Final = 65_536
"""Frames that one direction holds: three seconds at 20 MB/s of 1,200-byte datagrams."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to every frame of one direction; the default is a perfect path."""

    delay: float = 0.0
    """Seconds from one end to the other."""
    jitter: float = 0.0
    """Seconds: each frame takes up to so much longer (uniform); the order stays."""
    loss: float = 0.0
    """Probability that a frame is lost."""
    reordering: float = 0.0
    """Probability that a frame is held back, so that those behind it overtake it."""
    held_back: float = 0.01
    """Seconds that such a frame takes longer."""
    rate: float | None = None
    """Bytes per second; None is as fast as it goes."""
    queue_size: int = 65_536
    """Bytes that may wait for the rate; a frame that finds no room is dropped (tail drop)."""

    def __post_init__(self) -> None:
        for name in ("loss", "reordering"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, not {getattr(self, name)}")
        for name in ("delay", "jitter", "held_back", "queue_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative: {getattr(self, name)}")
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"rate must be positive, not {self.rate} bytes/s; cut the link instead")


PERFECT: Final = Impairment()


@dataclass(slots=True)
class DirectionCounts:
    """What has become of the frames of one direction; what still waits is in none."""

    delivered: int = 0
    lost: int = 0
    """By the impairment's loss."""
    overflowed: int = 0
    """For want of room: behind the rate, or with more than `FRAMES_MAX` on the way."""
    cut: int = 0
    """Because the link was down."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Direction:
    """The way from one end of a cable to the other."""

    def __init__(self, rng: random.Random) -> None:
        self.counts = DirectionCounts()
        self.impairment = PERFECT
        self._perfect = True
        self._rng = rng
        self._up = True
        self._waiting: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()
        self._rate_free_at = 0.0
        self._last_due_at = 0.0

    def __repr__(self) -> str:
        return f"Direction({self.impairment}, {'up' if self._up else 'down'}, {len(self._waiting)} waiting)"

    def impair(self, impairment: Impairment) -> None:
        """Treat the frames that come from now on so; those on the way keep their times."""
        self.impairment = impairment
        self._perfect = impairment == PERFECT
        self._rate_free_at = self._last_due_at = 0.0

    def cut(self) -> None:
        """Lose everything, what is on the way included, until `mend`."""
        self._up = False
        self.counts.cut += len(self._waiting)
        self._waiting.clear()
        self._rate_free_at = self._last_due_at = 0.0

    def mend(self) -> None:
        """Carry frames again."""
        self._up = True

    def receive_frame(self, frame: bytes, now: float) -> bool:
        """Take a frame from the near end; True when the caller is to deliver it at once, unchanged."""
        if not self._up:
            self.counts.cut += 1
            return False
        if self._perfect:
            self.counts.delivered += 1
            return True
        due_at = self._due_at(len(frame), now)
        if due_at is not None:
            heapq.heappush(self._waiting, (due_at, next(self._order), frame))
        return False

    def _due_at(self, size: int, now: float) -> float | None:
        """Return when a frame of `size` bytes arrives, or None where it does not."""
        chosen = self.impairment
        if self._rng.random() < chosen.loss:
            self.counts.lost += 1
            return None
        if len(self._waiting) >= FRAMES_MAX:
            self.counts.overflowed += 1
            return None
        sent_at = now
        if chosen.rate is not None:
            start_at = max(now, self._rate_free_at)
            backlog = (start_at - now) * chosen.rate
            if backlog and backlog + size > chosen.queue_size:
                self.counts.overflowed += 1
                return None
            self._rate_free_at = sent_at = start_at + size / chosen.rate
        due_at = sent_at + chosen.delay + chosen.jitter * self._rng.random()
        if self._rng.random() < chosen.reordering:
            return due_at + chosen.held_back
        self._last_due_at = due_at = max(due_at, self._last_due_at)
        return due_at

    def next_timer(self) -> float | None:
        """Return when the next frame arrives, or None."""
        return self._waiting[0][0] if self._waiting else None

    def handle_timer(self, now: float) -> list[bytes]:
        """Return the frames that have arrived by `now`, in order."""
        arrived = []
        while self._waiting and self._waiting[0][0] <= now:
            arrived.append(heapq.heappop(self._waiting)[2])
        self.counts.delivered += len(arrived)
        return arrived
