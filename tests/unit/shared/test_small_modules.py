"""errors, ids, endpoints and limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_shared import limits
from visavis_shared.endpoints import format_address, is_numeric, parse_host_port
from visavis_shared.errors import ErrorCode, RemoteProtocolError, VisavisError
from visavis_shared.ids import hex_id, printable


def test_the_codes_are_the_seed_documents_and_ours() -> None:
    ours = {"RELAY_LIMIT", "RATE_LIMITED"}
    assert [code for code in ErrorCode if code not in ours] == [
        "INVALID_MESSAGE",
        "ROOM_NOT_FOUND",
        "PEER_NOT_FOUND",
        "NOT_IN_ROOM",
        "ALREADY_IN_ROOM",
        "ROOM_FULL",
        "UNAUTHORIZED",
        "INTERNAL_ERROR",
    ]


def test_an_error_says_what_is_wrong() -> None:
    error = RemoteProtocolError(ErrorCode.ROOM_FULL, "room is full", "max_peers: 2")
    assert isinstance(error, VisavisError)
    assert (error.code, error.message, error.details) == (ErrorCode.ROOM_FULL, "room is full", "max_peers: 2")
    assert str(error) == "ROOM_FULL: room is full (max_peers: 2)"
    assert str(RemoteProtocolError(ErrorCode.ROOM_FULL, "room is full")) == "ROOM_FULL: room is full"


def test_ids_are_lower_case_hexadecimal() -> None:
    assert hex_id(b"\x00\xab\xff") == "00abff"


@given(st.text())
def test_untrusted_text_becomes_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\n\u2028", "\\n\\u2028"),
        ("\ud800", "\\ud800"),
        ("é 房", "é 房"),
    ],
)
def test_what_moves_a_cursor_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("address", "text"), [(("192.0.2.1", 80), "192.0.2.1:80"), (("2001:db8::1", 80), "[2001:db8::1]:80")]
)
def test_an_address_is_written_so_that_it_can_be_read(address: tuple[str, int], text: str) -> None:
    assert format_address(address) == text
    assert parse_host_port(text, 1) == address


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("stun.example", ("stun.example", 3478)),
        (" stun.example:5 ", ("stun.example", 5)),
        ("192.0.2.1", ("192.0.2.1", 3478)),
        ("2001:db8::1", ("2001:db8::1", 3478)),
        ("[2001:db8::1]", ("2001:db8::1", 3478)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
        ("host:", ("host", 3478)),
    ],
)
def test_host_and_port_are_read_in_every_form(text: str, parsed: tuple[str, int]) -> None:
    assert parse_host_port(text, 3478) == parsed


@pytest.mark.parametrize("text", ["", ":5", "[::1", "[::1]x", "[]:5", "host:0", "host:65536", "host:x", "host:-1"])
def test_what_is_no_host_and_port_is_explained(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_host_port(text, 3478)


@pytest.mark.parametrize(("host", "numeric"), [("192.0.2.1", True), ("::1", True), ("host", False), ("", False)])
def test_addresses_are_told_from_names(host: str, numeric: bool) -> None:
    assert is_numeric(host) is numeric


def test_every_limit_states_its_reason() -> None:
    names = [name for name in vars(limits) if name.isupper()]
    assert names
    assert all(isinstance(getattr(limits, name), int) and getattr(limits, name) > 0 for name in names)
