"""What travels in the datagrams of a link before it is secured: one byte of kind, then the content.

Kinds lie above 0x3F, so that RFC 7983's first-byte rule tells them from STUN (0 to 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

DATAGRAM_SIZE: Final = 1200
"""Bytes of content at most: QUIC's minimum (RFC 9000 section 14), which every path here is known to carry."""

_DATA: Final = 0xF0
_PING: Final = 0xF1
_PONG: Final = 0xF2
_BYE: Final = 0xF3
_TOKEN_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class DataFrame:
    """Content of the application."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a Pong with the same token (8 bytes)."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a Ping."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender closes the link."""


Frame = DataFrame | Ping | Pong | Bye


def encode(frame: Frame) -> bytes:
    """Return the datagram for `frame`."""
    match frame:
        case DataFrame(data):
            return bytes((_DATA,)) + data
        case Ping(token):
            return bytes((_PING,)) + token
        case Pong(token):
            return bytes((_PONG,)) + token
        case Bye():
            return bytes((_BYE,))
        case _:
            assert_never(frame)


def decode(datagram: bytes) -> Frame | None:
    """Return the frame in `datagram`, or None for anything else."""
    if not datagram:
        return None
    kind, content = datagram[0], datagram[1:]
    if kind == _DATA and len(content) <= DATAGRAM_SIZE:
        return DataFrame(content)
    if kind == _PING and len(content) == _TOKEN_SIZE:
        return Ping(content)
    if kind == _PONG and len(content) == _TOKEN_SIZE:
        return Pong(content)
    if kind == _BYE and not content:
        return Bye()
    return None
