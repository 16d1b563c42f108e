"""link.control: frames of the control stream, however the bytes arrive."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.link.control import (
    FRAME_SIZE,
    BadFrame,
    ControlFrame,
    ControlReader,
    Credit,
    Done,
    Hello,
    encode,
)
from visavis_peer.link.identity import CERTIFICATE_SIZE

numbers = st.integers(0, 2**64 - 1)
frames: st.SearchStrategy[ControlFrame] = st.one_of(
    st.builds(Hello, certificate=st.binary(max_size=CERTIFICATE_SIZE), signature=st.binary(max_size=256)),
    st.builds(Credit, stream_id=numbers, limit=numbers),
    st.builds(Done, stream_id=numbers),
)


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 4000), max_size=30))
def test_frames_come_out_whole_and_in_order_however_the_bytes_are_split(
    sent: list[ControlFrame], cuts: list[int]
) -> None:
    data = b"".join(encode(frame) for frame in sent)
    reader = ControlReader()
    received: list[ControlFrame] = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(edges):
        received += reader.receive(data[start:end])
    assert received == sent


@given(st.lists(frames, min_size=1, max_size=3))
def test_frames_come_out_byte_by_byte(sent: list[ControlFrame]) -> None:
    reader = ControlReader()
    data = b"".join(encode(frame) for frame in sent)
    assert [frame for byte in data for frame in reader.receive(bytes((byte,)))] == sent


def test_the_layout_is_the_documented_one() -> None:
    assert encode(Credit(4, 65536)) == bytes.fromhex("0011 02 0000000000000004 0000000000010000")
    assert encode(Done(5)) == bytes.fromhex("0009 03 0000000000000005")
    assert encode(Hello(b"cert", b"sig")) == b"\x00\x0a\x01\x00\x04certsig"


def test_frames_of_a_later_version_are_left_out() -> None:
    unknown = struct.pack("!HB", 6, 200) + b"later"
    assert ControlReader().receive(unknown + encode(Done(1))) == [Done(1)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00", "a control frame of 0 bytes"),
        (struct.pack("!H", FRAME_SIZE + 1), f"a control frame of {FRAME_SIZE + 1} bytes"),
        (b"\xff\xff", "a control frame of 65535 bytes"),
        (b"\x00\x01\x01", "malformed control frame of kind 1"),
        (b"\x00\x02\x01\x00", "malformed control frame of kind 1"),
        (b"\x00\x05\x02abcd", "malformed control frame of kind 2"),
        (b"\x00\x12\x02" + bytes(17), "malformed control frame of kind 2"),
        (b"\x00\x05\x03abcd", "malformed control frame of kind 3"),
        (b"\x00\x0a\x03" + bytes(9), "malformed control frame of kind 3"),
    ],
)
def test_what_breaks_the_rules_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(BadFrame, match=reason):
        ControlReader().receive(data)


@given(st.lists(st.binary(max_size=600), max_size=20))
def test_no_bytes_raise_anything_else_or_are_kept_beyond_one_frame(pieces: list[bytes]) -> None:
    reader = ControlReader()
    for piece in pieces:
        try:
            reader.receive(piece)
        except BadFrame:
            return
        assert reader.held_size <= FRAME_SIZE + 2
