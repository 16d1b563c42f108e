"""Invites: server, room and secret in one line to paste, `https://host[:port]/r/<room>#<secret>`.

The secret stands in the fragment, which no browser or HTTP client sends to a server (RFC 3986 section 3.5).
"""

from __future__ import annotations

import base64
import binascii
import secrets
import string
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from visavis_shared.errors import VisavisError
from visavis_shared.ids import room_id

SECRET_SIZE: Final = 16
"""Bytes of a room secret: 128 bits cannot be guessed, so nothing has to slow down who tries."""
ROOM_BYTES: Final = 10
"""Random bytes of the name of a room that is made for an invite: nobody meets in it by chance, nor by guessing."""
INVITE_LENGTH: Final = 2048
"""Characters of an invite at most: a room of 128 characters of four bytes each takes 1,536 when percent-encoded."""
_TO_BASE64: Final = str.maketrans("-_", "+/")
_AROUND: Final = string.whitespace + "\"'`<>"
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class InvalidInvite(VisavisError):
    """A text that is no invite; the message says what is wrong and never repeats the secret."""


@dataclass(frozen=True, slots=True)
class Invite:
    """What two agents need to meet: where, in which room, and what they prove to each other."""

    server: str
    """URL of the signaling server without a trailing slash, http or https."""
    room: str
    secret: bytes | None = field(repr=False)
    """SECRET_SIZE bytes, or None: the peers stay unauthenticated."""

    def __str__(self) -> str:
        fragment = "" if self.secret is None else f"#{encode_secret(self.secret)}"
        return f"{self.server}/r/{quote(self.room, safe='')}{fragment}"

    @classmethod
    def make(cls, server: str, room: str | None = None) -> Invite:
        """Return an invite to a server (http, https, ws or wss), with a new secret, and a new room unless one is given.

        Raises InvalidInvite.
        """
        room = base64.b32encode(secrets.token_bytes(ROOM_BYTES)).decode().lower() if room is None else room
        place = cls.parse(f"{server.rstrip('/')}/r/{quote(room, safe='')}")
        return cls(place.server, place.room, secrets.token_bytes(SECRET_SIZE))

    @classmethod
    def parse(cls, text: str) -> Invite:
        """Read an invite, also with the quotation marks or angle brackets that it was written in.

        Raises InvalidInvite.
        """
        text = text.strip(_AROUND)
        if len(text) > INVITE_LENGTH:
            raise InvalidInvite(f"the invite is longer than {INVITE_LENGTH} characters")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise InvalidInvite("the invite is not a URL") from None
        if parts.username is not None:
            raise InvalidInvite(
                "an invite never holds a user name or a password: take them out, and give them by --server or"
                " VISAVIS_SERVER (https://USER:PASSWORD@HOST), which go with the invite"
            )
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname or port == 0 or parts.query:
            raise InvalidInvite("the invite does not look like https://host/r/room#secret")
        prefix, marker, room = parts.path.rpartition("/r/")
        if not marker:
            raise InvalidInvite("the invite has no /r/<room> in its path")
        try:
            room = room_id(unquote(room, errors="strict"))
        except ValueError:
            raise InvalidInvite("the invite's room is not a valid room name") from None
        secret = decode_secret(parts.fragment) if "#" in text else None
        return cls(urlunsplit((scheme, parts.netloc, prefix, "", "")), room, secret)


def encode_secret(secret: bytes) -> str:
    """Return a secret as 22 characters of base64url (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def decode_secret(text: str) -> bytes:
    """Return the secret that `text` stands for.

    Raises InvalidInvite.
    """
    text = text.strip()
    try:
        # not by `altchars`, which from Python 3.15 on warns of characters that the comparison below refuses anyway
        secret = base64.b64decode(text.translate(_TO_BASE64) + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != SECRET_SIZE or encode_secret(secret) != text:
        raise InvalidInvite("the secret is not 22 characters of base64url: was the invite copied whole?")
    return secret
