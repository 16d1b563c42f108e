"""Predicting the ports of a NAT that allocates in sequence.

Two ways. *Bracketed*: the predicted side makes one mapping right before its openers and one right after, on sockets of
their own, and tells both ports: the openers' ports lie in between, whatever others allocate before or later.
*Extrapolated*: the next ports after the last one known, as far as measured foreign allocations may have gone on since.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from visavis_peer.core.nat.allocation import FIRST_PORT, LAST_PORT, PortSample, delta

WINDOW_SIZE: Final = 256
"""Ports tried at most: half a second of probes, and a bracket wider than that holds mostly foreign mappings."""
MEETING_LEAST: Final = 25
"""Mappings each side makes at least (EasyTier's number): 20 foreign allocations from sample to openers do no harm."""
MEETING_MARGIN: Final = 5
"""Mappings beyond the promised port: as many openers may be lost before the NAT."""
MEETING_LIMIT: Final = 64
"""Mappings at most: a busier NAT gives neighbouring ports to strangers more often than to this side anyway."""
SAMPLING_TIME: Final = 0.3
"""Seconds that a survey's samples take: 16 of them 20 ms apart."""
_SMALLEST_WINDOW: Final = 8  # three openers and their two neighbours, with a lost sample and a little traffic beside
_DEVIATIONS: Final = 3.0  # of a Poisson count: 99.7 % of foreign allocations fall within
_UNMEASURED_RATE: Final = 10.0  # a home's busy second; a browser that loads a page makes some dozens


@dataclass(frozen=True, slots=True)
class PortSequence:
    """A sequence of ports as it was last seen."""

    last: PortSample
    step: int
    """Ports from one allocation to the next, negative when they descend, never 0."""
    foreign_rate: float | None = None
    """Allocations a second by others; None: unknown."""
    measured_for: float = SAMPLING_TIME
    """Seconds over which that rate was measured."""
    first_port: int = FIRST_PORT
    """Where the sequence begins again after `last_port`, or the other way round when it descends."""
    last_port: int = LAST_PORT

    def port(self, count: int) -> int:
        """Return the port of the allocation `count` after the last one seen, 1 being the next."""
        width = self.last_port - self.first_port + 1
        return (self.last.port + self.step * count - self.first_port) % width + self.first_port

    def foreign(self, at: float) -> tuple[float, float]:
        """Return how many allocations others will have made by `at` (seconds, monotonic), and the deviation of that.

        Both the traffic and what was counted of it vary as a Poisson process does; one more than was counted keeps a
        short silence from looking like none for ever.
        """
        delay = max(0.0, at - self.last.at)
        rate = _UNMEASURED_RATE if self.foreign_rate is None else self.foreign_rate
        variance = (rate + 1 / self.measured_for) * delay * (1 + delay / self.measured_for)
        return rate * delay, math.sqrt(variance)


def window(sequence: PortSequence, at: float, openers: int = 1) -> tuple[int, ...]:
    """Return the ports that `openers` mappings made at `at` have, the likeliest first, at most WINDOW_SIZE.

    The likeliest is where foreign allocations at the measured rate lead; the window reaches three deviations from it.
    """
    expected, deviation = sequence.foreign(at)
    reach = min(_DEVIATIONS * deviation, WINDOW_SIZE)
    lowest = max(1, math.floor(1 + expected - reach))
    highest = max(math.ceil(expected + reach) + openers, lowest + _SMALLEST_WINDOW - 1)
    centre = expected + (openers + 1) / 2
    counts = sorted(range(lowest, highest + 1), key=lambda count: (abs(count - centre), count))[:WINDOW_SIZE]
    return tuple(dict.fromkeys(sequence.port(count) for count in counts))


def between(before: int, after: int, step: int) -> tuple[int, ...]:
    """Return the ports that a sequence gave out between two mappings, in its order, at most WINDOW_SIZE.

    Where the two are not a number of steps apart, the sequence began again in between: then the first ones after
    `before`.
    """
    count, rest = divmod(delta(before, after), step)
    if rest or count < 1:
        count = _SMALLEST_WINDOW + 1
    sequence = PortSequence(PortSample(0, before, 0.0), step)
    return tuple(sequence.port(index) for index in range(1, min(count, WINDOW_SIZE + 1)))


def meeting_size(foreign_rate: float | None, delay: float) -> int:
    """Return how many mappings each side makes, when both allocate in sequence and aim at one port of the other.

    `delay`: seconds from the sample to the openers. The one promised port is the last but MEETING_MARGIN of them,
    so that what others allocate meanwhile is made up for by fewer of one's own before it.
    """
    rate = _UNMEASURED_RATE if foreign_rate is None else foreign_rate
    expected = rate * delay
    return min(MEETING_LIMIT, math.ceil(MEETING_LEAST + expected + _DEVIATIONS * math.sqrt(expected)))


def meeting_offset(size: int) -> int:
    """Return which of `size` mappings, 1 being the first, has the promised port."""
    return size - MEETING_MARGIN
