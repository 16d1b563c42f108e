"""link.streams: back-pressure, ends and resets in both directions, whatever the other side does."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.conditions import until
from tests.support.link_pair import End, Pair, Wire
from tests.support.raw_peer import RawPeer
from tests.support.transfer import Transfer, send
from tests.support.virtual_time import pass_time, virtually
from visavis_peer.core.credits import POOL, STREAM_COUNT, WINDOW_BASE, WINDOW_START
from visavis_peer.errors import LinkClosed
from visavis_peer.link import control, quic
from visavis_peer.link.quic import SecureConnection
from visavis_peer.link.streams import (
    BACKLOG,
    HIGH_WATER,
    LINGERING_COUNT,
    LOW_WATER,
    UNREAD_COUNT,
    UNSENT,
    StreamReader,
    StreamReset,
    StreamWriter,
)

Ends = tuple[StreamReader, StreamWriter]
MIB = 1 << 20
MEMORY = 8 * MIB
"""Bytes that a link may take, whatever its peer does."""
SETTLED = 2.0
"""Virtual seconds after which a pair with a round trip of 10 ms has nothing more to do."""


@asynccontextmanager
async def linked() -> AsyncIterator[Pair]:
    pair = Pair(direct=(Wire("direct", delay=0.005), Wire("direct", delay=0.005)))
    pair.start()
    await pair.up()
    yield pair
    pair.close()


async def stream_of(source: End, target: End) -> tuple[Ends, Ends]:
    """Open a stream; return both its ends."""
    ours = await source.link.open_stream()
    return ours, await target.link.accept_stream()


def ends(pair: Pair, opener: str) -> tuple[End, End]:
    return pair.ends if opener == "offerer" else (pair.b, pair.a)


either_side = pytest.mark.parametrize("opener", ["offerer", "answerer"])


# --- bytes and ends ---------------------------------------------------------------------------------------------------


@either_side
@virtually
async def test_each_direction_ends_by_itself(opener: str) -> None:
    async with linked() as pair:
        (reader, writer), (their_reader, their_writer) = await stream_of(*ends(pair, opener))
        assert reader.stream_id == writer.stream_id == their_reader.stream_id == their_writer.stream_id
        writer.write(b"question")
        writer.write_eof()
        writer.close()
        assert await their_reader.read() == b"question"
        assert their_reader.at_eof()
        assert not reader.at_eof()
        their_writer.write(b"ans")
        await pass_time(1.0)
        their_writer.write(b"wer")
        their_writer.write_eof()
        assert await reader.read() == b"answer"
        assert await reader.read() == b""
        await writer.wait_closed()
        await their_writer.wait_closed()


@either_side
@virtually
async def test_a_peer_hears_of_a_stream_on_which_nothing_is_said(opener: str) -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(*ends(pair, opener))
        writer.write_eof()
        assert await reader.read() == b""
        await writer.wait_closed()


@virtually
async def test_a_writer_is_closed_when_the_other_application_has_read_everything_and_not_before() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        writer.write(b"to be read")
        writer.write_eof()
        closed = asyncio.create_task(writer.wait_closed())
        await pass_time(SETTLED)
        assert await reader.read(9) == b"to be rea"
        await pass_time(SETTLED)
        assert not closed.done()
        assert await reader.read(9) == b"d"
        await closed


@virtually
async def test_reads_of_any_size_return_every_byte_once() -> None:
    async with linked() as pair:
        chance = random.Random(4)
        data = chance.randbytes(500_000)
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)

        async def write() -> None:
            rest = memoryview(data)
            while rest:
                size = chance.choice((1, 2, 100, 1023, 1024, 1025, 5000, 40_000))
                writer.write(chance.choice((bytes, bytearray, memoryview))(rest[:size]))
                rest = rest[size:]
                await writer.drain()
            writer.write_eof()

        writing = asyncio.create_task(write())
        parts = []
        while part := await reader.read(chance.choice((1, 2, 1000, 1024, 50_000))):
            parts.append(part)
            if chance.random() < 0.02:
                await pass_time(0.1)
        assert b"".join(parts) == data
        await writing


@virtually
async def test_what_was_written_may_change_afterwards() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        for size in (100, 5000):
            buffer = bytearray(b"x" * size)
            writer.write(buffer)
            buffer[:] = b"y" * size
        assert await reader.readexactly(5100) == b"x" * 5100


@virtually
async def test_readexactly_returns_what_was_asked_for_or_says_what_there_was() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        writer.write(b"abcdef")
        assert await reader.readexactly(0) == b""
        assert await reader.readexactly(4) == b"abcd"
        writer.write_eof()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(4)
        assert (caught.value.partial, caught.value.expected) == (b"ef", 4)


@virtually
async def test_reading_nothing_waits_for_nothing() -> None:
    async with linked() as pair:
        _, (reader, _) = await stream_of(pair.a, pair.b)
        assert await reader.read(0) == b""


@virtually
async def test_an_ended_stream_takes_no_more_bytes() -> None:
    async with linked() as pair:
        _, writer = await pair.a.link.open_stream()
        writer.write(b"")
        writer.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            writer.write(b"x")


# --- resets and stops -------------------------------------------------------------------------------------------------


@either_side
@virtually
async def test_a_reset_reaches_the_reader_with_its_code_and_leaves_the_other_direction_alone(opener: str) -> None:
    async with linked() as pair:
        for reset_by_opener in (True, False):
            ours, theirs = await stream_of(*ends(pair, opener))
            (reader, writer), (their_reader, their_writer) = (ours, theirs) if reset_by_opener else (theirs, ours)
            writer.write(b"unread")
            writer.reset(42)
            writer.reset(43)
            with pytest.raises(StreamReset, match="code 42") as caught:
                await their_reader.readexactly(len(b"unread") + 1)
            assert caught.value.code == 42
            with pytest.raises(StreamReset):
                writer.write(b"too late")
            with pytest.raises(StreamReset):
                await writer.drain()
            with pytest.raises(StreamReset):
                await writer.wait_closed()
            their_writer.write(b"still here")
            their_writer.write_eof()
            assert await reader.read() == b"still here"
            await their_writer.wait_closed()


@either_side
@virtually
async def test_a_stop_reaches_the_writer_with_its_code_and_leaves_the_other_direction_alone(opener: str) -> None:
    async with linked() as pair:
        for stopped_by_opener in (True, False):
            ours, theirs = await stream_of(*ends(pair, opener))
            (reader, writer), (their_reader, their_writer) = (ours, theirs) if stopped_by_opener else (theirs, ours)
            sending = asyncio.create_task(send(their_writer, bytes(MIB)))
            await reader.readexactly(10)
            reader.stop(17)
            reader.stop(18)
            with pytest.raises(StreamReset) as caught:
                await sending
            assert caught.value.code == 17
            with pytest.raises(StreamReset):
                their_writer.write(b"x")
            with pytest.raises(StreamReset):
                await reader.read(1)
            writer.write(b"still here")
            writer.write_eof()
            assert await their_reader.read() == b"still here"
            await writer.wait_closed()


@virtually
async def test_a_stop_after_everything_came_in_lets_the_writer_end_in_peace() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        writer.write(b"never read")
        writer.write_eof()
        await pass_time(SETTLED)
        reader.stop(1)
        await writer.wait_closed()


@either_side
@virtually
async def test_a_side_that_has_ended_and_reads_no_further_leaves_the_other_one_whole(opener: str) -> None:
    async with linked() as pair:
        (reader, writer), (their_reader, their_writer) = await stream_of(*ends(pair, opener))
        writer.write(b"the last word")
        writer.write_eof()
        reader.stop(5)
        assert await their_reader.read() == b"the last word"
        with pytest.raises(StreamReset) as caught:
            await their_writer.wait_closed()
        assert caught.value.code == 5
        await writer.wait_closed()
        await Transfer(pair.a.link, pair.b.link, 100_000).done()
        await Transfer(pair.b.link, pair.a.link, 100_000).done()


@virtually
async def test_a_stream_that_both_sides_give_up_at_once_is_over() -> None:
    async with linked() as pair:
        for _ in range(2 * STREAM_COUNT):
            ours, theirs = await stream_of(pair.a, pair.b)
            for reader, writer in (ours, theirs):
                writer.write(b"crossing")
                writer.reset(1)
                reader.stop(2)
        await Transfer(pair.a.link, pair.b.link, 100_000).done()


@virtually
async def test_a_stream_given_up_before_anybody_wanted_it_is_not_offered() -> None:
    async with linked() as pair:
        reader, writer = await pair.a.link.open_stream()
        await pass_time(SETTLED)
        writer.reset()
        reader.stop()
        await pass_time(SETTLED)
        await Transfer(pair.a.link, pair.b.link, 1000).done()


# --- many -------------------------------------------------------------------------------------------------------------


@either_side
@virtually
async def test_64_streams_at_once_carry_their_own_bytes_and_the_next_waits_for_one_to_end(opener: str) -> None:
    async with linked() as pair:
        source, target = ends(pair, opener)

        async def echo(reader: StreamReader, writer: StreamWriter) -> None:
            async for part in reader:
                writer.write(part)
                await writer.drain()
            writer.write_eof()

        async def serve() -> None:
            async with asyncio.TaskGroup() as tasks:
                async for stream in target.link.streams():
                    tasks.create_task(echo(*stream))

        serving = asyncio.create_task(serve())
        streams = [await source.link.open_stream() for _ in range(STREAM_COUNT)]
        one_more = asyncio.create_task(source.link.open_stream())

        async def ask(number: int, reader: StreamReader, writer: StreamWriter) -> None:
            data = random.Random(number).randbytes(30_000)
            sending = asyncio.create_task(send(writer, data))
            assert await reader.read() == data
            await sending

        await asyncio.gather(*(ask(number, *stream) for number, stream in enumerate(streams[1:])))
        # a slot is free now, for the others have ended
        await ask(99, *(await one_more))
        await ask(0, *streams[0])
        pair.close()
        await serving


@virtually
async def test_the_65th_stream_waits_until_one_has_ended() -> None:
    async with linked() as pair:
        streams = [await pair.a.link.open_stream() for _ in range(STREAM_COUNT)]
        one_more = asyncio.create_task(pair.a.link.open_stream())
        await pass_time(SETTLED)
        assert not one_more.done()
        reader, writer = streams[7]
        writer.reset()
        reader.stop()
        await one_more
        assert len({stream[0].stream_id for stream in (*streams, await one_more)}) == STREAM_COUNT + 1


@virtually
async def test_streams_are_handed_over_in_the_order_in_which_they_were_opened() -> None:
    async with linked() as pair:
        opened = [(await pair.a.link.open_stream())[0].stream_id for _ in range(20)]
        accepted = [(await pair.b.link.accept_stream())[0].stream_id for _ in range(20)]
        assert accepted == opened


@pytest.mark.parametrize("seed", range(2))
@virtually
async def test_short_streams_by_the_thousand_leave_nothing_behind(seed: int) -> None:
    """Over a path that loses and reorders, so that ends and their news overtake each other."""
    wires = [Wire("direct", delay=0.005, loss=0.03, jitter=0.01, seed=seed + each) for each in (0, 1)]
    pair = Pair(direct=(wires[0], wires[1]))
    pair.start()
    await pair.up()

    async def serve(end: End) -> None:
        async for reader, writer in end.link.streams():
            writer.write(await reader.read())
            writer.write_eof()

    async def ask(end: End, number: int) -> None:
        reader, writer = await end.link.open_stream()
        writer.write(b"%d" % number)
        writer.write_eof()
        assert await reader.read() == b"%d" % number
        await writer.wait_closed()

    serving = [asyncio.create_task(serve(end)) for end in pair.ends]
    await asyncio.gather(*(ask(end, number) for number in range(1000) for end in pair.ends))
    await pass_time(SETTLED)
    for end in pair.ends:
        table = end.link._streams
        assert not table._streams
        assert table._pool.left == POOL
    pair.close()
    await asyncio.gather(*serving)


# --- back-pressure ----------------------------------------------------------------------------------------------------


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
    async with linked() as pair:
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
    async with linked() as pair:
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
    async with linked() as pair:
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


@asynccontextmanager
async def memory_bound(bound: int) -> AsyncIterator[None]:
    """Fail when Python objects have grown by more than `bound` bytes at any time."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < bound, f"{(peak - before) / MIB:.1f} MiB"


@virtually
async def test_both_ends_of_a_link_full_of_streams_that_nobody_reads_are_bounded() -> None:
    async with linked() as pair:
        async with memory_bound(2 * MEMORY):
            pumps = []
            for source, target in (pair.ends, (pair.b, pair.a)):
                for _ in range(STREAM_COUNT):
                    (_, writer), (_, their_writer) = await stream_of(source, target)
                    pumps += [Pump(writer, 4096), Pump(their_writer, 4096)]
            await pass_time(SETTLED)
        written = sum(pump.written for pump in pumps)
        assert written <= 2 * (BACKLOG + POOL + UNSENT) + len(pumps) * (WINDOW_BASE + LOW_WATER + 4096)
        assert not any(pump.task.done() for pump in pumps)
        for pump in pumps:
            await pump.stop()


@virtually
async def test_what_is_written_byte_by_byte_takes_no_more_memory_than_its_bytes() -> None:
    async with linked() as pair:
        pair.a.direct.cut = True
        _, writer = await pair.a.link.open_stream()
        size = 32 << 10
        async with memory_bound(4 * size):
            for _ in range(size):
                writer.write(b"x")


# --- a peer that keeps to no rule -------------------------------------------------------------------------------------


@asynccontextmanager
async def raw(connection: type[SecureConnection] = SecureConnection) -> AsyncIterator[RawPeer]:
    peer = RawPeer(connection)
    await peer.connect()
    await peer.end.up.wait()
    yield peer
    peer.close()


async def closed_for(peer: RawPeer, reason: str) -> None:
    """Both sides know that the link is over because the peer broke the rules."""
    assert await peer.end.link.wait_closed() == reason
    assert isinstance(peer.end.link.error, LinkClosed)
    await until(lambda: peer.heard(quic.Terminated))
    (over,) = peer.heard(quic.Terminated)
    assert isinstance(over, quic.Terminated)
    assert (over.code, over.reason, over.by_peer) == (quic.PROTOCOL_VIOLATION, reason, True)


@virtually
async def test_a_peer_that_sends_beyond_its_credit_loses_the_link() -> None:
    async with raw() as peer:
        peer.connection.send_stream(4, control.STREAM_START + bytes(WINDOW_BASE))
        await peer.turn()
        reader, _ = await peer.end.link.accept_stream()
        assert peer.end.link.up
        async with memory_bound(MEMORY):
            for _ in range(100):
                peer.connection.send_stream(4, bytes(100_000))
                await peer.turn()
        (reason,) = {peer.end.link.closed_reason}
        assert reason is not None
        assert reason.startswith("the peer sends ")
        assert reason.endswith(" bytes beyond its credit")
        await closed_for(peer, reason)
        with pytest.raises(LinkClosed):
            await reader.read(1)


@virtually
async def test_a_peer_that_cuts_its_bytes_to_pieces_makes_memory_grow_by_little_more_than_their_number() -> None:
    async with raw() as peer:
        size = 24 << 10
        async with memory_bound(4 * size):
            peer.connection.send_stream(4, control.STREAM_START + bytes(WINDOW_BASE))
            await peer.turn()
            for _ in range((size - WINDOW_BASE) // 4):
                peer.connection.send_stream(4, b"tiny")
                await peer.turn()
                peer.events.clear()
        assert peer.end.link.up
        reader, _ = await peer.end.link.accept_stream()
        assert len(await reader.readexactly(size)) == size


@virtually
async def test_a_peer_that_opens_streams_without_end_loses_the_link() -> None:
    """Ended and stopped at once, a stream does not count for the engine; nobody accepts them."""
    async with raw() as peer:
        async with memory_bound(MEMORY):
            for number in range(1, 3000):
                peer.connection.send_stream(4 * number, control.STREAM_START + bytes(4096), end=True)
                peer.connection.stop_stream(4 * number, 0)
                await peer.turn()
                if peer.end.link.closed_reason:
                    break
        await closed_for(peer, f"the peer sends more streams at a time ({UNREAD_COUNT}) than it may open")


@virtually
async def test_a_peer_that_never_says_that_it_has_read_makes_no_streams_pile_up() -> None:
    async with raw() as peer:
        async with memory_bound(MEMORY):
            for number in range(1, 3000):
                peer.connection.send_stream(4 * number, control.STREAM_START, end=True)
                await peer.turn()
                if peer.end.link.closed_reason:
                    break
                reader, writer = await peer.end.link.accept_stream()
                assert await reader.read() == b""
                writer.write_eof()
        await closed_for(peer, f"the peer sends more streams at a time ({LINGERING_COUNT}) than it may open")


@virtually
async def test_credit_and_news_of_streams_that_are_not_there_change_nothing() -> None:
    async with raw() as peer:
        for stream_id in (0, 1, 4, 5, 2**62, 2**64 - 1):
            peer.connection.send_control(control.Credit(stream_id, 2**64 - 1))
            peer.connection.send_control(control.Done(stream_id))
        await peer.turn()
        peer.connection.send_stream(4, control.STREAM_START + b"still heard")
        await peer.turn()
        reader, _ = await peer.end.link.accept_stream()
        assert await reader.readexactly(11) == b"still heard"


@virtually
async def test_credit_that_is_taken_back_or_has_no_end_does_no_harm() -> None:
    async with raw() as peer:
        _, writer = await peer.end.link.open_stream()
        peer.connection.send_control(control.Credit(writer.stream_id, 2**64 - 1))
        peer.connection.send_control(control.Credit(writer.stream_id, 0))
        await peer.turn()
        writer.write(bytes(MIB))
        await writer.drain()
        received = 0
        for _ in range(1000):
            await peer.turn()
            received = sum(len(e.data) for e in peer.events if isinstance(e, quic.StreamData))
            if received == MIB + 1:
                break
        assert received == MIB + len(control.STREAM_START)
        assert peer.end.link.up


@virtually
async def test_a_peer_that_says_it_has_read_what_was_never_sent_ends_only_its_own_stream() -> None:
    async with raw() as peer:
        _, writer = await peer.end.link.open_stream()
        peer.connection.send_control(control.Done(writer.stream_id))
        await peer.turn()
        await writer.wait_closed()
        assert peer.end.link.up


@virtually
async def test_a_control_stream_that_breaks_the_rules_ends_the_link() -> None:
    async with raw() as peer:
        peer.connection.send_stream(quic.CONTROL_STREAM, b"\xff\xff")
        await peer.turn()
        await closed_for(peer, "a control frame of 65535 bytes")


@virtually
async def test_a_stream_that_begins_with_another_byte_is_taken_as_it_is() -> None:
    async with raw() as peer:
        peer.connection.send_stream(4, b"plain")
        await peer.turn()
        reader, _ = await peer.end.link.accept_stream()
        assert await reader.readexactly(5) == b"plain"


@virtually
async def test_streams_of_one_direction_are_not_for_applications_and_do_no_harm() -> None:
    async with raw() as peer:
        for stream_id in (2, 6, 10):
            peer.connection.send_stream(stream_id, control.STREAM_START + bytes(100_000))
            await peer.turn()
        for stream_id in (4, 8):
            peer.connection.send_stream(stream_id, control.STREAM_START)
            await peer.turn()
        for stream_id in (4, 8):
            reader, _ = await peer.end.link.accept_stream()
            assert reader.stream_id == stream_id
        assert peer.end.link.up


@virtually
async def test_a_flood_of_datagrams_and_pings_keeps_the_latest_and_no_more() -> None:
    async with raw() as peer:
        async with memory_bound(MEMORY):
            for _ in range(50):
                for _ in range(100):
                    peer.connection.send_datagram(bytes((control.DATA,)) + bytes(1000))
                    peer.connection.send_datagram(bytes((control.PING,)) + bytes(8))
                    peer.connection.send_datagram(bytes((99,)) + bytes(1000))
                    peer.connection.send_datagram(b"")
                await peer.turn()
                peer.events.clear()
        assert peer.end.link.up
