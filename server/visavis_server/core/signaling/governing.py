"""What the owner of a room and the operator of the server ask for."""

from __future__ import annotations

from typing import Final

from visavis_server.core.signaling import replies
from visavis_server.core.signaling.charter import Charter
from visavis_server.core.signaling.edge import Client
from visavis_server.core.signaling.effects import Audit, Effect
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.rooms import Rooms
from visavis_shared.envelope import Envelope
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import KickPayload, RoomTerms, decode_payload

ADMIN: Final = "admin"
"""Who acts by the admin API, in the audit log."""


class Governing:
    """The messages ROOM and KICK, and the operator's commands."""

    def __init__(self, rooms: Rooms, post: Post) -> None:
        self._rooms = rooms
        self._post = post

    def kick(self, room_id: str, peer_id: str, payload: KickPayload, now: float, now_ms: int) -> list[Effect] | None:
        """Put a member out of a room; None when there is no such member."""
        members = [room.members.get(peer_id) for room in self._rooms.named(room_id)]
        target = next(filter(None, members), None)
        if target is None:
            return None
        self._kick(target, ADMIN, payload, now, now_ms)
        return self._post.take()

    def close_room(self, room_id: str, reason: str, now: float, now_ms: int) -> list[Effect] | None:
        """Put everybody out of a room and forget it; None when there is no such room."""
        rooms = self._rooms.named(room_id)
        if not rooms:
            return None
        self._post.effects.append(Audit(ADMIN, "close", room_id, reason))
        for room in rooms:
            self._rooms.close(room, reason, now, now_ms)
        return self._post.take()

    def broadcast(self, message: str, now_ms: int) -> list[Effect]:
        """Tell everybody something."""
        self._post.effects.append(Audit(ADMIN, "broadcast", "", message))
        connected = [peer for peer in self._rooms.peers.values() if peer.away_since is None]
        data = replies.notice(message, now_ms)
        for peer in connected:
            self._post.send(peer, data)
        return self._post.take()

    def on_room(self, client: Client, envelope: Envelope, now: float, now_ms: int) -> None:
        """Change the rules of a room."""
        peer = client.peer
        room, charter = self._governed_room(peer)
        terms = decode_payload(RoomTerms, envelope.payload_bytes)
        charter.change(terms, now)
        changed = ", ".join(sorted(terms.model_fields_set))
        self._post.effects.append(Audit(peer.peer_id, "room", room.room_id, changed))
        self._post.send(peer, replies.governed(peer.peer_id, room, charter.describe(now), now_ms, envelope.request_id))

    def on_kick(self, client: Client, envelope: Envelope, now: float, now_ms: int) -> None:
        """Put a member out of a room."""
        peer = client.peer
        room, charter = self._governed_room(peer)
        payload = decode_payload(KickPayload, envelope.payload_bytes or b"{}")
        target = room.members.get(envelope.target_id or "")
        if target is None or target is peer:
            raise RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "target peer not found", "target_id: no other member")
        self._kick(target, peer.peer_id, payload, now, now_ms)
        self._post.send(peer, replies.governed(peer.peer_id, room, charter.describe(now), now_ms, envelope.request_id))

    def _governed_room(self, peer: Peer) -> tuple[Room, Charter]:
        """Return the room of a peer that may govern it.

        Raises RemoteProtocolError.
        """
        room = peer.room
        if room is None:
            raise RemoteProtocolError(ErrorCode.NOT_IN_ROOM, "not in any room")
        if room.private:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "a private room belongs to nobody")
        if room.charter is None and peer.grants.admin:
            room.charter = Charter("")
        if room.charter is None or (room.charter.owner_id != peer.peer_id and not peer.grants.admin):
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "only the owner of the room may do this")
        return room, room.charter

    def _kick(self, target: Peer, actor: str, payload: KickPayload, now: float, now_ms: int) -> None:
        room = target.room
        assert room is not None
        if payload.ban:
            room.charter = room.charter or Charter("")
            room.charter.ban(target.identity)
            self._rooms.verdicts.ban(room.private, room.room_id, target.identity, now_ms)
        action = "ban" if payload.ban else "kick"
        self._post.effects.append(Audit(actor, action, room.room_id, f"peer {target.peer_id}: {payload.reason or ''}"))
        self._rooms.expel(target, payload.reason or ("banned" if payload.ban else "kicked"), now, now_ms)
