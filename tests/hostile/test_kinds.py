"""Streams that begin with anything but what the link of a process of its own offers: refused, at a bounded price."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest

from tests.support.victim import TIMEOUT, Attack, attack
from visavis_peer.core.link import kinds
from visavis_peer.link.quic import StreamAborted, StreamStopped

pytestmark = pytest.mark.timeout(60)

MIB: Final = 1 << 20
BOUND: Final = 8 * MIB
"""What a link may take, all garbage and what the allocator keeps included."""
OWN_CODE: Final = 0
"""With which the application at the other end gives up the streams that it takes."""


async def opened(attacker: Attack, data: bytes, *, end: bool = False) -> int:
    """Open a stream as soon as the link's engine allows one more, and return its id."""
    async with asyncio.timeout(TIMEOUT):
        while (stream_id := attacker.stream()) is None:
            await attacker.turn()
    attacker.connection.send_stream(stream_id, data, end=end)
    return stream_id


async def refused(
    attacker: Attack, count: int, code: int, how: type[StreamAborted | StreamStopped] = StreamAborted
) -> None:
    """Take turns until so many streams have been reset, or stopped, with this code."""
    async with asyncio.timeout(TIMEOUT):
        while attacker.refusals[how, code] < count:
            assert attacker.connection.terminated is None, attacker.connection.terminated
            await attacker.turn()
    assert attacker.refusals[how, code] == count


async def still_serves(attacker: Attack) -> None:
    """A stream of the kind that is offered gets to the application."""
    before = attacker.refusals[StreamAborted, OWN_CODE]
    await opened(attacker, kinds.header("test"))
    await refused(attacker, before + 1, OWN_CODE)
    assert (await attacker.report())["closed"] is None


async def test_ten_thousand_unknown_kinds_are_refused_by_name_and_cost_nothing_that_stays() -> None:
    async with attack(takes=True) as attacker:
        await still_serves(attacker)
        before = (await attacker.report())["size"]
        for number in range(10_000):
            kind = f"{number:05}/".ljust(kinds.KIND_SIZE, "x")
            await opened(attacker, kinds.header(kind) + bytes(100), end=number % 2 == 0)
            if number % 32 == 0:
                await attacker.turn()
        await refused(attacker, 10_000, kinds.NOT_OFFERED)
        assert (await attacker.report())["size"] - before < BOUND
        await still_serves(attacker)


async def test_lengths_and_characters_that_no_kind_has_are_refused_with_the_first_bytes() -> None:
    rng = random.Random(8)
    async with attack(takes=True) as attacker:
        before = (await attacker.report())["size"]
        wrong = [bytes((length,)) + rng.randbytes(8000) for length in (0, *range(kinds.KIND_SIZE + 1, 256))]
        wrong += [bytes((length,)) + b"\x1b]0;evil\x07".ljust(8000, b"\0") for length in range(1, kinds.KIND_SIZE + 1)]
        for data in wrong:
            await opened(attacker, data)
            await attacker.turn()
        await refused(attacker, len(wrong), kinds.BAD_HEADER)
        await refused(attacker, len(wrong), kinds.BAD_HEADER, StreamStopped)
        assert (await attacker.report())["size"] - before < BOUND
        await still_serves(attacker)


async def test_headers_that_never_come_to_an_end_take_their_places_and_no_others() -> None:
    async with attack(takes=True) as attacker:
        held = [await opened(attacker, kinds.header("test")[:1]) for _ in range(60)]
        await attacker.turn()
        await still_serves(attacker)
        for stream_id in held:
            attacker.connection.reset_stream(stream_id, 9)
        await refused(attacker, len(held), kinds.BAD_HEADER)
        await still_serves(attacker)


async def test_a_header_that_comes_byte_by_byte_is_as_good_as_a_whole_one() -> None:
    async with attack(takes=True) as attacker:
        streams = [await opened(attacker, b"\x04") for _ in range(20)]
        for byte in b"test":
            await attacker.turn()
            for stream_id in streams:
                attacker.connection.send_stream(stream_id, bytes((byte,)))
        await refused(attacker, len(streams), OWN_CODE)
        assert not attacker.refusals[StreamAborted, kinds.BAD_HEADER]
