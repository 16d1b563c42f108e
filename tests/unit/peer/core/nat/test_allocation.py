"""core.allocation: what new mappings prove about the way a NAT gives out ports, with others' traffic in between."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.nat.allocation import (
    FIRST_PORT,
    SAMPLE_COUNT,
    AllocationFinding,
    PortSample,
    allocation_of,
    block_of,
    delta,
    foreign_rate,
)
from visavis_shared.nat import Allocation

INTERVAL: Final = 0.1


def samples(ports: Sequence[int]) -> list[PortSample]:
    """Return new mappings of sockets 60001, 60002, ... made every tenth of a second."""
    return [PortSample(60001 + index, port, index * INTERVAL) for index, port in enumerate(ports)]


def finding_of(ports: Sequence[int]) -> AllocationFinding:
    finding, reason = allocation_of(samples(ports))
    assert finding is not None, reason
    assert reason
    return finding


@pytest.mark.parametrize(
    ("ports", "reason"),
    [
        ([], "fewer than two"),
        ([5], "fewer than two"),
        ([5, 5, 5], "fewer than two"),
        ([5, 6, 7], "fewer than 4"),
        ([5000, 5300, 5600, 5900], "too few"),
        ([5000, 61, 30000, 2], "too few"),
    ],
)
def test_too_little_is_unknown_with_the_reason(ports: list[int], reason: str) -> None:
    finding, why = allocation_of(samples(ports))
    assert finding is None
    assert reason in why
    assert why.startswith("allocation: ")


def test_preserved_ports_are_told_even_where_one_was_taken() -> None:
    assert finding_of([60001, 60002]).kind is Allocation.PRESERVING
    assert finding_of([60001, 60002, 1044, 60004]).kind is Allocation.PRESERVING


@pytest.mark.parametrize(
    ("ports", "step"),
    [
        ([20000, 20001, 20002, 20003], 1),
        ([20000, 20002, 20004, 20006], 2),
        ([20003, 20002, 20001, 20000], -1),
        ([20000, 20003, 20004, 20009, 20010], 1),
        ([20000, 20004, 20006, 20012], 2),
        ([65533, 65534, 65535, 1024, 1025, 1026], 1),
        ([28190, 28191, 20000, 20001, 20002, 20003], 1),
        ([20001, 20000, 28191, 28190, 28189, 28188], -1),
        (list(range(2560, 5120, 256)), 256),
        ([2560, 3072, 3328, 3584, 4096, 4352, 4608, 4864], 256),
        ([60000, 60300, 60600, 60900, 61200, 20000, 20300, 20600, 20900, 21200], 300),
    ],
    ids=[
        "quiet",
        "in twos",
        "downwards",
        "others between",
        "others, in twos",
        "wraps at the end",
        "wraps at its range",
        "wraps downwards",
        "little-endian counter",
        "little-endian, others",
        "large steps that begin again",
    ],
)
def test_a_sequence_is_told_with_its_step(ports: list[int], step: int) -> None:
    finding = finding_of(ports)
    assert (finding.kind, finding.step, finding.last_port) == (Allocation.SEQUENTIAL, step, ports[-1])


def test_others_allocations_are_counted_by_the_second() -> None:
    assert finding_of([20000, 20003, 20004, 20009]).foreign_rate == pytest.approx(20.0)
    assert finding_of([20000, 20001, 20002, 20003]).foreign_rate == 0.0
    at_once = [PortSample(0, port, 1.0) for port in (20000, 20001, 20002, 20003)]
    assert foreign_rate(at_once, 1) is None


def test_the_jump_back_of_a_sequence_is_no_traffic() -> None:
    assert finding_of([28190, 28191, 20000, 20001, 20002, 20003]).foreign_rate == 0.0


def test_samples_are_ordered_by_time_and_old_mappings_left_out() -> None:
    mixed = [*samples([20000, 20001, 20002, 20003])[::-1], PortSample(1, 20001, 9.0)]
    finding, _ = allocation_of(mixed)
    assert finding is not None
    assert finding.last_port == 20003


def test_random_ports_are_told_from_a_block() -> None:
    rng = random.Random(1)
    for _ in range(200):
        whole = finding_of(rng.sample(range(FIRST_PORT, 65536), SAMPLE_COUNT))
        assert whole == AllocationFinding(Allocation.RANDOM)


@pytest.mark.parametrize("size", [256, 512, 1000, 2048, 4096])
def test_the_block_found_holds_nearly_every_port_of_the_real_one(size: int) -> None:
    rng = random.Random(size)
    for _ in range(200):
        low = rng.randrange(FIRST_PORT, 65536 - size)
        finding = finding_of(rng.sample(range(low, low + size), SAMPLE_COUNT))
        assert finding.kind is Allocation.BLOCK
        assert finding.block is not None
        held = len(set(range(finding.block[0], finding.block[1] + 1)) & set(range(low, low + size)))
        assert held >= 0.9 * size
        assert finding.block[1] - finding.block[0] <= 4 * size


def test_a_block_at_the_edge_of_the_range_stays_within_it() -> None:
    assert block_of([1024, 1030, 1100, 1120, 1050, 1060, 1090, 1150]) == (1024, 1279)
    assert block_of([65535, 65500, 65400, 65410, 65420, 65430, 65440, 65450]) == (65280, 65535)
    assert block_of([600, 700, 620, 630, 640, 650, 660, 670]) == (600, 727)


def test_a_small_block_is_rarely_taken_for_a_sequence() -> None:
    rng = random.Random(1)
    for count in (6, 8, SAMPLE_COUNT):
        found = [allocation_of(samples(rng.sample(range(40000, 42048), count)))[0] for _ in range(500)]
        assert sum(finding is not None and finding.kind is Allocation.SEQUENTIAL for finding in found) <= 1


@given(st.integers(0, 65535), st.integers(-32768, 32767))
def test_the_way_between_two_ports_goes_round_the_circle(port: int, way: int) -> None:
    assert delta(port, (port + way) % 65536) == way


def test_one_request_of_many_that_was_lost_before_the_nat_is_left_out() -> None:
    """Its mapping is one of the last, and besides the range has begun again: two jumps."""
    in_order = [*range(1024 + 12, 1023, -2), *range(65534, 65534 - 18, -2)]
    late = [*in_order[:2], in_order[11], *in_order[2:11], *in_order[12:]]
    finding, _ = allocation_of(samples(late))
    assert finding is not None
    assert (finding.kind, finding.step) == (Allocation.SEQUENTIAL, -2)
    without = allocation_of(samples(late[:11]))[0]
    assert without is None or without.kind is not Allocation.SEQUENTIAL
