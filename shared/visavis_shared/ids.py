"""Identifiers: their alphabet, their entropy, and the display of untrusted text."""

from __future__ import annotations

from typing import Final

PEER_ID_BYTES: Final = 8
"""Random bytes of a peer id: 64 bits cannot be guessed by a client that may try a few times a second."""

INSTANCE_BYTES: Final = 16
"""Random bytes of an agent's instance id and of a session id: unique without coordination (birthday bound 2^64)."""


def hex_id(entropy: bytes) -> str:
    """Return `entropy` as lower-case hexadecimal, two characters a byte."""
    return entropy.hex()


def printable(text: str) -> str:
    """Return untrusted `text` safe for a terminal or a log line: whatever is not printable is escaped.

    Covers control characters, line separators, bidirectional overrides and lone surrogates.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )
