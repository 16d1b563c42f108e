"""Rooms, peers, routing and expiry, without I/O.

    ->  JOIN room-1                 (B, while A is a member)
    <-  ACK                         to B: the members, B included, and the room's seq
    <-  PEER_JOINED B               to A, seq one higher than the event before
    ->  OFFER to B                  (A)
    <-  OFFER from A                to B, payload byte for byte; nothing to A

Every call takes the time and returns what is to be done, in order: a change of state and the messages about it are one
step. So a newcomer is exactly once either in somebody's list or announced to it, and nothing that a peer sends can
overtake its own announcement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from visavis_server.core import replies
from visavis_server.core.effects import Close, Effect, Ping, Report, Send
from visavis_server.core.relay import Relay
from visavis_server.core.rooms import Peer, Room
from visavis_server.core.rules import Exposure, Rules
from visavis_shared import limits
from visavis_shared.envelope import Envelope, NotUtf8, check_opaque_payload, decode_envelope, request_id_of
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import JoinPayload, MessageType, WelcomePayload, check_room_id, decode_payload

INVALID_TEXT: Final = 1007
"""Close code for a text message that is not UTF-8 (RFC 6455 section 8.1)."""
UNRESPONSIVE: Final = 1011
"""Close code for a peer that was silent for the stale timeout; as other servers do on a missing pong."""


class ServerFull(Exception):
    """The limit of connections is reached."""


class Hub:
    """The state of one signaling server.

    `now` is in seconds on a monotonic clock, `now_ms` in milliseconds since the epoch.
    """

    def __init__(self, rules: Rules, relay: Relay | None = None) -> None:
        """`relay` is told who has been introduced to whom; None where there is no relay."""
        self.rules = rules
        self.relay = relay
        self.peers: dict[str, Peer] = {}
        """At most `rules.peer_limit`."""
        self.rooms: dict[str, Room] = {}
        """At most `rules.room_limit`."""
        self._empty: dict[str, Room] = {}
        """Those without members, longest empty first."""
        self._effects: list[Effect] = []
        self._handlers: dict[str, Callable[[Peer, Envelope, float, int], None]] = {
            MessageType.JOIN: self._on_join,
            MessageType.LEAVE: self._on_leave,
            MessageType.DISCOVER: self._on_discover,
            MessageType.OFFER: self._on_directed,
            MessageType.ANSWER: self._on_directed,
            MessageType.CANDIDATE: self._on_directed,
            MessageType.KEEP_ALIVE: self._on_keep_alive,
        }

    def connect(self, peer_id: str, payload: WelcomePayload, now: float, now_ms: int) -> list[Effect]:
        """Register a new connection under `peer_id`, which must not be in `peers`, and welcome it.

        Raises ServerFull.
        """
        if len(self.peers) >= self.rules.peer_limit:
            raise ServerFull(f"{self.rules.peer_limit} peers are connected")
        self.peers[peer_id] = Peer(peer_id, now)
        if self.relay is not None and payload.relay is not None:
            self.relay.admit(peer_id, payload.relay.token)
        return [Send((peer_id,), replies.welcome(peer_id, payload, now_ms))]

    def receive(self, peer_id: str, data: bytes, now: float, now_ms: int, *, text: bool = True) -> list[Effect]:
        """Handle one message of a registered peer; `text` tells a text frame from a binary one.

        Never raises: what the client did wrong is answered with ERROR, and a failure of ours with INTERNAL_ERROR.
        """
        peer = self.peers[peer_id]
        peer.last_seen_at = now
        request_id: str | None = None
        try:
            envelope = decode_envelope(data)
            request_id = envelope.request_id
            handler = self._handlers.get(envelope.type or "")
            if handler is None:
                raise _not_for_servers(envelope.type or "")
            handler(peer, envelope, now, now_ms)
        except NotUtf8 as error:
            if text:
                self._drop(peer, INVALID_TEXT, error.message, now, now_ms)
            else:
                self._refuse(peer, RemoteProtocolError(error.code, "invalid JSON", error.details), now_ms, None)
        except RemoteProtocolError as error:
            self._refuse(peer, error, now_ms, request_id or request_id_of(data))
        except Exception as error:  # noqa: BLE001 -- one client's message must not end the others' connections
            self._effects.append(Report(peer_id, error))
            failure = RemoteProtocolError(ErrorCode.INTERNAL_ERROR, "the server failed to handle this message")
            self._refuse(peer, failure, now_ms, request_id)
        return self._take()

    def touch(self, peer_id: str, now: float) -> None:
        """Note that a registered peer sent a control frame: it lives."""
        self.peers[peer_id].last_seen_at = now

    def disconnect(self, peer_id: str, now: float, now_ms: int) -> list[Effect]:
        """Forget a peer whose connection ended, and tell its room. Idempotent."""
        peer = self.peers.pop(peer_id, None)
        if peer is not None:
            self._depart(peer, now, now_ms)
            if self.relay is not None:
                self.relay.on_gone(peer_id, now)
        return self._take()

    def handle_timer(self, now: float, now_ms: int) -> list[Effect]:
        """Drop silent peers, ping those whose interval is over, and remove rooms that were empty for long enough."""
        silent = [peer for peer in self.peers.values() if now - peer.last_seen_at >= self.rules.stale_timeout]
        for peer in silent:
            self._drop(peer, UNRESPONSIVE, f"no traffic for {self.rules.stale_timeout:g} s", now, now_ms)
        due = [peer for peer in self.peers.values() if now - peer.pinged_at >= self.rules.ping_interval]
        for peer in due:
            peer.pinged_at = now
        if due:
            self._effects.append(Ping(tuple(peer.peer_id for peer in due)))
        for room in list(self._empty.values()):
            if now - room.empty_at < self.rules.empty_room_ttl:
                break
            self._forget(room)
        return self._take()

    # --- one handler a message type -----------------------------------------------------------------------------------

    def _on_join(self, peer: Peer, envelope: Envelope, now: float, now_ms: int) -> None:
        if not envelope.room_id:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "room_id is required", "room_id")
        room_id = check_room_id(envelope.room_id)
        payload = _join_payload(envelope.payload_bytes)
        if peer.room is not None and peer.room.room_id == room_id:
            raise RemoteProtocolError(ErrorCode.ALREADY_IN_ROOM, "already in this room", f"room_id: {room_id}")
        room = self._room_with_space(room_id, now, now_ms)
        if peer.room is not None:
            self._leave(peer, now, now_ms)
        # nothing below can fail: the move is complete or has not begun
        peer.display_name = payload.display_name or peer.display_name
        peer.endpoint = payload.endpoint or peer.endpoint
        peer.describe(joined_at=now_ms)
        peer.room = room
        room.members[peer.peer_id] = peer
        room.seq += 1
        self._empty.pop(room_id, None)
        self._send(peer, replies.joined(peer, room, now_ms, envelope.request_id))
        self._tell(room.others(peer), replies.peer_joined(peer, room, now_ms))

    def _on_leave(self, peer: Peer, envelope: Envelope, now: float, now_ms: int) -> None:
        if peer.room is None:
            raise RemoteProtocolError(ErrorCode.NOT_IN_ROOM, "not in any room")
        self._send(peer, replies.left(peer.peer_id, now_ms, envelope.request_id))
        self._leave(peer, now, now_ms)

    def _on_discover(self, peer: Peer, envelope: Envelope, _now: float, now_ms: int) -> None:
        room = peer.room
        if envelope.room_id:
            room_id = check_room_id(envelope.room_id)
            if room is None or room.room_id != room_id:
                room = self._room_of_others(room_id)
        if room is None:
            raise RemoteProtocolError(ErrorCode.NOT_IN_ROOM, "no room specified and not in any room")
        self._send(peer, replies.peer_list(peer, room, now_ms, envelope.request_id))

    def _on_directed(self, peer: Peer, envelope: Envelope, _now: float, now_ms: int) -> None:
        target_id, payload = envelope.target_id, envelope.payload_bytes
        if not target_id:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "target_id is required", "target_id")
        check_opaque_payload(payload)
        target = self.peers.get(target_id)
        if target is peer:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "target_id is the sender itself", "target_id")
        if target is None or target.room is not peer.room:
            shown = target_id[: limits.PEER_ID_LENGTH]
            raise RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "target peer not found", f"peer_id: {shown}")
        kind = envelope.type or ""
        if self.relay is not None and kind != MessageType.CANDIDATE:
            self.relay.on_directed(kind, peer.peer_id, target_id)
        data = replies.forwarded(kind, peer.peer_id, target_id, payload, now_ms, envelope.request_id)
        self._effects.append(Send((target_id,), data))

    def _on_keep_alive(self, peer: Peer, envelope: Envelope, _now: float, now_ms: int) -> None:
        self._send(peer, replies.alive(peer.peer_id, now_ms, envelope.request_id))

    # --- steps --------------------------------------------------------------------------------------------------------

    def _room_of_others(self, room_id: str) -> Room:
        """Return a room for somebody who is not in it."""
        if self.rules.exposure is not Exposure.SEED:
            # also for a room that does not exist: the answer must not tell
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "only members may list this room", f"room_id: {room_id}")
        room = self.rooms.get(room_id)
        if room is None:
            raise RemoteProtocolError(ErrorCode.ROOM_NOT_FOUND, "room not found", f"room_id: {room_id}")
        return room

    def _room_with_space(self, room_id: str, now: float, now_ms: int) -> Room:
        """Return the room, made if need be.

        Raises RemoteProtocolError (ROOM_FULL), with nothing changed.
        """
        room = self.rooms.get(room_id)
        if room is not None:
            if 0 < self.rules.room_capacity <= len(room.members):
                raise RemoteProtocolError(ErrorCode.ROOM_FULL, "room is full", f"max_peers: {self.rules.room_capacity}")
            return room
        if len(self.rooms) >= self.rules.room_limit:
            oldest = next(iter(self._empty.values()), None)
            if oldest is None:
                reason = f"the server has its {self.rules.room_limit} rooms"
                raise RemoteProtocolError(ErrorCode.ROOM_FULL, "no space for another room", reason)
            self._forget(oldest)
        room = self.rooms[room_id] = Room(room_id, now_ms, now)
        return room

    def _leave(self, peer: Peer, now: float, now_ms: int) -> None:
        """Take a peer out of its room because it wants to: its introductions end, too."""
        self._depart(peer, now, now_ms)
        if self.relay is not None:
            self.relay.on_left(peer.peer_id)

    def _depart(self, peer: Peer, now: float, now_ms: int) -> None:
        """Take a peer out of its room, if it is in one, and tell the others."""
        room, peer.room = peer.room, None
        if room is None:
            return
        del room.members[peer.peer_id]
        room.seq += 1
        if room.members:
            self._tell(room.peer_ids, replies.peer_left(peer.peer_id, room, now_ms))
        else:
            room.empty_at = now
            self._empty[room.room_id] = room

    def _drop(self, peer: Peer, code: int, reason: str, now: float, now_ms: int) -> None:
        """Forget a peer for good and have its connection closed."""
        self._effects.append(Close(peer.peer_id, code, reason))
        del self.peers[peer.peer_id]
        self._depart(peer, now, now_ms)
        if self.relay is not None:
            self.relay.on_gone(peer.peer_id, now)

    def _forget(self, room: Room) -> None:
        del self.rooms[room.room_id], self._empty[room.room_id]

    def _refuse(self, peer: Peer, error: RemoteProtocolError, now_ms: int, request_id: str | None) -> None:
        self._send(peer, replies.error(error.code, error.message, error.details, now_ms, request_id))

    def _send(self, peer: Peer, data: bytes) -> None:
        self._effects.append(Send((peer.peer_id,), data))

    def _tell(self, to: tuple[str, ...], data: bytes) -> None:
        if to:
            self._effects.append(Send(to, data))

    def _take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _join_payload(data: bytes) -> JoinPayload:
    """Read the payload of a JOIN; absent and `null` are the same."""
    if data in (b"", b"null"):
        return JoinPayload()
    return decode_payload(JoinPayload, data)


def _not_for_servers(kind: str) -> RemoteProtocolError:
    """Return the refusal of a message that only a server sends; to us its type is as unknown as any other."""
    return RemoteProtocolError(ErrorCode.INVALID_MESSAGE, f"unknown message type: {kind}", "type: only servers send it")
