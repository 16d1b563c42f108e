"""core.portmap: PCP and NAT-PMP to the byte, and whatever else a gateway may say."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.nat.portmap import (
    PMP_ADDRESS_REQUEST,
    PortMapping,
    Refusal,
    is_useful,
    parse_pcp_response,
    parse_pmp_address,
    parse_pmp_mapping,
    pcp_map_request,
    pmp_map_request,
)

NONCE = bytes(range(12))


def pcp_response(*, code: int = 0, nonce: bytes = NONCE, protocol: int = 17, external: int = 4000) -> bytes:
    """Return a MAP response of RFC 6887 section 11.1, for internal port 5000 at 203.0.113.9."""
    address = ipaddress.IPv6Address("::ffff:203.0.113.9").packed
    head = struct.pack("!BBBBII12x", 2, 0x81, 0, code, 120, 77)
    return head + nonce + struct.pack("!B3xHH", protocol, 5000, external) + address


def test_a_pcp_request_is_that_of_the_rfc() -> None:
    request = pcp_map_request("192.168.1.2", NONCE, 5000, 0, 240)
    assert len(request) == 60
    assert request[:8] == bytes((2, 1, 0, 0)) + (240).to_bytes(4)
    assert request[8:24] == ipaddress.IPv6Address("::ffff:192.168.1.2").packed
    assert request[24:36] == NONCE
    assert request[36:44] == bytes((17, 0, 0, 0)) + (5000).to_bytes(2) + bytes(2)
    assert request[44:] == ipaddress.IPv6Address("::ffff:0.0.0.0").packed
    assert pcp_map_request("2001:db8::1", NONCE, 1, 0, 0)[44:] == bytes(16)


def test_a_pcp_response_is_a_mapping_or_a_refusal() -> None:
    assert parse_pcp_response(pcp_response(), NONCE) == PortMapping("pcp", 5000, "203.0.113.9", 4000, 120)
    assert parse_pcp_response(pcp_response(code=8), NONCE) == Refusal("pcp", 8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pcp_response()[:-1],
        pcp_response(nonce=bytes(12)),
        pcp_response(protocol=6),
        pcp_response(external=0),
        b"\x01" + pcp_response()[1:],
        pcp_map_request("192.168.1.2", NONCE, 5000, 0, 240),
    ],
)
def test_what_is_no_answer_to_this_pcp_request_is_nothing(data: bytes) -> None:
    assert parse_pcp_response(data, NONCE) is None


def test_nat_pmp_to_the_byte() -> None:
    assert PMP_ADDRESS_REQUEST == b"\0\0"
    assert pmp_map_request(5000, 4000, 240) == struct.pack("!BBHHHI", 0, 1, 0, 5000, 4000, 240)
    address = struct.pack("!BBHI4s", 0, 128, 0, 5, ipaddress.IPv4Address("203.0.113.9").packed)
    assert parse_pmp_address(address) == "203.0.113.9"
    assert parse_pmp_address(struct.pack("!BBHI", 0, 128, 3, 5)) == Refusal("nat-pmp", 3)
    mapping = struct.pack("!BBHIHHI", 0, 129, 0, 5, 5000, 4000, 120)
    assert parse_pmp_mapping(mapping, 5000, "203.0.113.9") == PortMapping("nat-pmp", 5000, "203.0.113.9", 4000, 120)
    assert parse_pmp_mapping(mapping, 5001, "203.0.113.9") is None
    assert parse_pmp_mapping(mapping[:-1], 5000, "203.0.113.9") is None
    assert parse_pmp_mapping(struct.pack("!BBHI", 0, 129, 2, 5), 5000, "") == Refusal("nat-pmp", 2)
    assert parse_pmp_address(address[:-1]) is None
    assert parse_pmp_address(mapping) is None


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x02\x81\0\0", b"\0\x80\0\0", b"\0\x81\0\0"]))
def test_nothing_that_comes_in_raises(data: bytes, head: bytes) -> None:
    for answer in (
        parse_pcp_response(head + data, NONCE),
        parse_pmp_address(head + data),
        parse_pmp_mapping(head + data, 5000, "203.0.113.9"),
    ):
        assert answer is None or isinstance(answer, str | Refusal | PortMapping)


@pytest.mark.parametrize(
    ("external", "useful"),
    [("8.8.8.8", True), ("192.168.0.1", False), ("100.64.1.1", False), ("0.0.0.0", False), ("9.9.9.9", False)],
)
def test_a_mapping_behind_another_nat_leads_nowhere(external: str, useful: bool) -> None:
    assert is_useful(PortMapping("pcp", 1, external, 2, 3), "9.9.9.9") is useful
