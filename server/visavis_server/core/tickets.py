"""Resume tokens: signed statements that whoever shows one held a peer_id, and in which room.

A token carries everything that the server has to know, so that one of the same key verifies it after a restart:

    base64url( expiry 8 | counter 8 | length 1 | peer_id | room_id | HMAC-SHA256 32 )

For a member of a private room the digest of the room's password stands before its name, so that after a restart nobody
else gets into the room; the length's highest bit says so.

The counter rises with each use. Where the server still knows the peer it accepts only the last one; after a restart it
accepts the first that comes, and a later one of the same peer wins over it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from visavis_server.core.governance import DIGEST_SIZE

TICKET_LIFETIME: Final = 600.0
"""Seconds that a token is good for: longer than any restart of the server, and short for one that was stolen."""
KEY_SIZE: Final = 32
"""Bytes of a key: as many as the hash has (RFC 2104 section 3)."""

_PURPOSE: Final = b"visavis resume token 1\n"
"""Stands before what is signed, so that nothing else signed with the same key passes for a token."""
_HEAD: Final = struct.Struct("!QQB")
_PRIVATE: Final = 0x80
"""In the byte that has the length of the peer_id (16): the room is a private one."""
_MAC_SIZE: Final = hashlib.sha256().digest_size


class TicketRefused(Exception):
    """A token cannot be used; the message says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token says."""

    peer_id: str
    room_id: str
    """Empty: of a peer in no room, or of one whose room its token does not name."""
    counter: int
    expires_at: int
    """Milliseconds since the epoch."""
    password: bytes | None = None
    """Of a private room, the digest of its password."""


class TicketSigner:
    """Issues and verifies tokens."""

    def __init__(self, keys: Sequence[bytes], lifetime: float = TICKET_LIFETIME) -> None:
        """`keys` of at least KEY_SIZE bytes each: the first signs, all verify; `lifetime` in seconds.

        Raises ValueError.
        """
        if not keys or any(len(key) < KEY_SIZE for key in keys):
            raise ValueError(f"a key for resume tokens needs at least {KEY_SIZE} bytes")
        self._keys = tuple(keys)
        self._lifetime_ms = round(lifetime * 1000)

    def issue(self, peer_id: str, room_id: str, counter: int, now_ms: int, password: bytes | None = None) -> str:
        """Return a token; `room_id` is empty for a peer in no room, `password` the digest of a private room's."""
        name = peer_id.encode()
        kind = 0 if password is None else _PRIVATE
        head = _HEAD.pack(now_ms + self._lifetime_ms, counter, kind | len(name))
        body = head + name + (password or b"") + room_id.encode()
        return base64.urlsafe_b64encode(body + _sign(self._keys[0], body)).rstrip(b"=").decode()

    def verify(self, token: str, now_ms: int) -> Ticket:
        """Return what a token says.

        Raises TicketRefused for one that no key of ours signed, and for one that has expired.
        """
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise TicketRefused("the token is malformed") from None
        body, signature = data[:-_MAC_SIZE], data[-_MAC_SIZE:]
        if not any(hmac.compare_digest(_sign(key, body), signature) for key in self._keys):
            raise TicketRefused("the token was not signed by this server")
        expires_at, counter, kind = _HEAD.unpack_from(body)
        length = kind & ~_PRIVATE
        if expires_at <= now_ms:
            raise TicketRefused("the token has expired")
        name, room = body[_HEAD.size : _HEAD.size + length], body[_HEAD.size + length :]
        password = None
        if kind & _PRIVATE:
            password, room = room[:DIGEST_SIZE], room[DIGEST_SIZE:]
        return Ticket(name.decode(), room.decode(), counter, expires_at, password)


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, "sha256")
