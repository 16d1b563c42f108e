"""stun: both ends' codec, against each other and against datagrams from strangers."""

from __future__ import annotations

import contextlib
import ipaddress
import struct

import pytest
from aioice import stun as codec
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.shared.strategies import ips, ports
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    COOKIE,
    HEADER_SIZE,
    Address,
    BindingRequest,
    NotStun,
    binding_error,
    binding_request,
    binding_response,
    looks_like_stun,
    parse,
    parse_binding_request,
    parse_binding_response,
)

ID = b"transaction!"
CLIENT: Address = ("198.51.100.7", 40_000)
addresses = st.tuples(ips, ports)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def request(*attributes: bytes, transaction: bytes = struct.pack("!I", COOKIE) + ID) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HH", 1, len(body)) + transaction + body


def attributes_of(data: bytes) -> dict[int, bytes]:
    found, position = {}, HEADER_SIZE
    while position < len(data):
        kind, size = struct.unpack_from("!HH", data, position)
        found[kind] = data[position + 4 : position + 4 + size]
        position += 4 + size + (-size % 4)
    assert position == len(data)
    return found


@given(
    st.binary(min_size=12, max_size=12),
    st.sampled_from([0, CHANGE_IP, CHANGE_PORT, CHANGE_IP | CHANGE_PORT]),
    st.none() | st.integers(1, 65535),
)
def test_a_request_survives_the_wire(transaction_id: bytes, change: int, response_port: int | None) -> None:
    data = binding_request(transaction_id, change, response_port)
    assert looks_like_stun(data)
    got = parse_binding_request(data)
    assert got == BindingRequest(struct.pack("!I", COOKIE) + transaction_id, change, (), response_port)
    assert not got.classic


def test_a_response_port_may_come_without_its_padding() -> None:
    """RFC 5780 section 7.5 gives no length: some count the padding, some do not."""
    for value in (b"\x12\x34", b"\x12\x34\0\0"):
        assert parse_binding_request(request(attribute(0x0027, value))).response_port == 0x1234


@given(addresses, st.none() | addresses, st.none() | addresses)
def test_a_response_survives_the_wire(mapped: Address, origin: Address | None, other: Address | None) -> None:
    data = binding_response(parse_binding_request(binding_request(ID)), mapped, origin, other)
    response = parse_binding_response(data)
    assert response.transaction_id == ID
    assert same(response.mapped, mapped)
    assert same(response.origin, origin)
    assert same(response.other, other)


def same(a: Address | None, b: Address | None) -> bool:
    if a is None or b is None:
        return a is b
    return ipaddress.ip_address(a[0]) == ipaddress.ip_address(b[0]) and a[1] == b[1]


def test_the_address_of_a_client_is_hidden_from_helpful_middleboxes() -> None:
    """RFC 8489 section 14.2: some NATs rewrite addresses that they find in payloads."""
    data = binding_response(parse_binding_request(request()), CLIENT)
    assert set(attributes_of(data)) == {0x0020}
    assert bytes([198, 51, 100, 7]) not in data


def test_a_request_of_rfc_3489_is_answered_in_its_words() -> None:
    classic = parse_binding_request(request(transaction=b"sixteen bytes id"))
    assert classic.classic
    data = binding_response(classic, CLIENT, ("192.0.2.1", 3478), ("192.0.2.2", 3479))
    assert data[4:20] == b"sixteen bytes id"
    assert attributes_of(data) == {
        0x0001: b"\0\1" + struct.pack("!H4B", 40_000, 198, 51, 100, 7),
        0x0004: b"\0\1" + struct.pack("!H4B", 3478, 192, 0, 2, 1),
        0x0005: b"\0\1" + struct.pack("!H4B", 3479, 192, 0, 2, 2),
    }


@pytest.mark.parametrize("transaction", [struct.pack("!I", COOKIE) + ID, b"sixteen bytes id"])
def test_an_error_names_what_it_did_not_understand(transaction: bytes) -> None:
    asked = parse_binding_request(request(attribute(0x0026, bytes(4)), attribute(0x7001, b""), transaction=transaction))
    assert asked.unknown == (0x0026, 0x7001)
    data = binding_error(asked, 420, "Unknown Attribute")
    assert data[:2] == b"\x01\x11"
    assert data[4:20] == transaction
    assert int.from_bytes(data[2:4]) == len(data) - HEADER_SIZE
    found = attributes_of(data)
    assert found[0x0009] == b"\0\0\x04\x14Unknown Attribute"
    assert found[0x000A] == b"\x00\x26\x70\x01"


def test_an_error_stays_small_however_much_was_unknown() -> None:
    asked = parse_binding_request(request(*(attribute(0x7000 + number, b"") for number in range(100))))
    data = binding_error(asked, 420, "Unknown Attribute")
    assert len(attributes_of(data)[0x000A]) == 16
    assert len(data) < 100


def test_without_unknown_attributes_a_420_is_about_the_change_request() -> None:
    data = binding_error(parse_binding_request(request()), 420, "Unknown Attribute")
    assert attributes_of(data)[0x000A] == b"\x00\x03"


def test_other_errors_name_no_attributes() -> None:
    data = binding_error(parse_binding_request(request()), 400, "Bad Request")
    assert set(attributes_of(data)) == {0x0009}
    with pytest.raises(NotStun, match="no Binding success"):
        parse_binding_response(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        request()[:19],
        request() + b"\0",
        b"\x00\x02" + request()[2:],
        request(attribute(0x0003, b"\0\0")),
        request(attribute(0x0027, b"\0\0\0\0")),
        request(attribute(0x0027, b"\1")),
        request(attribute(0x0027, b"\1\2\3")),
        request(b"\x80\x22\x00"),
        request(struct.pack("!HH", 0x8022, 4)),
        request(struct.pack("!HH", 0x8022, 40) + bytes(8)),
    ],
)
def test_a_malformed_request_is_not_stun(data: bytes) -> None:
    with pytest.raises(NotStun):
        parse_binding_request(data)


def test_known_and_optional_attributes_are_no_reason_to_refuse() -> None:
    known = (0x0001, 0x0003, 0x0006, 0x0008, 0x0014, 0x0015, 0x0020, 0x0024, 0x0025, 0x8022, 0x8028)
    assert parse_binding_request(request(*(attribute(kind, bytes(4)) for kind in known))).unknown == ()


def test_the_last_attribute_may_lack_its_padding() -> None:
    body = struct.pack("!HH", 0x8022, 1) + b"x"
    data = struct.pack("!HH", 1, len(body)) + struct.pack("!I", COOKIE) + ID + body
    assert parse_binding_request(data).unknown == ()


@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda tail: request()[:2] + tail))
def test_no_datagram_raises_anything_but_not_stun(data: bytes) -> None:
    for read in (parse, parse_binding_request, parse_binding_response):
        with contextlib.suppress(NotStun):
            read(data)


@given(st.binary(max_size=100), st.integers(0, 0x3FFF))
def test_no_body_raises_anything_but_not_stun(body: bytes, kind: int) -> None:
    data = struct.pack("!HHI", kind, len(body), COOKIE) + ID + body
    for read in (parse, parse_binding_request, parse_binding_response):
        with contextlib.suppress(NotStun):
            read(data)


def test_a_response_needs_an_address() -> None:
    empty = codec.Message(codec.Method.BINDING, codec.Class.RESPONSE, ID)
    with pytest.raises(NotStun, match="no mapped address"):
        parse_binding_response(bytes(empty))
    empty.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 0)
    with pytest.raises(NotStun, match="no mapped address"):
        parse_binding_response(bytes(empty))


@pytest.mark.parametrize("data", [b"\x80" + bytes(30), b"\x16\xfe\xfd" + bytes(30), b"\0\1\0\0" + bytes(16)])
def test_media_and_dtls_do_not_look_like_stun(data: bytes) -> None:
    assert not looks_like_stun(data)
