"""The hub's state as the documents of the REST API: JSON text, one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from visavis_server.core.hub import Hub
from visavis_shared.envelope import encode_text


def health(now_ms: int) -> bytes:
    """Return the document of GET /health."""
    return b'{"status":"ok","timestamp":%d}' % now_ms


def ready(now_ms: int) -> bytes:
    """Return the document of GET /ready on a server that takes connections."""
    return b'{"status":"ready","timestamp":%d}' % now_ms


def not_ready(now_ms: int) -> bytes:
    """Return the document of GET /ready on a server that does not take connections yet, or not any more."""
    return b'{"status":"not ready","timestamp":%d}' % now_ms


def stats(hub: Hub, now_ms: int) -> bytes:
    """Return the document of GET /api/stats; rooms that are empty count too."""
    members = hub.member_count
    document = {
        "peers": {"total": len(hub.peers), "without_room": len(hub.peers) - members},
        "rooms": {"total": hub.room_count, "total_peers": members},
        "timestamp": now_ms,
    }
    return _encode(document)


def rooms(hub: Hub, names: Iterable[str] | None = None) -> bytes:
    """Return the document of GET /api/rooms: those of `names` that exist, or all, oldest first; no private ones.

    `created_at` is as RFC 3339, in UTC.
    """
    shown = hub.rooms.values() if names is None else [hub.rooms[name] for name in names if name in hub.rooms]
    listed = [
        {
            "id": room.room_id,
            "peer_count": len(room.members),
            "max_peers": hub.rules.room_capacity,
            "created_at": _rfc3339(room.created_at),
        }
        for room in shown
    ]
    return _encode({"rooms": listed})


def room(hub: Hub, room_id: str) -> bytes | None:
    """Return the document of GET /api/rooms/{id}, None for an unknown room; times in milliseconds since the epoch."""
    found = hub.rooms.get(room_id)
    if found is None:
        return None
    return b'{"id":%b,"peers":[%b],"peer_count":%d,"max_peers":%d,"created_at":%d}' % (
        encode_text(room_id),
        b",".join([member.info for member in found.members.values()]),
        len(found.members),
        hub.rules.room_capacity,
        found.created_at,
    )


def _encode(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _rfc3339(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
