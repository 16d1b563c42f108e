"""Resume tokens: signed statements that whoever shows one held a peer_id, and in which room.

A token carries everything that the server has to know, so that one of the same key verifies it after a restart:

    base64url( expiry 8 | counter 8 | expiry of the grants 8 | flags 1 | length 1 | length 2 |
               peer_id | subject | [digest of the password 32] | room_id | HMAC-SHA256 32 )

Also what the peer was allowed when it joined: after a restart, or when it has been gone for too long, it is let in as
by a JOIN, and need not show its token and the room's password again. So nobody else gets into a private room.

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

from visavis_server.core.access.grants import NOTHING, Grants
from visavis_server.core.errors import ServerError
from visavis_server.core.signaling.charter import DIGEST_SIZE

TICKET_LIFETIME: Final = 600.0
"""Seconds that a token is good for: longer than any restart of the server, and short for one that was stolen."""
KEY_SIZE: Final = 32
"""Bytes of a key: as many as the hash has (RFC 2104 section 3)."""

_PURPOSE: Final = b"visavis resume token 2\n"
"""Stands before what is signed, so that nothing else signed with the same key passes for a token."""
_HEAD: Final = struct.Struct("!QQQBBH")
_PRIVATE: Final = 1
_PASSWORD: Final = 2
_CREATE: Final = 4
_ADMIN: Final = 8
"""The flags."""
_TO_BASE64: Final = str.maketrans("-_", "+/")
"""Not by `altchars`, which from Python 3.15 on warns of characters that a signature refuses anyway."""
_MAC_SIZE: Final = hashlib.sha256().digest_size


class TicketRefused(ServerError):
    """A token cannot be used; the message says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Rights:
    """With what a peer has joined its room."""

    private: bool = False
    """Whether the room is a private one."""
    password: bytes | None = None
    """The digest of the room's password."""
    grants: Grants = NOTHING
    """Of its token, the names of rooms aside: the ticket has the only one that counts."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token says."""

    peer_id: str
    room_id: str
    """Empty: of a peer in no room, or of one whose room its token does not name."""
    counter: int
    expires_at: int
    """Milliseconds since the epoch."""
    issued_at: int
    """Likewise."""
    rights: Rights = Rights()


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

    def issue(self, peer_id: str, room_id: str, counter: int, now_ms: int, rights: Rights = Rights()) -> str:
        """Return a token; `room_id` is empty for a peer in no room."""
        name, subject, grants = peer_id.encode(), rights.grants.subject.encode(), rights.grants
        flags = (
            (_PRIVATE if rights.private else 0)
            | (_PASSWORD if rights.password is not None else 0)
            | (_CREATE if grants.create else 0)
            | (_ADMIN if grants.admin else 0)
        )
        head = _HEAD.pack(now_ms + self._lifetime_ms, counter, grants.expires_at, flags, len(name), len(subject))
        body = head + name + subject + (rights.password or b"") + room_id.encode()
        return base64.urlsafe_b64encode(body + _sign(self._keys[0], body)).rstrip(b"=").decode()

    def verify(self, token: str, now_ms: int) -> Ticket:
        """Return what a token says.

        Raises TicketRefused for one that no key of ours signed, and for one that has expired.
        """
        try:
            data = base64.b64decode(token.translate(_TO_BASE64) + "=" * (-len(token) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise TicketRefused("the token is malformed") from None
        body, signature = data[:-_MAC_SIZE], data[-_MAC_SIZE:]
        if not any(hmac.compare_digest(_sign(key, body), signature) for key in self._keys):
            raise TicketRefused("the token was not signed by this server")
        expires_at, counter, granted_until, flags, name_size, subject_size = _HEAD.unpack_from(body)
        if expires_at <= now_ms:
            raise TicketRefused("the token has expired")
        digest_size = DIGEST_SIZE if flags & _PASSWORD else 0
        name, subject, password, room = _cut(body[_HEAD.size :], name_size, subject_size, digest_size)
        grants = Grants(
            (),
            create=bool(flags & _CREATE),
            admin=bool(flags & _ADMIN),
            subject=subject.decode(),
            expires_at=granted_until,
        )
        rights = Rights(bool(flags & _PRIVATE), password or None, grants)
        issued_at = expires_at - self._lifetime_ms
        return Ticket(name.decode(), room.decode(), counter, expires_at, issued_at, rights)


def _cut(data: bytes, *sizes: int) -> list[bytes]:
    """Return parts of these sizes, and the rest."""
    parts: list[bytes] = []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    return [*parts, data]


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + body, "sha256")
