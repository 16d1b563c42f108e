"""What may be seen of the rooms as the documents of the REST API: JSON text, one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from visavis_server.core.signaling.overview import Overview
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


def stats(overview: Overview, now_ms: int) -> bytes:
    """Return the document of GET /api/stats; rooms that are empty count too."""
    peers, members = overview.peer_count, overview.member_count
    document = {
        "peers": {"total": peers, "without_room": peers - members},
        "rooms": {"total": overview.room_count, "total_peers": members},
        "timestamp": now_ms,
    }
    return _encode(document)


def rooms(overview: Overview, names: Iterable[str] | None = None) -> bytes:
    """Return the document of GET /api/rooms: those of `names` that exist, or all, oldest first; no private ones.

    `created_at` is as RFC 3339, in UTC.
    """
    capacity = overview.room_capacity
    listed = [
        {
            "id": room.room_id,
            "peer_count": room.member_count,
            "max_peers": capacity,
            "created_at": _rfc3339(room.created_at),
        }
        for room in overview.open_rooms(names)
    ]
    return _encode({"rooms": listed})


def room(overview: Overview, room_id: str) -> bytes | None:
    """Return the document of GET /api/rooms/{id}, None for an unknown room; times in milliseconds since the epoch."""
    found = overview.open_room(room_id)
    if found is None:
        return None
    return b'{"id":%b,"peers":[%b],"peer_count":%d,"max_peers":%d,"created_at":%d}' % (
        encode_text(room_id),
        b",".join(found.infos),
        found.summary.member_count,
        overview.room_capacity,
        found.summary.created_at,
    )


def _encode(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _rfc3339(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
