"""core.stun: which answer, from where, and how large."""

from __future__ import annotations

import struct

import pytest
from aioice import stun as codec
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.stun import (
    BURST,
    NONCE_LIFETIME,
    RATE,
    TOTAL_BURST,
    TOTAL_RATE,
    Answer,
    StunLimiter,
    StunService,
)
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    Address,
    binding_request,
    looks_like_stun,
    offered_nonce,
    parse,
    parse_binding_response,
)

ID = b"transaction!"
CLIENT = ("198.51.100.7", 40_000)
CLIENT6 = ("2001:db8::7", 40_000)
TWO = StunService((3478, 3479), ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"))
ONE = StunService((3478, 3479), ("192.0.2.1",))
ANY = StunService((3478, 3479))
CLASSIC = b"\x00\x01\x00\x00" + b"sixteen bytes id"


def limiter_for(*known: str, burst: int = BURST, total_burst: int = TOTAL_BURST) -> StunLimiter:
    return StunLimiter(lambda ip: ip in known, burst=burst, total_burst=total_burst)


def answer(service: StunService, data: bytes, local: Address, source: Address = CLIENT) -> Answer | None:
    return service.answer(data, source, local, limiter_for(), 0.0)


def answered(service: StunService, data: bytes, local: Address, source: Address = CLIENT) -> Answer:
    got = answer(service, data, local, source)
    assert got is not None
    return got


@pytest.mark.parametrize(
    ("service", "local", "other"),
    [
        (TWO, ("192.0.2.1", 3478), ("192.0.2.2", 3479)),
        (TWO, ("192.0.2.2", 3479), ("192.0.2.1", 3478)),
        (TWO, ("192.0.2.1", 3479), ("192.0.2.2", 3478)),
        (ONE, ("192.0.2.1", 3478), ("192.0.2.1", 3479)),
        (ANY, ("10.0.0.1", 3479), ("10.0.0.1", 3478)),
    ],
)
def test_a_request_is_answered_from_where_it_was_asked(service: StunService, local: Address, other: Address) -> None:
    got = answered(service, binding_request(ID), local)
    response = parse_binding_response(got.data)
    assert got.origin == local
    assert (response.transaction_id, response.mapped) == (ID, CLIENT)
    assert (response.origin, response.other) == (local, other)


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        (CHANGE_PORT, ("192.0.2.1", 3479)),
        (CHANGE_IP, ("192.0.2.2", 3478)),
        (CHANGE_IP | CHANGE_PORT, ("192.0.2.2", 3479)),
    ],
)
def test_with_two_addresses_every_change_request_is_honoured(change: int, origin: Address) -> None:
    got = answered(TWO, binding_request(ID, change), ("192.0.2.1", 3478))
    assert got.origin == origin
    assert parse_binding_response(got.data).origin == origin


def test_ipv6_stays_with_ipv6() -> None:
    got = answered(TWO, binding_request(ID, CHANGE_IP), ("2001:db8::1", 3478), CLIENT6)
    assert got.origin == ("2001:db8::2", 3478)
    assert parse_binding_response(got.data).mapped == CLIENT6


@pytest.mark.parametrize("service", [ONE, ANY])
@pytest.mark.parametrize("change", [CHANGE_IP, CHANGE_IP | CHANGE_PORT])
def test_a_change_of_address_that_cannot_be_is_refused_and_never_answered(service: StunService, change: int) -> None:
    """A normal answer would make a client believe that its NAT lets anybody in."""
    got = answered(service, binding_request(ID, change), ("192.0.2.1", 3478))
    message = parse(got.data)
    assert got.origin == ("192.0.2.1", 3478)
    assert message.message_class is codec.Class.ERROR
    assert message.attributes["ERROR-CODE"][0] == 420


@pytest.mark.parametrize("service", [ONE, ANY])
def test_a_change_of_port_works_with_one_address(service: StunService) -> None:
    got = answered(service, binding_request(ID, CHANGE_PORT), ("192.0.2.1", 3478))
    assert got.origin == ("192.0.2.1", 3479)


def test_where_the_own_address_is_unknown_it_is_left_out() -> None:
    got = answered(ANY, binding_request(ID), ("", 3478))
    response = parse_binding_response(got.data)
    assert (got.origin, response.mapped, response.origin, response.other) == (("", 3478), CLIENT, None, None)


def test_a_client_of_rfc_3489_gets_its_own_words() -> None:
    got = answered(TWO, CLASSIC, ("192.0.2.1", 3478))
    assert got.data[:2] == b"\x01\x01"
    assert got.data[4:20] == CLASSIC[4:], "all 16 bytes of its transaction id"
    kinds, position = [], 20
    while position < len(got.data):
        kind, size = struct.unpack_from("!HH", got.data, position)
        kinds.append(kind)
        position += 4 + size
    assert kinds == [0x0001, 0x0004, 0x0005], "MAPPED-ADDRESS, SOURCE-ADDRESS, CHANGED-ADDRESS"


def test_an_unknown_required_attribute_is_named() -> None:
    data = binding_request(ID)
    data = data[:2] + struct.pack("!H", 8) + data[4:] + struct.pack("!HHI", 0x0026, 4, 0)
    got = answered(TWO, data, ("192.0.2.1", 3478))
    assert parse(got.data).attributes["ERROR-CODE"][0] == 420
    assert struct.pack("!HHHH", 0x000A, 2, 0x0026, 0) in got.data


def test_an_unknown_optional_attribute_is_ignored() -> None:
    data = binding_request(ID)
    data = data[:2] + struct.pack("!H", 8) + data[4:] + struct.pack("!HHI", 0x8022, 4, 0)
    assert parse_binding_response(answered(TWO, data, ("192.0.2.1", 3478)).data).mapped == CLIENT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        bytes(20),
        binding_request(ID)[:-1],
        binding_request(ID) + b"x",
        b"\x01\x01" + binding_request(ID)[2:],
        b"\x00\x11" + binding_request(ID)[2:],
        b"\x00\x03" + binding_request(ID)[2:],
        b"\x80" + bytes(40),
        b"\x16\xfe\xfd" + bytes(40),
    ],
)
def test_anything_else_is_dropped_in_silence(data: bytes) -> None:
    assert answer(TWO, data, ("192.0.2.1", 3478)) is None


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: binding_request(ID)[:20] + tail))
def test_no_datagram_makes_it_raise_or_answer_with_anything_but_stun(data: bytes) -> None:
    got = answer(TWO, data, ("192.0.2.1", 3478))
    assert got is None or looks_like_stun(got.data) or got.data[:2] in (b"\x01\x01", b"\x01\x11")


def test_answers_stay_small() -> None:
    """docs/protocol.md states these numbers: 28 (IPv4) or 48 (IPv6) bytes of headers come on top both ways."""
    request = binding_request(ID)
    unknown = len(answered(ANY, request, ("", 3478)).data)
    ipv4 = len(answered(TWO, request, ("192.0.2.1", 3478)).data)
    ipv6 = len(answered(TWO, request, ("2001:db8::1", 3478), CLIENT6).data)
    assert (len(request), unknown, ipv4, ipv6) == (20, 32, 56, 92)
    assert (ipv4 + 28) / (len(request) + 28) == 1.75
    assert round((ipv6 + 48) / (len(request) + 48), 2) == 2.06
    refused = binding_request(ID, CHANGE_IP)
    assert len(answered(ONE, refused, ("192.0.2.1", 3478)).data) <= 2 * len(refused) + 8


def test_a_client_that_surveys_its_nat_is_not_hindered_and_a_flood_is() -> None:
    limiter = limiter_for()
    request, local = binding_request(ID), ("192.0.2.1", 3478)
    at_once = sum(TWO.answer(request, CLIENT, local, limiter, 0.0) is not None for _ in range(1000))
    assert at_once == BURST >= 4 * 50
    later = sum(TWO.answer(request, CLIENT, local, limiter, 10.0) is not None for _ in range(1000))
    assert later == 10 * RATE
    assert TWO.answer(request, ("198.51.100.8", 1), local, limiter, 10.0) is not None, "others are served"


def test_garbage_costs_no_tokens() -> None:
    limiter = limiter_for(burst=1)
    for _ in range(100):
        assert TWO.answer(b"junk", CLIENT, ("192.0.2.1", 3478), limiter, 0.0) is None
    assert TWO.answer(binding_request(ID), CLIENT, ("192.0.2.1", 3478), limiter, 0.0) is not None


def asked(response_port: int, nonce: bytes = b"", source: Address = CLIENT, now: float = 0.0) -> Answer:
    service = StunService(ANY.ports, nonce_key=bytes(32))
    got = service.answer(binding_request(ID, 0, response_port, nonce), source, ("192.0.2.1", 3478), limiter_for(), now)
    assert got is not None
    return got


def test_nothing_goes_to_another_port_of_who_has_not_read_an_answer() -> None:
    """Its address may be forged: the answer to that is small, and goes where the request came from."""
    first = asked(53)
    assert (first.port, parse(first.data).attributes["ERROR-CODE"][0]) == (None, 438)
    assert len(first.data) <= 60
    nonce = offered_nonce(first.data)
    assert asked(53, nonce).port == 53
    assert parse_binding_response(asked(53, nonce).data).mapped == CLIENT
    assert asked(53, nonce, ("198.51.100.7", 40_001)).port == 53, "of any socket of that address"
    assert asked(53, nonce, ("198.51.100.8", 40_000)).port is None
    assert asked(53, nonce[:-1]).port is None
    assert asked(53, bytes(len(nonce))).port is None


def test_a_nonce_is_good_for_a_while_and_not_for_ever() -> None:
    nonce = offered_nonce(asked(53, now=NONCE_LIFETIME - 1).data)
    assert asked(53, nonce, now=NONCE_LIFETIME + 1).port == 53
    assert asked(53, nonce, now=2 * NONCE_LIFETIME - 1).port == 53
    assert asked(53, nonce, now=2 * NONCE_LIFETIME + 1).port is None


def test_all_strangers_together_have_a_bound_that_keeps_out_nobody_who_is_connected() -> None:
    limiter = limiter_for("198.51.100.7", total_burst=1000)
    request, local = binding_request(ID), ("192.0.2.1", 3478)

    def answered_of(count: int, now: float) -> int:
        forged = [(f"10.{number >> 8}.{number & 255}.1", 1) for number in range(count)]
        return sum(TWO.answer(request, source, local, limiter, now) is not None for source in forged)

    assert answered_of(3000, 0.0) == 1000
    assert answered_of(3000, 0.1) == TOTAL_RATE * 0.1
    assert TWO.answer(request, ("203.0.113.1", 1), local, limiter, 0.1) is None
    assert TWO.answer(request, CLIENT, local, limiter, 0.1) is not None


def test_errors_of_other_kinds_and_what_is_no_stun_offer_no_nonce() -> None:
    assert offered_nonce(answered(ONE, binding_request(ID, CHANGE_IP), ("192.0.2.1", 3478)).data) == b""
    assert offered_nonce(answered(ONE, binding_request(ID), ("192.0.2.1", 3478)).data) == b""
    assert offered_nonce(b"junk") == b""
