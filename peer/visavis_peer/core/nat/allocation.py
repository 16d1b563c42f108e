"""Which port a NAT gives to a new mapping (RFC 4787 section 4.2): learnt from mappings that have just been made.

Samples come from new sockets, or from one socket towards new destinations where the mapping depends on them. Others
behind the same NAT allocate ports in between; a sequence reaches the end of its range and begins again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from visavis_shared.nat import Allocation

SAMPLE_COUNT: Final = 16
"""Samples that a survey should take where the mapping is dependent: they tell a block of ports from the whole range,
and cost as many mappings."""
FIRST_PORT: Final = 1024
"""NATs give no lower port to a client that uses none itself (Linux and RFC 4787 section 4.2.2 alike)."""
LAST_PORT: Final = 65535

_PORTS: Final = 1 << 16
_SAMPLES_AT_LEAST: Final = 4
_SAMPLES_FOR_LARGE_STEPS: Final = 8  # by chance eight random ports stand in order once in 20,000 times
_SMALL_DELTA: Final = 16  # three such deltas within a block of 2,048 random ports: five in ten million
_LARGE_DELTA: Final = 1024  # a step of 256 (a little-endian counter) with three foreign allocations in between
_SAMPLES_FOR_A_JUMP: Final = (6, 10)  # with small and large steps; ten random ports break their order once: 1 in 1,800
_SAMPLES_FOR_A_LOSS = 12  # eleven of twelve random ports of a block break their order at most once: 1 in 1,600
_PRESERVED_SHARE: Final = 2 / 3  # the rest met a port that another host had taken
_BLOCK_SIZE_LIMIT: Final = 8192  # eight ports of the whole range lie as close together once in a quarter million times


@dataclass(frozen=True, slots=True)
class PortSample:
    """One new mapping."""

    local_port: int
    port: int
    """The external port."""
    at: float
    """Seconds on the monotonic clock when the packet that made the mapping was sent."""


@dataclass(frozen=True, slots=True)
class AllocationFinding:
    """How ports are given out."""

    kind: Allocation
    step: int | None = None
    """Ports from one allocation to the next; sequential only."""
    foreign_rate: float | None = None
    """Allocations a second by others; sequential only, None when the samples were made at one instant."""
    last_port: int | None = None
    """Port of the newest sample; sequential only."""
    block: tuple[int, int] | None = None
    """Lowest and highest port of the block; block only."""


def allocation_of(samples: Sequence[PortSample]) -> tuple[AllocationFinding | None, str]:
    """Return how the NAT gives out ports, or None, and the reason in both cases.

    Samples that show one external port twice are mappings that were not new; the later one is left out.
    """
    by_port: dict[int, PortSample] = {}
    for sample in sorted(samples, key=lambda sample: sample.at):
        by_port.setdefault(sample.port, sample)
    fresh = list(by_port.values())
    if len(fresh) < 2:
        return None, "allocation: fewer than two new mappings seen"
    preserved = sum(sample.port == sample.local_port for sample in fresh)
    if preserved >= len(fresh) * _PRESERVED_SHARE:
        return AllocationFinding(Allocation.PRESERVING), "the external port is the internal one"
    if len(fresh) < _SAMPLES_AT_LEAST:
        return None, f"allocation: fewer than {_SAMPLES_AT_LEAST} new mappings seen"
    step, ordered = _step_but_for_one(fresh)
    if step is not None:
        finding = AllocationFinding(
            Allocation.SEQUENTIAL, step=step, foreign_rate=foreign_rate(ordered, step), last_port=ordered[-1].port
        )
        return finding, "ports follow one another"
    if len(fresh) < _SAMPLES_FOR_LARGE_STEPS:
        return None, "allocation: too few new mappings to tell a large step from random ports"
    block = block_of([sample.port for sample in fresh])
    if block is not None:
        return AllocationFinding(Allocation.BLOCK, block=block), "ports are random within a block"
    return AllocationFinding(Allocation.RANDOM), "ports follow no order"


def _step_but_for_one(samples: Sequence[PortSample]) -> tuple[int | None, Sequence[PortSample]]:
    """Return the step of a sequence and the samples that show it: all of them, or of many all but one.

    A request that was lost before the NAT made its mapping later than it seems.
    """
    subsets = [samples]
    if len(samples) >= _SAMPLES_FOR_A_LOSS:
        subsets += [[*samples[:index], *samples[index + 1 :]] for index in range(len(samples))]
    for subset in subsets:
        step = _step([sample.port for sample in subset])
        if step is not None:
            return step, subset
    return None, samples


def _step(ports: Sequence[int]) -> int | None:
    """Return the signed step of ports in sequence, or None when they are in none.

    Small steps need fewer samples than large ones. With still more of them one jump is forgiven: the range ended and
    began again.
    """
    deltas = [delta(earlier, later) for earlier, later in pairwise(ports)]
    sign = 1 if sum(each > 0 for each in deltas) * 2 >= len(deltas) else -1
    limits = (_SMALL_DELTA, _LARGE_DELTA) if len(ports) >= _SAMPLES_FOR_LARGE_STEPS else (_SMALL_DELTA,)
    for limit, samples_for_a_jump in zip(limits, _SAMPLES_FOR_A_JUMP, strict=False):
        regular = [each for each in deltas if 1 <= each * sign <= limit]
        if len(deltas) - len(regular) <= (len(ports) >= samples_for_a_jump):
            return math.gcd(*regular) * sign
    return None


def delta(earlier: int, later: int) -> int:
    """Return the way from one port to another round the circle of ports, -32768 to 32767."""
    return (later - earlier + _PORTS // 2) % _PORTS - _PORTS // 2


def foreign_rate(samples: Sequence[PortSample], step: int) -> float | None:
    """Return the allocations a second that `samples`, in order of time, did not make themselves.

    None when they span no time. Where the sequence began again within the samples, that stretch does not count.
    """
    foreign, seconds = 0.0, 0.0
    for earlier, later in pairwise(samples):
        allocations = delta(earlier.port, later.port) / step
        if 1 <= allocations <= _LARGE_DELTA:
            foreign += allocations - 1
            seconds += later.at - earlier.at
    return foreign / seconds if seconds > 0 else None


def block_of(ports: Sequence[int]) -> tuple[int, int] | None:
    """Return the lowest and highest port of the block that `ports` are drawn from, or None for the whole range.

    A block of m random samples is (m + 1) / (m - 1) times as wide as they are on average. Blocks are powers of two in
    practice (RFC 7422), but may begin anywhere: the result holds every such block around the samples, which shall be at
    least eight.
    """
    lowest, highest = min(ports), max(ports)
    spread = highest - lowest
    estimate = 0.8 * spread * (len(ports) + 1) / (len(ports) - 1)  # less, since rounding up follows
    size = 1 << math.ceil(math.log2(max(spread + 1, estimate)))
    if size > _BLOCK_SIZE_LIMIT:
        return None
    return max(highest - size + 1, min(FIRST_PORT, lowest)), min(lowest + size - 1, LAST_PORT)
