"""core.kinds: the header of a stream, whole and in pieces, right and wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.link.kinds import KIND_SIZE, PIPE, TEXT, BadHeader, HeaderReader, header

KINDS = st.from_regex(re.compile(rf"\A[a-z0-9._/-]{{1,{KIND_SIZE}}}\Z"))


@given(KINDS, st.binary(max_size=300), st.data())
def test_a_header_is_read_in_whatever_pieces_it_comes(kind: str, after: bytes, data: st.DataObject) -> None:
    whole = header(kind) + after
    cut = data.draw(st.integers(0, len(header(kind)) - 1))
    reader = HeaderReader()
    assert reader.receive(whole[:cut]) is None
    assert reader.receive(b"") is None
    assert reader.receive(whole[cut:]) == (kind, after)


def test_a_header_that_comes_byte_by_byte_is_complete_with_its_last_byte() -> None:
    reader = HeaderReader()
    found = [reader.receive(bytes((byte,))) for byte in header(PIPE)]
    assert found == [None] * len(PIPE) + [(PIPE, b"")]


@given(st.binary(min_size=1, max_size=200))
def test_whatever_comes_is_a_kind_or_waited_for_or_refused(data: bytes) -> None:
    try:
        found = HeaderReader().receive(data)
    except BadHeader:
        return
    if found is None:
        assert len(data) <= KIND_SIZE
    else:
        assert header(found[0]) + found[1] == data


@pytest.mark.parametrize("first", [0, KIND_SIZE + 1, 255])
def test_a_length_that_no_kind_has_is_refused_with_its_first_byte(first: int) -> None:
    with pytest.raises(BadHeader):
        HeaderReader().receive(bytes((first,)))


@pytest.mark.parametrize("wrong", ["", "x" * (KIND_SIZE + 1), "Text", "two words", "ümlaut", "line\n", "nul\0"])
def test_what_cannot_be_a_kind_is_refused_on_both_sides(wrong: str) -> None:
    with pytest.raises(ValueError, match="the kind of a stream must be"):
        header(wrong)
    data = wrong.encode()
    with pytest.raises(BadHeader):
        HeaderReader().receive(bytes((len(data) % 256,)) + data)


def test_the_programs_own_kinds_are_kinds() -> None:
    assert len(header(TEXT)) == 13
    assert len(header(PIPE)) == 13
