"""link.streams: bytes, ends and resets in both directions, and many streams at once."""

from __future__ import annotations

import asyncio
import gc
import random
from array import array
from weakref import ref

import pytest

from tests.support.link_pair import End, Pair, Wire, ends, linked, stream_of
from tests.support.transfer import Transfer, send
from tests.support.virtual_time import pass_time, virtually
from visavis_peer.core.link.credits import STREAM_COUNT
from visavis_peer.errors import StreamReset
from visavis_peer.link.link import StreamReader, StreamWriter

MIB = 1 << 20
SETTLED = 2.0
"""Virtual seconds after which a pair with a round trip of 10 ms has nothing more to do."""


either_side = pytest.mark.parametrize("opener", ["offerer", "answerer"])


# --- bytes and ends ---------------------------------------------------------------------------------------------------


@virtually
async def test_a_writer_takes_whatever_is_bytes_and_counts_nothing_else() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        numbers = array("i", [1, 2, 3])
        for data in (b"bytes", bytearray(b"bytearray"), memoryview(numbers), b""):
            writer.write(data)
        for wrong in ("text", 5, None, [1]):
            with pytest.raises(TypeError):
                writer.write(wrong)  # type: ignore[arg-type]
        assert pair.a.association.streams.backlog == len(b"bytesbytearray") + numbers.itemsize * 3
        writer.write_eof()
        assert await reader.read() == b"bytesbytearray" + numbers.tobytes()
        await writer.wait_closed()
        assert pair.a.association.streams.backlog == 0


@virtually
async def test_a_code_that_no_frame_can_hold_is_refused_and_the_stream_goes_on() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        for wrong in (-1, 1 << 32, 1.5, "1", None):
            with pytest.raises(ValueError, match="from 0 to"):
                writer.reset(wrong)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="from 0 to"):
                reader.stop(wrong)  # type: ignore[arg-type]
        writer.write(b"on")
        assert await reader.readexactly(2) == b"on"
        writer.reset((1 << 32) - 1)
        with pytest.raises(StreamReset) as caught:
            await reader.read()
        assert caught.value.code == (1 << 32) - 1


@either_side
@virtually
async def test_each_direction_ends_by_itself(opener: str) -> None:
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
        (_, writer), (reader, _) = await stream_of(*ends(pair, opener))
        writer.write_eof()
        assert await reader.read() == b""
        await writer.wait_closed()


@virtually
async def test_a_writer_is_closed_when_the_other_application_has_read_everything_and_not_before() -> None:
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        for size in (100, 5000):
            buffer = bytearray(b"x" * size)
            writer.write(buffer)
            buffer[:] = b"y" * size
        assert await reader.readexactly(5100) == b"x" * 5100


@virtually
async def test_readexactly_returns_what_was_asked_for_or_says_what_there_was() -> None:
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
        _, (reader, _) = await stream_of(pair.a, pair.b)
        assert await reader.read(0) == b""


@virtually
async def test_an_ended_stream_takes_no_more_bytes() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        _, writer = await pair.a.link.open_stream("test")
        writer.write(b"")
        writer.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            writer.write(b"x")


# --- resets and stops -------------------------------------------------------------------------------------------------


@either_side
@virtually
async def test_a_reset_reaches_the_reader_with_its_code_and_leaves_the_other_direction_alone(opener: str) -> None:
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        writer.write(b"never read")
        writer.write_eof()
        await pass_time(SETTLED)
        reader.stop(1)
        await writer.wait_closed()


@either_side
@virtually
async def test_a_side_that_has_ended_and_reads_no_further_leaves_the_other_one_whole(opener: str) -> None:
    async with linked(relay=False, delay=0.005) as pair:
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
    async with linked(relay=False, delay=0.005) as pair:
        for _ in range(2 * STREAM_COUNT):
            ours, theirs = await stream_of(pair.a, pair.b)
            for reader, writer in (ours, theirs):
                writer.write(b"crossing")
                writer.reset(1)
                reader.stop(2)
        await Transfer(pair.a.link, pair.b.link, 100_000).done()


@virtually
async def test_a_stream_that_is_over_leaves_nothing_for_the_collector_of_garbage() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        gc.disable()
        try:
            left = []
            for give_up in (True, False):
                ours, theirs = await stream_of(pair.a, pair.b)
                left += [ref(half) for half in (*ours, *theirs)]
                for reader, writer in (ours, theirs):
                    writer.reset() if give_up else writer.write_eof()
                    reader.stop() if give_up else await pass_time(SETTLED)
                if not give_up:
                    assert [await reader.read() for reader, _ in (ours, theirs)] == [b"", b""]
                del ours, theirs, reader, writer
            await pass_time(SETTLED)
            assert [half() for half in left] == [None] * 8
        finally:
            gc.enable()


@virtually
async def test_a_stream_given_up_before_anybody_wanted_it_is_not_offered() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        reader, writer = await pair.a.link.open_stream("test")
        await pass_time(SETTLED)
        writer.reset()
        reader.stop()
        await pass_time(SETTLED)
        await Transfer(pair.a.link, pair.b.link, 1000).done()


# --- many -------------------------------------------------------------------------------------------------------------


@either_side
@virtually
async def test_64_streams_at_once_carry_their_own_bytes_and_the_next_waits_for_one_to_end(opener: str) -> None:
    async with linked(relay=False, delay=0.005) as pair:
        source, target = ends(pair, opener)

        async def echo(reader: StreamReader, writer: StreamWriter) -> None:
            async for part in reader:
                writer.write(part)
                await writer.drain()
            writer.write_eof()

        serving = asyncio.create_task(target.link.serve("test", echo))
        streams = [await source.link.open_stream("test") for _ in range(STREAM_COUNT)]
        one_more = asyncio.create_task(source.link.open_stream("test"))

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
    async with linked(relay=False, delay=0.005) as pair:
        streams = [await pair.a.link.open_stream("test") for _ in range(STREAM_COUNT)]
        one_more = asyncio.create_task(pair.a.link.open_stream("test"))
        await pass_time(SETTLED)
        assert not one_more.done()
        reader, writer = streams[7]
        writer.reset()
        reader.stop()
        await one_more
        assert len({stream[0].stream_id for stream in (*streams, await one_more)}) == STREAM_COUNT + 1


@virtually
async def test_streams_are_handed_over_in_the_order_in_which_they_were_opened() -> None:
    async with linked(relay=False, delay=0.005) as pair:
        opened = [(await pair.a.link.open_stream("test"))[0].stream_id for _ in range(20)]
        accepted = [(await pair.b.link.accept_stream("test"))[0].stream_id for _ in range(20)]
        assert accepted == opened


@pytest.mark.parametrize("seed", range(2))
@virtually
async def test_short_streams_by_the_thousand_leave_nothing_behind(seed: int) -> None:
    """Over a path that loses and reorders, so that ends and their news overtake each other."""
    wires = [Wire("direct", delay=0.005, loss=0.03, jitter=0.01, seed=seed + each) for each in (0, 1)]
    pair = Pair(direct=(wires[0], wires[1]))
    pair.start()
    await pair.up()

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(await reader.read())

    async def ask(end: End, number: int) -> None:
        reader, writer = await end.link.open_stream("test")
        writer.write(b"%d" % number)
        writer.write_eof()
        assert await reader.read() == b"%d" % number
        await writer.wait_closed()

    serving = [asyncio.create_task(end.link.serve("test", answer)) for end in pair.ends]
    await asyncio.gather(*(ask(end, number) for number in range(1000) for end in pair.ends))
    await pass_time(SETTLED)
    for end in pair.ends:
        table = end.association.streams
        assert table.open_count == 0
        assert table.lent == 0
    pair.close()
    await asyncio.gather(*serving)
