"""link: kinds that a program offers, those that it does not, and the ends of handlers."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from tests.support.conditions import until
from tests.support.link_pair import Pair, linked
from tests.support.virtual_time import pass_time, virtually
from visavis_peer.core.link import kinds
from visavis_peer.errors import KindNotOffered, LinkClosed, StreamReset
from visavis_peer.link.link import StreamReader, StreamWriter
from visavis_peer.link.reception import FIRST_OFFER_TIMEOUT
from visavis_peer.link.serving import HANDLER_COUNT, LAST_TIMEOUT


async def shout(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write((await reader.read()).upper())


async def whisper(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write((await reader.read()).lower())


async def wait(reader: StreamReader, writer: StreamWriter) -> None:
    await asyncio.Event().wait()


async def ask(pair: Pair, kind: str, data: bytes = b"Hello") -> bytes:
    reader, writer = await pair.a.link.open_stream(kind)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    await writer.wait_closed()
    return answer


async def refused(pair: Pair, kind: str) -> KindNotOffered:
    """Open a stream, and return what reader and writer say alike."""
    reader, writer = await pair.a.link.open_stream(kind)
    writer.write(b"anybody?")
    writer.write_eof()
    with pytest.raises(KindNotOffered) as read:
        await reader.read()
    with pytest.raises(KindNotOffered) as written:
        await writer.wait_closed()
    assert str(read.value) == str(written.value)
    return read.value


def code_of(error: BaseException | None) -> int | None:
    return error.code if isinstance(error, StreamReset) else None


# --- who gets a stream ------------------------------------------------------------------------------------------------


@virtually
async def test_streams_of_several_kinds_find_each_their_own_handler() -> None:
    async with linked() as pair:
        # asked before anybody offers anything: as quick as a peer may be
        asking = [asyncio.ensure_future(ask(pair, kind)) for kind in ("loud", "soft", "loud")]
        await pass_time(1.0)
        serving = [
            asyncio.create_task(pair.b.link.serve(kind, handler))
            for kind, handler in (("loud", shout), ("soft", whisper))
        ]
        assert await asyncio.gather(*asking) == [b"HELLO", b"hello", b"HELLO"]
        pair.close()
        await asyncio.gather(*serving)


@virtually
async def test_a_kind_that_is_not_offered_is_refused_at_once_and_by_name() -> None:
    async with linked(delay=0.005) as pair:
        serving = asyncio.create_task(pair.b.link.serve("loud", shout))
        began = asyncio.get_running_loop().time()
        error = await refused(pair, "silent/2")
        assert asyncio.get_running_loop().time() - began < 0.1
        assert (str(error), error.kind, error.code) == (
            "the other side does not offer silent/2",
            "silent/2",
            kinds.NOT_OFFERED,
        )
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.kind, copy.code) == (KindNotOffered, str(error), error.kind, error.code)
        assert await ask(pair, "loud") == b"HELLO"
        pair.close()
        await serving


@virtually
async def test_who_offers_nothing_refuses_after_a_while_and_leaves_nothing_open() -> None:
    async with linked(delay=0.005) as pair:
        began = asyncio.get_running_loop().time()
        await refused(pair, "test")
        assert FIRST_OFFER_TIMEOUT <= asyncio.get_running_loop().time() - began < FIRST_OFFER_TIMEOUT + 0.1
        await refused(pair, "test")
        await pass_time(1.0)
        assert pair.a.association.streams.open_count == 0
        assert pair.b.association.streams.open_count == 0
        assert pair.b.association.streams.lent == 0


@virtually
async def test_one_after_another_is_accepted_and_other_kinds_are_not_in_its_way() -> None:
    async with linked(delay=0.005) as pair:
        sending = [asyncio.ensure_future(ask(pair, "one", b"%d" % number)) for number in range(3)]
        other = asyncio.ensure_future(refused(pair, "other"))
        for number in range(3):
            reader, writer = await pair.b.link.accept_stream("one")
            assert await reader.read() == b"%d" % number
            writer.write_eof()
        await asyncio.gather(*sending, other)


@virtually
async def test_one_kind_is_taken_in_one_way() -> None:
    async with linked() as pair:
        link = pair.b.link
        serving = asyncio.create_task(link.serve("loud", shout))
        accepting = asyncio.create_task(link.accept_stream("one"))
        await pass_time(0.1)
        for kind in ("loud", "one"):
            with pytest.raises(RuntimeError, match=f"of the kind {kind} are served or accepted already"):
                await link.serve(kind, shout)
        with pytest.raises(RuntimeError, match="served or accepted already"):
            await link.accept_stream("loud")
        for call in (link.open_stream("No"), link.accept_stream("No"), link.serve("No", shout)):
            with pytest.raises(ValueError, match="the kind of a stream must be"):
                await call
        assert await ask(pair, "loud") == b"HELLO"
        pair.close()
        await serving
        with pytest.raises(LinkClosed):
            await accepting


@virtually
async def test_a_code_of_the_link_that_a_peer_says_of_its_own_stream_is_nothing_that_this_side_lacks() -> None:
    async with linked() as pair:
        reader, _ = await pair.a.link.open_stream("test")
        theirs, back = await pair.b.link.accept_stream("test")
        pair.a.connection.stop_stream(reader.stream_id, kinds.NOT_OFFERED)
        pair.a.connection.reset_stream(reader.stream_id, kinds.NOT_OFFERED)
        pair.a.association.relay_ready()  # has it send what it has
        for call in (theirs.read(), back.drain()):
            with pytest.raises(StreamReset) as caught:
                await call
            assert type(caught.value) is StreamReset


# --- how handlers end -------------------------------------------------------------------------------------------------


@virtually
async def test_a_handler_that_fails_is_told_to_its_peer_and_raised_where_it_is_served() -> None:
    async with linked(delay=0.005) as pair:

        async def fail(reader: StreamReader, writer: StreamWriter) -> None:
            await reader.readexactly(1)
            raise ZeroDivisionError("a mistake")

        serving = asyncio.create_task(pair.b.link.serve("test", fail))
        reader, writer = await pair.a.link.open_stream("test")
        idle, _ = await pair.a.link.open_stream("test")
        writer.write(b"xyz")
        writer.write_eof()
        for call in (reader.read(), writer.wait_closed(), idle.read()):
            with pytest.raises(StreamReset, match="has failed or was stopped") as caught:
                await call
            assert caught.value.code == kinds.ABANDONED
        with pytest.raises(ZeroDivisionError, match="a mistake"):
            await serving
        await refused(pair, "test")
        assert pair.b.association.up


@virtually
async def test_a_stream_that_ends_early_ends_its_handler_and_no_other() -> None:
    async with linked(delay=0.005) as pair:
        serving = asyncio.create_task(pair.b.link.serve("loud", shout))
        _, writer = await pair.a.link.open_stream("loud")
        writer.write(b"never to be ended")
        await pass_time(0.1)
        writer.reset(3)
        assert await ask(pair, "loud") == b"HELLO"
        await pass_time(1.0)
        assert pair.b.association.streams.open_count == 0
        pair.close()
        await serving


@virtually
async def test_what_a_handler_leaves_open_is_ended_when_it_returns() -> None:
    async with linked(delay=0.005) as pair:

        async def greet(reader: StreamReader, writer: StreamWriter) -> None:
            writer.write(b"hello and good-bye")

        serving = asyncio.create_task(pair.b.link.serve("test", greet))
        reader, writer = await pair.a.link.open_stream("test")
        assert await reader.read() == b"hello and good-bye"
        with pytest.raises(StreamReset) as caught:
            await writer.wait_closed()
        assert caught.value.code == 0
        await pass_time(1.0)
        assert pair.a.association.streams.open_count == 0
        assert pair.b.association.streams.open_count == 0
        pair.close()
        await serving


@virtually
async def test_the_end_of_the_link_ends_handlers_in_their_own_time_or_after_a_while() -> None:
    async with linked(delay=0.005) as pair:
        ended: list[str] = []

        async def read_on(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                await reader.read()
            except LinkClosed:
                ended.append("told")
                raise

        async def sleep_on(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                await wait(reader, writer)
            finally:
                ended.append("cancelled")

        serving = [
            asyncio.create_task(pair.b.link.serve(kind, handler))
            for kind, handler in (("reads", read_on), ("sleeps", sleep_on))
        ]
        for kind in ("reads", "sleeps"):
            await pair.a.link.open_stream(kind)
        await pass_time(0.1)
        began = asyncio.get_running_loop().time()
        pair.b.link.close("enough")
        await serving[0]
        assert ended == ["told"]
        await serving[1]
        assert ended == ["told", "cancelled"]
        assert LAST_TIMEOUT <= asyncio.get_running_loop().time() - began < LAST_TIMEOUT + 1


@virtually
async def test_who_stops_serving_gives_up_what_runs_and_offers_the_kind_no_more() -> None:
    async with linked(delay=0.005) as pair:
        serving = asyncio.create_task(pair.b.link.serve("test", wait))
        reader, _ = await pair.a.link.open_stream("test")
        await pass_time(0.1)
        serving.cancel()
        with pytest.raises(StreamReset) as caught:
            await reader.read()
        assert caught.value.code == kinds.ABANDONED
        await refused(pair, "test")
        again = asyncio.create_task(pair.b.link.serve("test", shout))
        await pass_time(0.1)
        assert await ask(pair, "test") == b"HELLO"
        pair.close()
        await again
        assert serving.cancelled()


@virtually
async def test_handlers_that_outlive_their_streams_are_bounded_too() -> None:
    async with linked(delay=0.001) as pair:
        running = 0
        go_on = asyncio.Event()

        async def linger(reader: StreamReader, writer: StreamWriter) -> None:
            nonlocal running
            running += 1
            await reader.read()
            writer.write_eof()
            await go_on.wait()

        serving = asyncio.create_task(pair.b.link.serve("test", linger))
        asking = [asyncio.ensure_future(ask(pair, "test")) for _ in range(HANDLER_COUNT + 20)]
        await until(lambda: sum(each.done() for each in asking) == HANDLER_COUNT)
        await pass_time(1.0)
        assert running == HANDLER_COUNT
        go_on.set()
        await asyncio.gather(*asking)
        assert running == HANDLER_COUNT + 20
        pair.close()
        await serving
