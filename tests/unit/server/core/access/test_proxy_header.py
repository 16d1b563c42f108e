"""core.access.proxy_header: what haproxy and others send, and what nobody should."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.access.proxy_header import (
    HEADER_SIZE,
    MalformedHeader,
    ProxyHeader,
    is_header,
    may_begin,
    parse,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(source: str, port: int, *, command: int = 0x21, tlvs: bytes = b"") -> bytes:
    packed = ipaddress.ip_address(source).packed
    addresses = packed + bytes(len(packed)) + struct.pack("!HH", port, 443) + tlvs
    family = 0x11 if len(packed) == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


def test_lines_name_the_client() -> None:
    line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
    assert parse(line + b"GET /") == ProxyHeader(len(line), ("192.0.2.1", 56324))
    line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"
    assert parse(line) == ProxyHeader(len(line), ("2001:db8::1", 1))
    assert parse(b"PROXY UNKNOWN\r\nGET") == ProxyHeader(15, None)
    assert parse(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n") == ProxyHeader(35, None)


@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
def test_binary_headers_name_the_client(source: str) -> None:
    header = binary(source, 5, tlvs=b"\x04\x00\x03abc")
    assert parse(header + b"\x16\x03\x01") == ProxyHeader(len(header), (source, 5))


@pytest.mark.parametrize("source", ["::ffff:192.0.2.1", "::FFFF:c000:0201"])
def test_an_ipv4_client_of_a_dual_stack_proxy_is_counted_by_its_own_address(source: str) -> None:
    line = f"PROXY TCP6 {source} ::1 1 2\r\n".encode()
    assert parse(line) == ProxyHeader(len(line), ("192.0.2.1", 1))
    packed = ipaddress.IPv6Address(source).packed
    header = SIGNATURE + struct.pack("!BBH", 0x21, 0x21, 36) + packed + bytes(16) + struct.pack("!HH", 1, 443)
    assert parse(header) == ProxyHeader(len(header), ("192.0.2.1", 1))


def test_a_proxy_that_speaks_for_itself_names_nobody() -> None:
    header = binary("192.0.2.1", 5, command=0x20)
    assert parse(header) == ProxyHeader(len(header), None)
    unix = SIGNATURE + struct.pack("!BBH", 0x21, 0x31, 216) + bytes(216)
    assert parse(unix) == ProxyHeader(len(unix), None)


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", binary("192.0.2.1", 5)])
def test_every_part_of_one_is_incomplete(header: bytes) -> None:
    assert all(parse(header[:size]) is None for size in range(1, len(header)))
    assert all(may_begin(header[:size]) for size in range(1, len(header)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        b"PROXY TCP4 2001:db8::1 198.51.100.1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        b"PROXY TCP4 \xff 198.51.100.1 1 443\r\n",
        b"PROXY SCTP 192.0.2.1 198.51.100.1 1 443\r\n",
        b"PROXY " + b"x" * 120,
        SIGNATURE + struct.pack("!BBH", 0x31, 0x11, 12) + bytes(12),
        SIGNATURE + struct.pack("!BBH", 0x22, 0x11, 12) + bytes(12),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 11) + bytes(11),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, HEADER_SIZE),
    ],
)
def test_what_is_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedHeader):
        parse(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_no_bytes_raise_anything_else(data: bytes, start: bytes) -> None:
    try:
        header = parse(start + data)
    except MalformedHeader:
        return
    assert header is None or 0 < header.size <= len(start + data)


def test_http_and_tls_are_no_headers() -> None:
    for data in (b"GET / HTTP/1.1", b"POST /api", b"PUT /", b"PATCH /", b"PROPFIND /", b"\x16\x03\x01"):
        assert not is_header(data)
        assert not may_begin(data)
