"""Identifiers: their alphabet, their entropy, and the display of untrusted text."""

from __future__ import annotations

from typing import Final

from visavis_shared.limits import ROOM_ID_LENGTH

PEER_ID_BYTES: Final = 8
"""Random bytes of a peer id: 64 bits cannot be guessed by a client that may try a few times a second."""

INSTANCE_BYTES: Final = 16
"""Random bytes of an agent's instance id and of a session id: unique without coordination (birthday bound 2^64)."""


def hex_id(entropy: bytes) -> str:
    """Return `entropy` as lower-case hexadecimal, two characters a byte."""
    return entropy.hex()


def single_line(text: str) -> str:
    """Return `text` when it has no control characters, no lone surrogates, and no white space at its ends.

    Raises ValueError.
    """
    if text != text.strip():
        raise ValueError("must not begin or end with white space")
    # C0, DEL, C1 and the line separators: nothing that moves a cursor or breaks a log line
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in text):
        raise ValueError("must not contain control characters")
    if any(0xD800 <= ord(c) < 0xE000 for c in text):  # what Python makes of arguments that are no UTF-8
        raise ValueError("must be valid Unicode")
    return text


def room_id(text: str) -> str:
    """Return `text` when it may name a room: what messages.RoomId says, without its library.

    Raises ValueError.
    """
    if not 1 <= len(text) <= ROOM_ID_LENGTH:
        raise ValueError(f"must have 1 to {ROOM_ID_LENGTH} characters")
    return single_line(text)


def printable(text: str) -> str:
    """Return untrusted `text` safe for a terminal or a log line: whatever is not printable is escaped.

    Covers control characters, line separators, bidirectional overrides and lone surrogates.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )
