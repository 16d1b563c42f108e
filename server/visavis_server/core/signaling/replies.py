"""The messages that the server writes, spliced from parts that are JSON already.

Members stand in the original server's order: type, peer_id, target_id, room_id, payload, timestamp, request_id, and
our `seq` behind them. Peer ids are ours (hexadecimal), so they need no escaping; every other text is encoded.
"""

from __future__ import annotations

from visavis_server.core.signaling.room import Peer, Room
from visavis_shared.envelope import encode_text
from visavis_shared.errors import ErrorCode
from visavis_shared.messages import (
    Departure,
    ErrorPayload,
    ExpelledPayload,
    NoticePayload,
    ResumeOffer,
    RoomTerms,
    WelcomePayload,
    encode,
)


def welcome(peer_id: str, payload: WelcomePayload, now_ms: int) -> bytes:
    """Return the ACK that tells a new connection its peer_id."""
    return b'{"type":"ACK","peer_id":"%b","payload":%b,"timestamp":%d}' % (peer_id.encode(), encode(payload), now_ms)


def joined(
    peer: Peer,
    room: Room,
    now_ms: int,
    request_id: str | None,
    resume: ResumeOffer | None = None,
    ice_servers: bytes = b"",
) -> bytes:
    """Return the ACK of a JOIN: the members, the new one included; `ice_servers` is JSON, or empty for none."""
    extra = _ice_servers(ice_servers) + (b"" if resume is None else b',"resume":' + encode(resume))
    return b'{"type":"ACK",%b' % _members(peer, room, now_ms, request_id, extra)


def resumed(
    peer: Peer, resume: ResumeOffer, *, gap: bool, taken: int | None, seq: int, now_ms: int, request_id: str | None
) -> bytes:
    """Return the ACK of a RESUME; the next event that the peer is sent has the number after `seq`.

    `taken` messages have come from it before; None: nobody knows any more.
    """
    received = b"" if taken is None else b',"received":%d' % taken
    extra = b',"resumed":true,"gap":%b%b,"resume":%b' % (b"true" if gap else b"false", received, encode(resume))
    if peer.room is not None:
        return b'{"type":"ACK",%b' % _members(peer, peer.room, now_ms, request_id, extra, seq)
    return b'{"type":"ACK","peer_id":"%b","payload":{%b},"timestamp":%d%b}' % (
        peer.peer_id.encode(),
        extra[1:],
        now_ms,
        _request_id(request_id),
    )


def refreshed(resume: ResumeOffer, now_ms: int) -> bytes:
    """Return a new resume token."""
    return b'{"type":"RESUME","payload":%b,"timestamp":%d}' % (encode(resume), now_ms)


def go_away(reconnect_after_ms: int, now_ms: int) -> bytes:
    """Return the announcement that this connection will be closed."""
    return b'{"type":"GOAWAY","payload":{"reconnect_after_ms":%d},"timestamp":%d}' % (reconnect_after_ms, now_ms)


def peer_list(peer: Peer, room: Room, now_ms: int, request_id: str | None, ice_servers: bytes = b"") -> bytes:
    """Return the answer to DISCOVER; `ice_servers` as in `joined`."""
    return b'{"type":"PEER_LIST",%b' % _members(peer, room, now_ms, request_id, _ice_servers(ice_servers))


def left(peer_id: str, now_ms: int, request_id: str | None) -> bytes:
    """Return the ACK of a LEAVE."""
    return b'{"type":"ACK","peer_id":"%b","payload":{"message":"left room"},"timestamp":%d%b}' % (
        peer_id.encode(),
        now_ms,
        _request_id(request_id),
    )


def alive(peer_id: str, now_ms: int, request_id: str | None) -> bytes:
    """Return the ACK of a KEEP_ALIVE."""
    return b'{"type":"ACK","peer_id":"%b","timestamp":%d%b}' % (peer_id.encode(), now_ms, _request_id(request_id))


def peer_joined(peer: Peer, room: Room, now_ms: int) -> bytes:
    """Return the announcement of a new member."""
    return b'{"type":"PEER_JOINED","peer_id":"%b","room_id":%b,"payload":%b,"timestamp":%d,"seq":%d}' % (
        peer.peer_id.encode(),
        encode_text(room.room_id),
        peer.info,
        now_ms,
        room.seq,
    )


def peer_left(peer_id: str, room: Room, cause: Departure, now_ms: int) -> bytes:
    """Return the announcement that a member is gone."""
    return b'{"type":"PEER_LEFT","peer_id":"%b","room_id":%b,"timestamp":%d,"seq":%d,"cause":"%b"}' % (
        peer_id.encode(),
        encode_text(room.room_id),
        now_ms,
        room.seq,
        cause.encode(),
    )


def expelled(peer_id: str, room: Room, reason: str, now_ms: int) -> bytes:
    """Return the announcement to a peer that it was removed from its room."""
    return b'{"type":"PEER_LEFT","peer_id":"%b","room_id":%b,"payload":%b,"timestamp":%d,"seq":%d}' % (
        peer_id.encode(),
        encode_text(room.room_id),
        encode(ExpelledPayload(reason=reason)),
        now_ms,
        room.seq,
    )


def governed(peer_id: str, room: Room, terms: RoomTerms, now_ms: int, request_id: str | None) -> bytes:
    """Return the ACK of ROOM and KICK: the rules as they are now."""
    return b'{"type":"ACK","peer_id":"%b","room_id":%b,"payload":{"room":%b},"timestamp":%d%b}' % (
        peer_id.encode(),
        encode_text(room.room_id),
        encode(terms),
        now_ms,
        _request_id(request_id),
    )


def notice(message: str, now_ms: int) -> bytes:
    """Return what the operator wants everybody to know."""
    return b'{"type":"NOTICE","payload":%b,"timestamp":%d}' % (encode(NoticePayload(message=message)), now_ms)


def forwarded(
    kind: str, source: str, target: str, payload: bytes, now_ms: int, request_id: str | None, seen: str = ""
) -> bytes:
    """Return a directed message as its target sees it: `payload` byte for byte, room_id and unknown members dropped.

    `seen` is the IP address by which the server sees the sender; empty: not told.
    """
    # joined, not formatted: half the time, and this is the one reply that is written for every message of a session
    return b"".join(
        (
            b'{"type":"',
            kind.encode(),
            b'","peer_id":"',
            source.encode(),
            b'","target_id":"',
            target.encode(),
            b'","payload":',
            payload,
            b',"timestamp":%d%b%b}' % (now_ms, _request_id(request_id), _seen(seen)),
        )
    )


def error(code: ErrorCode, message: str, details: str, now_ms: int, request_id: str | None) -> bytes:
    """Return an ERROR; empty `details` are left out."""
    payload = encode(ErrorPayload(code=code, message=message, details=details or None))
    return b'{"type":"ERROR","payload":%b,"timestamp":%d%b}' % (payload, now_ms, _request_id(request_id))


def _members(
    peer: Peer, room: Room, now_ms: int, request_id: str | None, extra: bytes = b"", seq: int | None = None
) -> bytes:
    """Return all but the type; `extra` are further members of the payload, with a comma before each."""
    room_id = encode_text(room.room_id)
    return b'"peer_id":"%b","room_id":%b,"payload":{"room_id":%b,"peers":[%b]%b},"timestamp":%d%b,"seq":%d}' % (
        peer.peer_id.encode(),
        room_id,
        room_id,
        b",".join([member.info for member in room.members.values()]),
        extra,
        now_ms,
        _request_id(request_id),
        room.seq if seq is None else seq,
    )


def _ice_servers(listed: bytes) -> bytes:
    return b',"ice_servers":' + listed if listed else b""


def _seen(ip: str) -> bytes:
    return b',"seen":"%b"' % ip.encode() if ip else b""


def _request_id(request_id: str | None) -> bytes:
    return b',"request_id":' + encode_text(request_id) if request_id else b""
