"""link.streams: a reader that stops makes its writer wait, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.conditions import until
from tests.support.link_pair import ends, linked, stream_of
from tests.support.memory import memory_bound
from tests.support.transfer import Transfer
from tests.support.virtual_time import pass_time, virtually
from visavis_peer.core.link.credits import SHARE, STREAM_COUNT, WINDOW_BASE, WINDOW_START
from visavis_peer.link.link import StreamWriter
from visavis_peer.link.streams import UNSENT
from visavis_peer.link.writer import BACKLOG, HIGH_WATER, LOW_WATER

MIB = 1 << 20
MEMORY = 8 * MIB
"""Bytes that a link may take, whatever its peer does."""
SETTLED = 2.0
"""Virtual seconds after which a pair with a round trip of 10 ms has nothing more to do."""


either_side = pytest.mark.parametrize("opener", ["offerer", "answerer"])


class Pump:
    """Writes without end, and counts what `drain` let it write."""

    def __init__(self, writer: StreamWriter, piece: int = 16 << 10) -> None:
        self.written = 0
        self._writer = writer
        self._piece = bytes(piece)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._writer.write(self._piece)
            self.written += len(self._piece)
            await self._writer.drain()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@either_side
@virtually
async def test_a_reader_that_stops_makes_the_writer_wait_and_going_on_lets_it_go_on(opener: str) -> None:
    async with linked(relay=False, delay=0.005) as pair:
        (_, writer), (reader, _) = await stream_of(*ends(pair, opener))
        pump = Pump(writer)
        await pass_time(SETTLED)
        stuck_at = pump.written
        assert WINDOW_START < stuck_at <= WINDOW_START + HIGH_WATER + 2 * (16 << 10)
        await pass_time(20.0)
        assert pump.written == stuck_at
        await reader.readexactly(WINDOW_START)
        await until(lambda: pump.written > stuck_at)
        await pump.stop()


@virtually
async def test_a_reader_that_does_not_read_holds_up_neither_other_streams_nor_the_other_direction() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        (reader, writer), (_, their_writer) = await stream_of(pair.a, pair.b)
        pumps = [Pump(writer)]
        for _ in range(10):
            (_, another), _ = await stream_of(pair.a, pair.b)
            pumps.append(Pump(another))
        await pass_time(SETTLED)
        await Transfer(pair.a.link, pair.b.link, 4 * MIB).done()
        await Transfer(pair.b.link, pair.a.link, 4 * MIB).done()
        their_writer.write(b"heard")
        assert await reader.readexactly(5) == b"heard"
        for pump in pumps:
            assert pump.written <= WINDOW_START + HIGH_WATER + 2 * (16 << 10)
            await pump.stop()


@virtually
async def test_a_slow_reader_slows_its_own_writer_only() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        pump = Pump(writer)

        async def read_slowly() -> None:
            while True:
                await reader.readexactly(100)
                await pass_time(0.1)

        slow = asyncio.create_task(read_slowly())
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        async with asyncio.timeout(2.0):
            await transfer.done()
        slow.cancel()
        await pump.stop()


@virtually
async def test_both_ends_of_a_link_full_of_streams_that_nobody_reads_are_bounded() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        async with memory_bound(2 * MEMORY):
            pumps = []
            for source, target in (pair.ends, (pair.b, pair.a)):
                for _ in range(STREAM_COUNT):
                    (_, writer), (_, their_writer) = await stream_of(source, target)
                    pumps += [Pump(writer, 4096), Pump(their_writer, 4096)]
            await pass_time(SETTLED)
        written = sum(pump.written for pump in pumps)
        assert written <= 2 * (BACKLOG + SHARE + UNSENT) + len(pumps) * (WINDOW_BASE + LOW_WATER + 4096)
        assert not any(pump.task.done() for pump in pumps)
        for pump in pumps:
            await pump.stop()


@virtually
async def test_what_is_written_byte_by_byte_takes_no_more_memory_than_its_bytes() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        pair.a.direct.cut = True
        _, writer = await pair.a.link.open_stream("test")
        size = 32 << 10
        async with memory_bound(4 * size):
            for _ in range(size):
                writer.write(b"x")
