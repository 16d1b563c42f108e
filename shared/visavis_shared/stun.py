"""STUN messages (RFC 8489, RFC 5780) on aioice's codec, made safe for datagrams from strangers.

aioice's parser raises several kinds of error on malformed input, does not check the magic cookie, and cannot answer
the cookie-less requests of RFC 3489; its writer cannot leave XOR-MAPPED-ADDRESS out. This module is the one place
that knows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from aioice import stun as codec

from visavis_shared.errors import VisavisError

Message = codec.Message
Class = codec.Class
Method = codec.Method
"""aioice's message, its classes and methods, for what no function here makes or reads."""

COOKIE: Final = codec.COOKIE
HEADER_SIZE: Final = codec.HEADER_LENGTH
"""Bytes (RFC 8489 section 5)."""

CHANGE_IP: Final = 0x04
CHANGE_PORT: Final = 0x02
"""Flags of CHANGE-REQUEST (RFC 5780 section 7.2)."""

Address = tuple[str, int]
"""IP address and UDP port."""

_BINDING_REQUEST: Final = 0x0001


class NotStun(VisavisError):
    """A datagram that is no well-formed STUN message."""


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """A Binding request as a server sees it."""

    transaction: bytes
    """16 bytes: the magic cookie and the transaction id, or the 16-byte id of RFC 3489."""
    change: int
    """CHANGE-REQUEST flags, 0 when absent."""
    unknown: tuple[int, ...]
    """Comprehension-required attributes that this server does not know (RFC 8489 section 6.3.1)."""
    response_port: int | None = None
    """RESPONSE-PORT: to which port of the client's address the response is to go; None when absent."""
    nonce: bytes = b""
    """NONCE: what the server has sent to this client's address earlier, empty when absent."""

    @property
    def classic(self) -> bool:
        """Whether the request has no magic cookie, so its sender speaks RFC 3489."""
        return int.from_bytes(self.transaction[:4]) != COOKIE


@dataclass(frozen=True, slots=True)
class BindingResponse:
    """What a client learns from a Binding success response."""

    transaction_id: bytes
    mapped: Address
    origin: Address | None
    """RESPONSE-ORIGIN: the address the server answered from."""
    other: Address | None
    """OTHER-ADDRESS: the server's second address and port, where it has them (RFC 5780 section 7.4)."""


_RESPONSE_PORT: Final = 0x0027
"""Attribute type (RFC 5780 section 7.5)."""
_NONCE: Final = 0x0015
"""Attribute type (RFC 8489 section 14.10)."""
STALE_NONCE: Final = 438
"""Error code that brings the NONCE to ask again with (section 14.8)."""
# MAPPED-ADDRESS, CHANGE-REQUEST, USERNAME, MESSAGE-INTEGRITY, REALM, NONCE, XOR-MAPPED-ADDRESS, PRIORITY, USE-CANDIDATE
_KNOWN_REQUIRED: Final = frozenset({0x0001, 0x0003, 0x0006, 0x0008, 0x0014, 0x0015, 0x0020, 0x0024, 0x0025})


def looks_like_stun(data: bytes) -> bool:
    """Whether the first two bits, the length and the magic cookie say STUN (RFC 8489 section 5, RFC 7983)."""
    return (
        len(data) >= HEADER_SIZE
        and data[0] < 4
        and int.from_bytes(data[4:8]) == COOKIE
        and int.from_bytes(data[2:4]) == len(data) - HEADER_SIZE
    )


def parse(data: bytes) -> codec.Message:
    """Read any STUN message with a magic cookie.

    Raises NotStun, whatever is wrong with it.
    """
    if not looks_like_stun(data):
        raise NotStun("no STUN header")
    try:
        return codec.parse_message(data)
    except (ValueError, struct.error, IndexError, KeyError) as error:
        raise NotStun(str(error)) from None


def parse_binding_request(data: bytes) -> BindingRequest:
    """Read a Binding request of RFC 8489 or RFC 3489.

    Raises NotStun.
    """
    if len(data) < HEADER_SIZE or int.from_bytes(data[:2]) != _BINDING_REQUEST:
        raise NotStun("no Binding request")
    if int.from_bytes(data[2:4]) != len(data) - HEADER_SIZE:
        raise NotStun("wrong length")
    change = 0
    response_port = None
    nonce = b""
    unknown: list[int] = []
    position = HEADER_SIZE
    while position < len(data):
        if position + 4 > len(data):
            raise NotStun("truncated attribute")
        kind = int.from_bytes(data[position : position + 2])
        size = int.from_bytes(data[position + 2 : position + 4])
        value = data[position + 4 : position + 4 + size]
        if len(value) != size:
            raise NotStun("truncated attribute")
        if kind == 0x0003:
            if size != 4:
                raise NotStun("CHANGE-REQUEST must have 4 bytes")
            change = int.from_bytes(value) & (CHANGE_IP | CHANGE_PORT)
        elif kind == _RESPONSE_PORT:
            response_port = int.from_bytes(value[:2])
            if size not in {2, 4} or not response_port:
                raise NotStun("RESPONSE-PORT must be a port and padding")
        elif kind == _NONCE:
            nonce = value
        elif kind < 0x8000 and kind not in _KNOWN_REQUIRED:
            unknown.append(kind)
        position += 4 + size + (-size % 4)
    return BindingRequest(data[4:20], change, tuple(unknown), response_port, nonce)


def binding_request(
    transaction_id: bytes, change: int = 0, response_port: int | None = None, nonce: bytes = b""
) -> bytes:
    """Return a Binding request; `transaction_id` has 12 bytes, `change` the CHANGE-REQUEST flags.

    `response_port` asks for the response at another port of the sender's address (RFC 5780 section 7.5); servers
    that do so for nobody who cannot read what they answer want the `nonce` of their error 438 with it.
    """
    request = codec.Message(codec.Method.BINDING, codec.Class.REQUEST, transaction_id)
    if change:
        request.attributes["CHANGE-REQUEST"] = change
    data = bytes(request)
    if response_port is not None:
        data = _with_attribute(data, _RESPONSE_PORT, response_port.to_bytes(2) + bytes(2))
    if nonce:
        data = _with_attribute(data, _NONCE, nonce)
    return data


def offered_nonce(data: bytes) -> bytes:
    """Return the NONCE of an error response that asks for it, empty for any other message."""
    try:
        message = parse(data)
    except NotStun:
        return b""
    code, _ = message.attributes.get("ERROR-CODE", (0, ""))
    return bytes(message.attributes.get("NONCE", b"")) if code == STALE_NONCE else b""


def binding_response(
    request: BindingRequest, mapped: Address, origin: Address | None = None, other: Address | None = None
) -> bytes:
    """Return the success response that tells the client `mapped`, its address as the server sees it.

    With RFC 3489's attribute names where the request is classic; `origin` and `other` only where given.
    """
    response = codec.Message(codec.Method.BINDING, codec.Class.RESPONSE, request.transaction[4:])
    names = ("MAPPED-ADDRESS", "SOURCE-ADDRESS", "CHANGED-ADDRESS")
    if not request.classic:
        names = ("XOR-MAPPED-ADDRESS", "RESPONSE-ORIGIN", "OTHER-ADDRESS")
    for name, address in zip(names, (mapped, origin, other), strict=True):
        if address is not None:
            response.attributes[name] = address
    return _with_transaction(bytes(response), request)


def binding_error(request: BindingRequest, code: int, reason: str, nonce: bytes = b"") -> bytes:
    """Return an error response; for 420 it carries the UNKNOWN-ATTRIBUTES of the request (at most 8)."""
    response = codec.Message(codec.Method.BINDING, codec.Class.ERROR, request.transaction[4:])
    response.attributes["ERROR-CODE"] = (code, reason)
    data = _with_transaction(bytes(response), request)
    if code == 420:
        listed = request.unknown[:8] or (0x0003,)
        data = _with_attribute(data, 0x000A, b"".join(kind.to_bytes(2) for kind in listed))
    if nonce:
        data = _with_attribute(data, _NONCE, nonce)
    return data


def parse_binding_response(data: bytes) -> BindingResponse:
    """Read a Binding success response.

    Raises NotStun, also for an error response.
    """
    message = parse(data)
    if message.message_class is not codec.Class.RESPONSE or message.message_method is not codec.Method.BINDING:
        raise NotStun("no Binding success response")
    mapped = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
    if mapped is None or not mapped[1]:
        raise NotStun("no mapped address")
    return BindingResponse(
        message.transaction_id,
        mapped,
        message.attributes.get("RESPONSE-ORIGIN"),
        message.attributes.get("OTHER-ADDRESS"),
    )


def _with_attribute(data: bytes, kind: int, value: bytes) -> bytes:
    """Append an attribute that the codec does not know."""
    data += struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
    return data[:2] + (len(data) - HEADER_SIZE).to_bytes(2) + data[4:]


def _with_transaction(data: bytes, request: BindingRequest) -> bytes:
    """Put the request's own 16 bytes in place: a classic client compares all of them."""
    return data[:4] + request.transaction + data[20:]
