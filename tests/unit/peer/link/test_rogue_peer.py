"""link: what a peer that keeps to no rule can do: end the link, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.conditions import until
from tests.support.memory import memory_bound
from tests.support.raw_peer import RawPeer
from tests.support.virtual_time import pass_time, virtually
from visavis_peer.core.link import kinds, liveness
from visavis_peer.core.link.credits import STREAM_COUNT, WINDOW_BASE
from visavis_peer.errors import LinkClosed
from visavis_peer.link import control, quic
from visavis_peer.link.quic import SecureConnection
from visavis_peer.link.streams import HEADER_TIMEOUT, LINGERING_COUNT, UNREAD_COUNT

MIB = 1 << 20
MEMORY = 8 * MIB
"""Bytes that a link may take, whatever its peer does."""


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
        peer.connection.send_stream(4, kinds.header("test") + bytes(WINDOW_BASE))
        await peer.turn()
        reader, _ = await peer.end.link.accept_stream("test")
        assert peer.end.association.up
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
        # what the first stream of a process leaves for good is none of this one's
        peer.connection.send_stream(8, kinds.header("test") + b"tiny", end=True)
        await peer.turn()
        first, _ = await peer.end.link.accept_stream("test")
        assert await first.readexactly(4) == b"tiny"
        async with memory_bound(4 * size):
            peer.connection.send_stream(4, kinds.header("test") + bytes(WINDOW_BASE))
            await peer.turn()
            for _ in range((size - WINDOW_BASE) // 4):
                peer.connection.send_stream(4, b"tiny")
                await peer.turn()
                peer.events.clear()
        assert peer.end.association.up
        reader, _ = await peer.end.link.accept_stream("test")
        assert len(await reader.readexactly(size)) == size


@virtually
async def test_a_peer_that_opens_streams_without_end_loses_the_link() -> None:
    """Ended and stopped at once, a stream does not count for the engine; nobody accepts them."""
    async with raw() as peer:
        async with memory_bound(MEMORY):
            for number in range(1, 3000):
                peer.connection.send_stream(4 * number, kinds.header("test") + bytes(4096), end=True)
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
                peer.connection.send_stream(4 * number, kinds.header("test"), end=True)
                await peer.turn()
                if peer.end.link.closed_reason:
                    break
                reader, writer = await peer.end.link.accept_stream("test")
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
        peer.connection.send_stream(4, kinds.header("test") + b"still heard")
        await peer.turn()
        reader, _ = await peer.end.link.accept_stream("test")
        assert await reader.readexactly(11) == b"still heard"


@virtually
async def test_credit_that_is_taken_back_or_has_no_end_does_no_harm() -> None:
    async with raw() as peer:
        _, writer = await peer.end.link.open_stream("test")
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
        assert received == MIB + len(kinds.header("test"))
        assert peer.end.association.up


@virtually
async def test_a_peer_that_says_it_has_read_what_was_never_sent_ends_the_link() -> None:
    async with raw() as peer:
        _, writer = await peer.end.link.open_stream("test")
        writer.write(b"and no end")
        peer.connection.send_control(control.Done(writer.stream_id))
        await peer.turn()
        await closed_for(peer, "the peer sends DONE for a stream that has not ended")
        with pytest.raises(LinkClosed):
            await writer.wait_closed()


@virtually
async def test_a_control_stream_that_breaks_the_rules_ends_the_link() -> None:
    async with raw() as peer:
        peer.connection.send_stream(quic.CONTROL_STREAM, b"\xff\xff")
        await peer.turn()
        await closed_for(peer, "a control frame of 65535 bytes")


@virtually
async def test_a_stream_without_a_header_is_refused_and_the_others_go_on() -> None:
    async with raw() as peer:
        wrong = (
            b"\x00plain",
            b"GET / HTTP/1.1",
            b"\xff" + bytes(4000),
            b"\x40\x41" + b"x" * 65,
            b"\x04Test",
            b"\x03\x1b[m",
        )
        for number, data in enumerate(wrong, 1):
            peer.connection.send_stream(4 * number, data)
        peer.connection.send_stream(4 * 50, kinds.header("test") + b"right")
        await peer.turn()
        reader, _ = await peer.end.link.accept_stream("test")
        assert await reader.readexactly(5) == b"right"
        await until(lambda: len(peer.heard(quic.StreamAborted)) == len(wrong))
        assert set(peer.heard(quic.StreamAborted)) == {
            quic.StreamAborted(4 * number, kinds.BAD_HEADER) for number in range(1, len(wrong) + 1)
        }
        assert peer.end.association.up


@virtually
async def test_a_stream_that_ends_or_is_given_up_amid_its_header_is_refused() -> None:
    async with raw() as peer:
        peer.connection.send_stream(4, kinds.header("test")[:3], end=True)
        peer.connection.send_stream(8, b"", end=True)
        peer.connection.send_stream(12, kinds.header("test")[:3])
        await peer.turn()
        peer.connection.reset_stream(12, 7)
        await peer.turn()
        await until(lambda: len(peer.heard(quic.StreamAborted)) == 3)
        assert {each.code for each in peer.heard(quic.StreamAborted) if isinstance(each, quic.StreamAborted)} == {
            kinds.BAD_HEADER
        }
        await pass_time(1.0)
        assert peer.end.association.streams.open_count == 0


@virtually
async def test_a_header_may_come_byte_by_byte_and_what_follows_it_is_the_applications() -> None:
    async with raw() as peer:
        for byte in kinds.header("test") + b"then":
            peer.connection.send_stream(4, bytes((byte,)))
            await peer.turn()
        reader, _ = await peer.end.link.accept_stream("test")
        assert await reader.readexactly(4) == b"then"


@virtually
async def test_a_header_that_never_comes_is_waited_for_so_long_and_no_longer() -> None:
    async with raw() as peer:
        for number in range(1, STREAM_COUNT + 1):
            peer.connection.send_stream(4 * number, kinds.header("test")[:-1])
        await peer.turn()
        assert peer.end.association.streams.open_count == STREAM_COUNT
        await pass_time(HEADER_TIMEOUT - 1)
        assert not peer.heard(quic.StreamAborted)
        await pass_time(2.0)
        assert len(peer.heard(quic.StreamAborted)) == STREAM_COUNT
        assert peer.end.association.streams.open_count == 0
        assert peer.end.association.up


@virtually
async def test_ten_thousand_unknown_kinds_are_refused_one_by_one_and_leave_nothing_behind() -> None:
    async with raw() as peer:
        offering = asyncio.create_task(peer.end.link.accept_stream("test"))
        refused = 0
        async with memory_bound(MEMORY):
            for number in range(1, 10_001):
                peer.connection.send_stream(4 * number, kinds.header(f"unknown/{number}") + b"x", end=True)
                if number % 16 == 0:
                    await peer.turn()
                    refused += len(peer.heard(quic.StreamAborted))
                    peer.events.clear()
        await pass_time(1.0)
        refused += len(peer.heard(quic.StreamAborted))
        assert refused == 10_000
        assert peer.end.association.streams.open_count == 0
        peer.connection.send_stream(40_004, kinds.header("test"))
        await peer.turn()
        await offering


@virtually
async def test_streams_of_one_direction_are_not_for_applications_and_do_no_harm() -> None:
    async with raw() as peer:
        for stream_id in (2, 6, 10):
            peer.connection.send_stream(stream_id, kinds.header("test") + bytes(100_000))
            await peer.turn()
        for stream_id in (4, 8):
            peer.connection.send_stream(stream_id, kinds.header("test"))
            await peer.turn()
        for stream_id in (4, 8):
            reader, _ = await peer.end.link.accept_stream("test")
            assert reader.stream_id == stream_id
        assert peer.end.association.up


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
        assert peer.end.association.up


@pytest.mark.parametrize("answers", [True, False])
def test_a_peer_that_makes_the_link_send_and_never_answers_loses_it(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine keeps a record of each datagram until a later one is acknowledged."""
    monkeypatch.setattr(liveness, "UNANSWERED_COUNT", 512)
    monkeypatch.setattr(liveness, "ASK_COUNT", 32)

    @virtually
    async def flood() -> None:
        async with raw() as peer:
            connection = peer.end.connection
            next_event = connection.next_event

            def without_answers() -> quic.ConnectionEvent | None:
                event = next_event()
                while isinstance(event, quic.Alive):
                    event = next_event()
                return event

            if not answers:
                monkeypatch.setattr(connection, "next_event", without_answers)
            for _ in range(1000):
                peer.connection.send_datagram(bytes((control.PING,)) + bytes(8))
                await peer.turn()
                peer.events.clear()
                if peer.end.link.closed_reason:
                    break
            assert peer.end.link.closed_reason == (None if answers else "the peer acknowledges nothing")
            if not answers:
                assert isinstance(peer.end.link.error, LinkClosed)

    flood()
