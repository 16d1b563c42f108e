"""The close codes of WebSocket connections (RFC 6455 section 7.4) that the programs send or make a difference between.

docs/protocol.md has the same table; a test holds the two to each other.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    """Why a side has closed a WebSocket connection: 1000 to 1015 as registered with IANA, from 4000 on our own."""

    by_server: str
    """Why the server sends it, for docs/protocol.md; empty where it never does."""
    by_client: str
    """What it says when a client sends it; empty where the server makes no difference between it and others."""

    def __new__(cls, code: int, by_server: str, by_client: str = "") -> CloseCode:
        """Make a member: the code, and what stands in the two columns."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.by_server, member.by_client = by_server, by_client
        return member

    NORMAL = 1000, "", "it leaves: its room is told at once"
    GOING_AWAY = 1001, "the server shuts down", "its page is left: its room is told at once"
    PROTOCOL_ERROR = (
        1002,
        "the client broke RFC 6455: no mask, reserved bits, unknown opcode, broken fragments, invalid close code",
    )
    INVALID_DATA = 1007, "a text message, or the reason of a close, is not UTF-8"
    POLICY_VIOLATION = 1008, "a message has more than 64 empty fragments"
    TOO_BIG = 1009, "a message is larger than 32,768 bytes"
    UNRESPONSIVE = 1011, "nothing came from the client for the stale timeout"
    SERVICE_RESTART = 1012, "the server restarts: connect again"
    TRY_AGAIN_LATER = 1013, "the client does not read: more than 1 MiB or 16,384 messages wait for it"
    RETURNING = 4000, "", "it connects again at once: it may resume, as after any code but those of who leaves"
    PEER_GONE = 4001, "relay: the peer's signaling connection has been gone for 30 s"
    NO_JOIN = 4008, "no JOIN within `--join-timeout`"
    REPLACED = 4009, "a later connection has resumed as this peer; relay: has shown the same token"
    TOO_MANY = 4029, "too many wrong tokens, or ten seconds' worth of messages beyond the limit"


LEAVING: Final = frozenset({None, CloseCode.NORMAL, CloseCode.GOING_AWAY})
"""Codes, or none, of a client that does not mean to come back: it is done, or its page is left."""


def markdown() -> str:
    """Return the table of docs/protocol.md."""
    head = "| close code | from the server, because | from a client, because |\n|---|---|---|\n"
    answer = "| the other side's own | answer to a close frame | answer to a close frame |\n"
    return head + answer + "".join(f"| {int(code)} | {code.by_server} | {code.by_client} |\n" for code in CloseCode)
