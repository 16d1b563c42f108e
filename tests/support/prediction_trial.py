"""A NAT that allocates ports in sequence, others behind it, and whether a prediction holds.

Foreign allocations are a Poisson process. The sampling side measures their rate from a survey's samples, then makes
its openers some time later.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from visavis_peer.core.nat.allocation import SAMPLE_COUNT, PortSample, foreign_rate
from visavis_peer.core.nat.prediction import SAMPLING_TIME, PortSequence, between, window
from visavis_peer.core.nat.probing import OPENER_INTERVAL
from visavis_peer.core.nat.strategy import PREDICTED_OPENERS as OPENERS

SAMPLE_INTERVAL = SAMPLING_TIME / (SAMPLE_COUNT - 1)


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting."""

    rate: float
    """Foreign allocations a second."""
    delay: float
    """Seconds from the last sample to the openers."""
    bracketed: bool = False
    """The openers lie between two more samples."""
    rate_known: bool = True


def poisson(mean: float, rng: random.Random) -> int:
    """Draw the count of events with so many expected."""
    count, time = 0, rng.expovariate(1.0)
    while time < mean:
        count += 1
        time += rng.expovariate(1.0)
    return count


def play(trial: Trial, rng: random.Random) -> tuple[bool, int]:
    """Return whether the window held an opener's port, and its size."""
    port, samples = 20000, []
    for index in range(SAMPLE_COUNT):
        port += 1 + poisson(trial.rate * SAMPLE_INTERVAL, rng)
        samples.append(PortSample(0, port, index * SAMPLE_INTERVAL))
    rate = foreign_rate(samples, 1) if trial.rate_known else None
    port += poisson(trial.rate * trial.delay, rng)
    before = port = port + 1
    openers = []
    for _ in range(OPENERS):
        port += 1 + poisson(trial.rate * OPENER_INTERVAL, rng)
        openers.append(port)
    after = port + 1 + poisson(trial.rate * OPENER_INTERVAL, rng)
    if trial.bracketed:
        ports = between(before, after, 1)
    else:
        # the bracket's own first mapping is one more of this side's
        ports = window(PortSequence(samples[-1], 1, rate), samples[-1].at + trial.delay, OPENERS + 1)
    return not set(openers).isdisjoint(ports), len(ports)


def success(trial: Trial, rng: random.Random, rounds: int) -> float:
    """Return the share of rounds in which the window held an opener's port."""
    return sum(play(trial, rng)[0] for _ in range(rounds)) / rounds
