"""What the hub wants done, in order; whoever runs it performs these on real connections.

A connection is named by the peer_id that it was given.
"""

from __future__ import annotations

import msgspec


class Send(msgspec.Struct, frozen=True, gc=False):
    """Put one message into the outbox of each of these peers."""

    to: tuple[str, ...]
    data: bytes
    """JSON text, UTF-8."""


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Send these peers a WebSocket ping."""

    to: tuple[str, ...]


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close the connection of a peer that the hub has already forgotten."""

    peer_id: str
    code: int
    """WebSocket close code (RFC 6455 section 7.4)."""
    reason: str


class Rebind(msgspec.Struct, frozen=True, gc=False):
    """The connection known as `fresh_id` is that of `peer_id` from now on; the one that had this id is closed."""

    fresh_id: str
    peer_id: str
    code: int
    """WebSocket close code for the one before, if it is still open."""
    reason: str


class Report(msgspec.Struct, frozen=True, gc=False):
    """Log a failure inside the hub: a bug of this program, not of the client."""

    peer_id: str
    error: Exception


class Audit(msgspec.Struct, frozen=True, gc=False):
    """Write a line into the audit log: somebody has governed a room or the server."""

    actor: str
    """A peer_id, or `admin`."""
    action: str
    room_id: str
    details: str


Effect = Audit | Send | Ping | Close | Rebind | Report
