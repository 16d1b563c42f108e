"""core.frames: any split of any valid stream reads the same; every rule of RFC 6455 that a client can break."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ws_raw import client_frame
from visavis_server.core import frames
from visavis_server.core.frames import FrameReader, Violation, close_code, close_frame, frame

LIMIT = 1000


def unmask(mask: bytes, payload: bytearray) -> None:
    for index in range(len(payload)):
        payload[index] ^= mask[index % 4]


def reader() -> FrameReader:
    return FrameReader(LIMIT, unmask)


MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([frames.TEXT, frames.BINARY]), st.binary(max_size=400)),
        st.tuples(st.sampled_from([frames.PING, frames.PONG]), st.binary(max_size=125)),
    ),
    max_size=6,
)


@given(MESSAGES, st.data())
def test_a_stream_may_be_cut_anywhere(messages: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(client_frame(opcode, payload) for opcode, payload in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    most = data.draw(st.integers(1, 8))
    parser = reader()
    read = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        portions = [parser.receive(stream[start:stop], most)]
        while parser.has_more:
            portions.append(parser.receive(b"", most))
        assert max(map(len, portions)) <= most
        read += [message for portion in portions for message in portion]
    assert read == messages
    assert parser.violation is None


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=8), st.sampled_from([frames.TEXT, frames.BINARY]))
def test_a_message_may_come_in_any_fragments(parts: list[bytes], opcode: int) -> None:
    stream = b""
    for index, part in enumerate(parts):
        stream += client_frame(0 if index else opcode, part, fin=index == len(parts) - 1)
        stream += client_frame(frames.PING, b"p")
    read = reader().receive(stream)
    assert [message for message in read if message[0] != frames.PING] == [(opcode, b"".join(parts))]
    assert read.count((frames.PING, b"p")) == len(parts)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise_or_hoard(data: bytes) -> None:
    parser = reader()
    for index in range(0, len(data), 7):
        parser.receive(data[index : index + 7])
    assert len(parser._tail) <= LIMIT + 14
    assert len(parser._partial) <= LIMIT


@pytest.mark.parametrize(("size", "fits"), [(LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("fragments", [1, 2])
def test_the_limit_is_exact(size: int, fits: bool, fragments: int) -> None:
    payload = b"x" * size
    stream = client_frame(frames.TEXT, payload)
    if fragments == 2:
        stream = client_frame(frames.TEXT, payload[:10], fin=False) + client_frame(0, payload[10:])
    parser = reader()
    assert parser.receive(stream) == ([(frames.TEXT, payload)] if fits else [])
    assert parser.violation == (None if fits else Violation(1009, "message larger than 1000 bytes"))


def test_a_ping_beside_a_message_near_the_limit_is_no_offence() -> None:
    parser = reader()
    parser.receive(client_frame(frames.TEXT, b"x" * LIMIT, fin=False))
    assert parser.receive(client_frame(frames.PING, b"p" * 125)) == [(frames.PING, b"p" * 125)]
    assert parser.receive(client_frame(0, b"")) == [(frames.TEXT, b"x" * LIMIT)]


def test_every_length_encoding_is_read() -> None:
    mask = bytes(4)
    for head in (b"\x81\x85", b"\x81\xfe\x00\x05", b"\x81\xff" + (5).to_bytes(8)):
        assert reader().receive(head + mask + b"hello") == [(frames.TEXT, b"hello")]


@pytest.mark.parametrize("size", [5, 200, 70_000])
def test_a_frame_may_come_byte_by_byte(size: int) -> None:
    parser = FrameReader(70_000, unmask)
    read = [message for byte in client_frame(frames.TEXT, b"x" * size) for message in parser.receive(bytes([byte]))]
    assert read == [(frames.TEXT, b"x" * size)]


@given(
    st.lists(st.tuples(st.sampled_from([frames.TEXT, frames.BINARY]), st.integers(0, 3 * frames.LARGE)), max_size=8),
    st.lists(st.integers(0, 60_000), max_size=12),
    st.integers(1, 3),
)
def test_messages_are_the_same_wherever_the_network_cuts_them(
    shapes: list[tuple[int, int]], cuts: list[int], most: int
) -> None:
    sent = [(opcode, random.Random(index).randbytes(size)) for index, (opcode, size) in enumerate(shapes)]
    stream = b"".join(client_frame(opcode, payload) for opcode, payload in sent)
    parser = FrameReader(3 * frames.LARGE, unmask)
    read = []
    for start, stop in pairwise([0, *sorted(cuts), max([len(stream), *cuts])]):
        read += parser.receive(stream[start:stop], most)
        while parser.has_more:
            read += parser.receive(b"", most)
    assert read == sent
    assert parser.violation is None


def test_after_a_violation_nothing_is_read() -> None:
    parser = reader()
    ping = client_frame(frames.PING)
    assert parser.receive(ping + client_frame(3) + ping) == [(frames.PING, b"")]
    assert parser.receive(ping) == []


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_assigned_close_codes_pass(code: int) -> None:
    ((opcode, payload),) = reader().receive(client_frame(frames.CLOSE, code.to_bytes(2) + "é".encode()))
    assert (opcode, close_code(payload)) == (frames.CLOSE, code)


def test_empty_fragments_are_few() -> None:
    """They add nothing to a message's size, so that they have a bound of their own."""
    parser = reader()
    begin, more, end = client_frame(frames.TEXT, b"", fin=False), client_frame(0, b"", fin=False), client_frame(0, b"x")
    for _ in range(3):
        assert parser.receive(begin + more * (frames.EMPTY_COUNT - 1) + end) == [(frames.TEXT, b"x")]
    assert parser.receive(begin + more * frames.EMPTY_COUNT) == []
    assert parser.violation == Violation(1008, "more than 64 empty fragments in a message")


def test_an_empty_close_has_no_code() -> None:
    ((_, payload),) = reader().receive(client_frame(frames.CLOSE))
    assert close_code(payload) is None


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 5000])
def test_other_close_codes_do_not(code: int) -> None:
    parser = reader()
    assert parser.receive(client_frame(frames.CLOSE, code.to_bytes(2))) == []
    assert parser.violation == Violation(1002, "invalid close code")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_says_its_length_in_as_few_bytes_as_possible(size: int) -> None:
    written = frame(frames.TEXT, b"x" * size)
    head = {0: 2, 1: 2, 125: 2, 126: 4, 65_535: 4, 65_536: 10}[size]
    assert written[head:] == b"x" * size
    assert written[0] == 0x81


def test_a_close_frame_fits_whatever_its_reason() -> None:
    assert close_frame(None) == b"\x88\x00"
    assert close_frame(1000) == b"\x88\x02\x03\xe8"
    written = close_frame(1013, "é" * 100)
    assert len(written) <= 2 + 125
    written[4:].decode()
