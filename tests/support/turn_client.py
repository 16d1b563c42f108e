"""A TURN client (RFC 8656) of a few messages, also for IPv6 relays: what a server allows is asked of it directly."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

COOKIE: Final = 0x2112A442
ALLOCATE: Final = 0x003
SEND: Final = 0x006
CREATE_PERMISSION: Final = 0x008
CHANNEL_BIND: Final = 0x009
_INDICATION: Final = 0x0010

ERROR_CODE: Final = 0x0009
USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
CHANNEL_NUMBER: Final = 0x000C
XOR_PEER_ADDRESS: Final = 0x0012
DATA: Final = 0x0013
REALM: Final = 0x0014
NONCE: Final = 0x0015
XOR_RELAYED_ADDRESS: Final = 0x0016
REQUESTED_ADDRESS_FAMILY: Final = 0x0017
REQUESTED_TRANSPORT: Final = 0x0019

Address = tuple[str, int]
OK: Final = 0
"""In place of an error code."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response or an indication: its error code (OK for none) and its attributes by type."""

    code: int
    attributes: dict[int, bytes]
    transaction: bytes


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def _mask(transaction: bytes) -> bytes:
    return struct.pack("!I", COOKIE) + transaction


def _peer_address(address: Address, transaction: bytes) -> bytes:
    packed = ipaddress.ip_address(address[0]).packed
    family = 1 if len(packed) == 4 else 2
    hidden = bytes(a ^ b for a, b in zip(packed, _mask(transaction), strict=False))
    return _attribute(XOR_PEER_ADDRESS, struct.pack("!xBH", family, address[1] ^ (COOKIE >> 16)) + hidden)


def _read_address(value: bytes, transaction: bytes) -> Address:
    port = int.from_bytes(value[2:4]) ^ (COOKIE >> 16)
    packed = bytes(a ^ b for a, b in zip(value[4:], _mask(transaction), strict=False))
    return str(ipaddress.ip_address(packed)), port


def _parse(data: bytes) -> Answer:
    attributes: dict[int, bytes] = {}
    position = 20
    while position + 4 <= len(data):
        kind, size = struct.unpack_from("!HH", data, position)
        attributes.setdefault(kind, data[position + 4 : position + 4 + size])
        position += 4 + size + (-size % 4)
    error = attributes.get(ERROR_CODE)
    return Answer(OK if error is None else error[2] * 100 + error[3], attributes, data[8:20])


class TurnClient:
    """One allocation on a TURN server, by a blocking socket that has a timeout."""

    def __init__(self, sock: socket.socket, server: Address, username: str, password: str) -> None:
        """`sock` is a UDP socket; the credentials are long-term ones (RFC 8489 section 9.2)."""
        self._sock = sock
        self._server = server
        self._username = username
        self._password = password
        self._realm = b""
        self._nonce = b""
        self.relayed: Address | None = None

    def allocate(self, family: int) -> int:
        """Ask for a relayed address of `family` (4 or 6) and return the error code, OK for none."""
        wanted = _attribute(REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))
        wanted += _attribute(REQUESTED_ADDRESS_FAMILY, bytes([1 if family == 4 else 2, 0, 0, 0]))
        answer = self._ask(ALLOCATE, lambda _: wanted)
        if answer.code == OK:
            self.relayed = _read_address(answer.attributes[XOR_RELAYED_ADDRESS], answer.transaction)
        return answer.code

    def permit(self, ip: str) -> int:
        """Ask to exchange data with `ip` and return the error code, OK for none."""
        return self._ask(CREATE_PERMISSION, lambda id_: _peer_address((ip, 0), id_)).code

    def bind_channel(self, peer: Address, channel: int) -> int:
        """Ask for a channel to `peer` and return the error code, OK for none."""
        number = _attribute(CHANNEL_NUMBER, struct.pack("!HH", channel, 0))
        return self._ask(CHANNEL_BIND, lambda id_: number + _peer_address(peer, id_)).code

    def send(self, peer: Address, data: bytes) -> None:
        """Send `data` to `peer` by the relay."""
        transaction = secrets.token_bytes(12)
        body = _peer_address(peer, transaction) + _attribute(DATA, data)
        header = struct.pack("!HHI", SEND | _INDICATION, len(body), COOKIE) + transaction
        self._sock.sendto(header + body, self._server)

    def receive(self) -> tuple[Address, bytes]:
        """Return the next data that a peer has sent to the relayed address, and that peer."""
        answer = _parse(self._sock.recv(2048))
        return _read_address(answer.attributes[XOR_PEER_ADDRESS], answer.transaction), answer.attributes[DATA]

    def _ask(self, method: int, body: Callable[[bytes], bytes]) -> Answer:
        """Send a request, with credentials once the server has asked for them, and again where its nonce is new.

        `body` makes the attributes for a transaction id.
        """
        for _ in range(3):
            transaction = secrets.token_bytes(12)
            self._sock.sendto(self._request(method, transaction, body(transaction)), self._server)
            answer = _parse(self._sock.recv(2048))
            if answer.code not in (401, 438):
                break
            self._realm = answer.attributes.get(REALM, self._realm)
            self._nonce = answer.attributes[NONCE]
        return answer

    def _request(self, method: int, transaction: bytes, body: bytes) -> bytes:
        if not self._nonce:
            return struct.pack("!HHI", method, len(body), COOKIE) + transaction + body
        body += _attribute(USERNAME, self._username.encode())
        body += _attribute(REALM, self._realm) + _attribute(NONCE, self._nonce)
        head = struct.pack("!HHI", method, len(body) + 24, COOKIE) + transaction
        secret = ":".join((self._username, self._realm.decode(), self._password)).encode()
        key = hashlib.md5(secret, usedforsecurity=False).digest()
        return head + body + _attribute(MESSAGE_INTEGRITY, hmac.digest(key, head + body, "sha1"))
