"""The datagrams that look for a path where connectivity checks cannot: small, signed, and no larger than what they ask.

    kind (1 byte) | sequence (4 bytes, big-endian) | tag (16 bytes)

The tag is HMAC-SHA256 over kind, sender's role, session and sequence, cut to 16 bytes (RFC 2104 section 5 asks for at
least half the hash). The kinds lie in 128 to 191, which RFC 9443 gives to RTP: neither STUN (0 to 3) nor TURN channels
(64 to 79) nor QUIC (64 to 127 and 192 to 255).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

KEY_SIZE: Final = 32
"""Bytes of a session key."""
PROBE_SIZE: Final = 21
"""Bytes of every such datagram."""
_TAG_SIZE: Final = 16
_SEQUENCES: Final = 1 << 32


class Kind(IntEnum):
    """What a datagram says; the first byte of each."""

    PROBE = 0x9C
    """Is anybody there? Openers are probes with a low TTL."""
    ANSWER = 0x9D
    """Your probe or answer came in here."""
    SELECT = 0x9E
    """The controlling side takes this pair."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One datagram whose tag was right."""

    kind: Kind
    sequence: int
    """Number of the probe that led to it, 0 to 2^32 - 1."""


def session_key(controlling_pwd: str, controlled_pwd: str) -> bytes:
    """Return the key of a session from the ICE passwords of both sides, which only they and signaling know."""
    return hmac.digest(f"{controlling_pwd}\n{controlled_pwd}".encode(), b"visavis probes", hashlib.sha256)


def looks_like_probe(datagram: bytes) -> bool:
    """Tell such datagrams from STUN, TURN channels and QUIC by size and first byte."""
    return len(datagram) == PROBE_SIZE and Kind.PROBE <= datagram[0] <= Kind.SELECT


class Seal:
    """Signs for one side of one session, and checks what the other side has signed."""

    def __init__(self, key: bytes, session_id: str, *, controlling: bool) -> None:
        self._key = key
        roles = (b"controlling", b"controlled") if controlling else (b"controlled", b"controlling")
        session = session_id.encode()
        self._ours, self._theirs = (role + b"\0" + session for role in roles)

    def encode(self, probe: Probe) -> bytes:
        """Return the datagram."""
        head = bytes((probe.kind,)) + (probe.sequence % _SEQUENCES).to_bytes(4)
        return head + self._tag(head, self._ours)

    def decode(self, datagram: bytes) -> Probe | None:
        """Return what the other side has signed; None for anything else, one's own datagrams included."""
        if not looks_like_probe(datagram):
            return None
        head, tag = datagram[:-_TAG_SIZE], datagram[-_TAG_SIZE:]
        if not hmac.compare_digest(tag, self._tag(head, self._theirs)):
            return None
        return Probe(Kind(head[0]), int.from_bytes(head[1:]))

    def _tag(self, head: bytes, sender: bytes) -> bytes:
        return hmac.digest(self._key, head + sender, hashlib.sha256)[:_TAG_SIZE]
