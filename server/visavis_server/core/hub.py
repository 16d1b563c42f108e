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

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from visavis_server.core import replies
from visavis_server.core.buckets import Buckets, Cause, counted_source
from visavis_server.core.directory import Draining, ServerFull, TooManyConnections
from visavis_server.core.effects import Effect, Ping, Report, Send
from visavis_server.core.governance import Charter, TooManyGuesses, digest
from visavis_server.core.governing import Governing
from visavis_server.core.relay import Relay
from visavis_server.core.resuming import Resuming
from visavis_server.core.resumption import Resumption
from visavis_server.core.rooms import Peer, Room
from visavis_server.core.rules import Exposure, Rules
from visavis_server.core.turn import TurnService
from visavis_shared import limits
from visavis_shared.closing import CloseCode
from visavis_shared.envelope import Envelope, NotUtf8, check_opaque_payload, decode_envelope, request_id_of
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import (
    Departure,
    JoinPayload,
    KeepAlivePayload,
    MessageType,
    WelcomePayload,
    check_room_id,
    decode_payload,
)


class Hub(Governing, Resuming):
    """One signaling server: what each message does.

    `now` is in seconds on a monotonic clock, `now_ms` in milliseconds since the epoch.
    """

    def __init__(
        self,
        rules: Rules,
        relay: Relay | None = None,
        resumption: Resumption | None = None,
        buckets: Buckets | None = None,
    ) -> None:
        """`relay` is told who has been introduced to whom; None where there is no relay, or nobody may resume."""
        super().__init__(rules, relay, resumption, buckets)
        self.turn: TurnService | None = None
        """Makes TURN credentials for members, where the operator runs TURN servers."""
        self._handlers: dict[str, Callable[[Peer, Envelope, float, int], None]] = {
            MessageType.JOIN: self._on_join,
            MessageType.LEAVE: self._on_leave,
            MessageType.DISCOVER: self._on_discover,
            MessageType.OFFER: self._on_directed,
            MessageType.ANSWER: self._on_directed,
            MessageType.CANDIDATE: self._on_directed,
            MessageType.KEEP_ALIVE: self._on_keep_alive,
            MessageType.RESUME: self._on_resume,
            MessageType.ROOM: self._on_room,
            MessageType.KICK: self._on_kick,
        }

    def connect(
        self, peer_id: str, payload: WelcomePayload, now: float, now_ms: int, *, address: str = "", token: str = ""
    ) -> list[Effect]:
        """Register a new connection under `peer_id`, which must not be in `peers`, and welcome it.

        `address` is the client's, empty where it is unknown. `token` counts for every JOIN that brings none.

        Raises ServerFull.
        """
        if self.draining:
            self.buckets.refusals[Cause.DRAINING] += 1
            raise Draining("it is about to stop")
        peer = Peer(peer_id, now, counted_source(address), token)
        peer.location = address
        self.admit(peer.source)
        self.peers[peer_id] = peer
        self.counts.connections += 1
        if self.resumption is not None:
            payload = payload.model_copy(update={"resume": self.resumption.offer(peer, now_ms)})
        if self.relay is not None and payload.relay is not None:
            self.relay.admit(peer_id, payload.relay.token, peer.source)
        return [Send((peer_id,), replies.welcome(peer_id, payload, now_ms))]

    def admit(self, source: str, instead_of: str | None = None) -> None:
        """Count a connection, of signaling or of the relay, until `release` is called with the same `source`.

        `source` is what it is counted under (`counted_source`). A connection that it replaces, of source `instead_of`,
        is released, and makes place for it.

        Raises ServerFull, with nothing changed.
        """
        try:
            self._count(source, instead_of)
        except ServerFull as full:
            of_address = isinstance(full, TooManyConnections)
            self.buckets.refusals[Cause.ADDRESS_CONNECTIONS if of_address else Cause.CONNECTIONS] += 1
            raise

    def receive(self, peer_id: str, data: bytes, now: float, now_ms: int, *, text: bool = True) -> list[Effect]:
        """Handle one message of a registered peer; `text` tells a text frame from a binary one.

        Never raises: what the client did wrong is answered with ERROR, and a failure of ours with INTERNAL_ERROR.
        """
        peer = self.peers[peer_id]
        peer.last_seen_at = now
        if peer.mailbox is not None:
            peer.mailbox.intake.count()
        request_id: str | None = None
        cause = self.buckets.admit(peer.bucket, peer.source, now)
        if cause is not None:
            self._on_excess(peer, cause, data, now, now_ms)
            return self._take()
        counts = self.counts
        try:
            try:
                envelope = decode_envelope(data)
            except RemoteProtocolError:
                counts.invalid += 1
                raise
            request_id = envelope.request_id
            kind = envelope.type or ""
            handler = self._handlers.get(kind)
            if handler is None:
                counts.invalid += 1
                raise _not_for_servers(kind)
            counts.received[kind] += 1
            try:
                handler(peer, envelope, now, now_ms)
            except Exception:
                counts.refused[kind] += 1
                raise
        except NotUtf8 as error:
            if text:
                self._drop(peer, CloseCode.INVALID_DATA, error.message, now, now_ms)
            else:
                self._refuse(peer, RemoteProtocolError(error.code, "invalid JSON", error.details), now_ms, None)
        except _Excess as excess:
            self._on_excess(peer, excess.cause, data, now, now_ms)
        except TooManyGuesses as error:
            self._refuse(peer, error, now_ms, request_id)
            self._drop(peer, CloseCode.TOO_MANY, error.message, now, now_ms)
        except RemoteProtocolError as error:
            self._refuse(peer, error, now_ms, request_id or request_id_of(data))
        except Exception as error:  # noqa: BLE001 -- one client's message must not end the others' connections
            self._effects.append(Report(peer_id, error))
            failure = RemoteProtocolError(ErrorCode.INTERNAL_ERROR, "the server failed to handle this message")
            self._refuse(peer, failure, now_ms, request_id)
        return self._take()

    def _on_excess(self, peer: Peer, cause: Cause, data: bytes, now: float, now_ms: int) -> None:
        """Refuse a message that is beyond a limit; who goes on at that pace is closed."""
        if not self.buckets.is_patient(peer.bucket, now):
            self._drop(peer, CloseCode.TOO_MANY, "too many messages", now, now_ms)
        elif self.buckets.is_told(peer.bucket, now):
            error = RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many messages", f"limit: {cause}")
            self._refuse(peer, error, now_ms, request_id_of(data))

    def admit_control(self, peer_id: str, now: float, now_ms: int) -> list[Effect] | None:
        """Count a control frame of a registered peer as a message is; None when it is within the limits.

        Else it is to be ignored, and what is returned to be done.
        """
        peer = self.peers[peer_id]
        peer.last_seen_at = now
        if self.buckets.admit(peer.bucket, peer.source, now) is None:
            return None
        if not self.buckets.is_patient(peer.bucket, now):
            self._drop(peer, CloseCode.TOO_MANY, "too many messages", now, now_ms)
        return self._take()

    def touch(self, peer_id: str, now: float) -> None:
        """Note that a registered peer sent a control frame: it lives."""
        self.peers[peer_id].last_seen_at = now

    def on_pong(self, peer_id: str) -> None:
        """Note that a registered peer has received all that it was sent before the last ping."""
        if self.resumption is not None:
            self.resumption.confirm(self.peers[peer_id])

    def disconnect(
        self,
        peer_id: str,
        now: float,
        now_ms: int,
        *,
        leaving: bool = False,
        cause: Departure = Departure.CLOSED,
    ) -> list[Effect]:
        """Forget a peer whose connection ended, and tell its room why; or keep it for the grace. Idempotent.

        `leaving` tells that the client wants to be gone, so that it is not kept. `cause` is told when it is forgotten.
        """
        peer = self.peers.get(peer_id)
        if peer is None or peer.away_since is not None:
            return self._take()
        self.release(peer.source)
        if self.relay is not None:
            self.relay.on_gone(peer_id, now)
        if self.resumption is None or peer.mailbox is None or leaving:
            self._remove(peer, cause, now, now_ms)
        else:
            peer.away_because = cause
            too_many = self.resumption.park(peer, now)
            if too_many is not None:
                self._give_up(too_many, now, now_ms)
        return self._take()

    def drain(self, close_after_ms: Mapping[str, int], now_ms: int) -> list[Effect]:
        """Tell peers that know what to do with it in how many milliseconds each one's connection will be closed.

        From now on directed messages to peers that are away are refused, those kept for them included.
        """
        self.draining = True
        if self.resumption is not None:
            for peer in self.resumption.away.values():
                self._return_undelivered(peer, now_ms)
        for peer_id, milliseconds in close_after_ms.items():
            peer = self.peers[peer_id]
            if peer.mailbox is not None:
                self._send(peer, replies.go_away(milliseconds, now_ms))
        return self._take()

    def handle_timer(self, now: float, now_ms: int) -> list[Effect]:
        """Drop silent peers, ping those whose interval is over, and remove rooms that were empty for long enough."""
        connected = [peer for peer in self.peers.values() if peer.away_since is None]
        silent = [peer for peer in connected if now - peer.last_seen_at >= self.rules.stale_timeout]
        for peer in silent:
            reason = f"no traffic for {self.rules.stale_timeout:g} s"
            self._drop(peer, CloseCode.UNRESPONSIVE, reason, now, now_ms, Departure.SILENT)
        if self.rules.join_timeout:
            self._drop_idlers(connected, now, now_ms)
        due = [
            peer
            for peer in self.peers.values()
            if peer.away_since is None and now - peer.pinged_at >= self.rules.ping_interval
        ]
        for peer in due:
            peer.pinged_at = now
        if due:
            self._effects.append(Ping(tuple(peer.peer_id for peer in due)))
        if self.resumption is not None:
            self._sweep_resumption(self.resumption, now, now_ms)
        for room in [each for each in self.all_rooms() if each.charter is not None]:
            if room.charter is not None and room.charter.closes_at is not None and now >= room.charter.closes_at:
                self._close_room(room, "the time of the room is over", now, now_ms)
        for room in list(self._empty):
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
        password = None if payload.private is None else digest(payload.private.password)
        if peer.room is not None and (peer.room.room_id, peer.room.private) == (room_id, password is not None):
            raise RemoteProtocolError(ErrorCode.ALREADY_IN_ROOM, "already in this room", f"room_id: {room_id}")
        grants = self._authorize(peer, room_id, payload, password, now, now_ms)
        room = self._room_with_space(room_id, peer.source, now, now_ms, password=password)
        if payload.create is not None:
            room.charter = Charter(peer.peer_id)
            room.charter.change(payload.create, now)
        if peer.room is not None:
            self._leave(peer, now, now_ms)
        # nothing below can fail: the move is complete or has not begun
        peer.grants = grants
        peer.take_description(payload)
        self._enter(peer, room, now_ms)
        offer = self.resumption.offer(peer, now_ms) if self.resumption is not None and payload.resume else None
        self._send(
            peer, replies.joined(peer, room, now_ms, envelope.request_id, offer, self._ice_servers(peer, now_ms))
        )
        self._tell(room, room.others(peer), replies.peer_joined(peer, room, now_ms))
        if offer is not None and self.resumption is not None:
            self._keep_from_now_on(self.resumption, peer, now)

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
        ice_servers = self._ice_servers(peer, now_ms) if room is peer.room else b""
        self._send(peer, replies.peer_list(peer, room, now_ms, envelope.request_id, ice_servers))

    def _on_directed(self, peer: Peer, envelope: Envelope, now: float, now_ms: int) -> None:
        target_id, payload = envelope.target_id, envelope.payload_bytes
        if not target_id:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "target_id is required", "target_id")
        check_opaque_payload(payload)
        target = self.peers.get(target_id)
        if target is peer:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "target_id is the sender itself", "target_id")
        if peer.room is None and not self.authorizer.is_open:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "join a room first", "target_id")
        if target is None or target.room is not peer.room:
            shown = target_id[: limits.PEER_ID_LENGTH]
            raise RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "target peer not found", f"peer_id: {shown}")
        cause = self.buckets.admit_directed(peer.peer_id, target_id, now)
        if cause is not None:
            raise _Excess(cause)
        kind = envelope.type or ""
        seen = peer.location if peer.shows_seen and kind != MessageType.CANDIDATE else ""
        data = replies.forwarded(kind, peer.peer_id, target_id, payload, now_ms, envelope.request_id, seen)
        if target.mailbox is not None:
            self._keep(target, data, peer, envelope.request_id, now_ms)
        opens = kind == MessageType.OFFER or (kind == MessageType.ANSWER and _accepts(payload))
        if self.relay is not None and opens:
            self.relay.on_directed(kind, peer.peer_id, target_id)
        self._effects.append(Send((target_id,), data))

    def _on_keep_alive(self, peer: Peer, envelope: Envelope, _now: float, now_ms: int) -> None:
        if payload := envelope.payload_bytes:
            # whatever else a client puts there is ignored, as by the original server
            with suppress(RemoteProtocolError):
                self.counts.add_outcomes(decode_payload(KeepAlivePayload, payload).outcomes)
        self._send(peer, replies.alive(peer.peer_id, now_ms, envelope.request_id))

    def _ice_servers(self, peer: Peer, now_ms: int) -> bytes:
        """Return the TURN servers for a member, as JSON; empty where there are none."""
        return b"" if self.turn is None else self.turn.ice_servers(peer.source or peer.peer_id, now_ms)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _room_of_others(self, room_id: str) -> Room:
        """Return a room for somebody who is not in it."""
        if self.rules.exposure is not Exposure.SEED:
            # also for a room that does not exist: the answer must not tell
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "only members may list this room", f"room_id: {room_id}")
        room = self.rooms.get(room_id)
        if room is None:
            raise RemoteProtocolError(ErrorCode.ROOM_NOT_FOUND, "room not found", f"room_id: {room_id}")
        if room.charter is not None and room.charter.is_private:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "only members may list this room", f"room_id: {room_id}")
        return room

    def _drop_idlers(self, connected: list[Peer], now: float, now_ms: int) -> None:
        """Drop who has connected and joined nothing for too long."""
        for peer in connected:
            late = not peer.info and now - peer.connected_at >= self.rules.join_timeout
            if late and peer.peer_id in self.peers:
                self.buckets.refusals[Cause.NO_JOIN] += 1
                self._drop(peer, CloseCode.NO_JOIN, f"no JOIN for {self.rules.join_timeout:g} s", now, now_ms)


class _Verdict(msgspec.Struct, gc=False):
    """What decides whether an ANSWER opens the relay."""

    accepted: Any = None


class _Excess(Exception):
    """A message beyond a limit."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


def _join_payload(data: bytes) -> JoinPayload:
    """Read the payload of a JOIN; absent and `null` are the same."""
    if data in (b"", b"null"):
        return JoinPayload()
    return decode_payload(JoinPayload, data)


def _accepts(payload: bytes) -> bool:
    """Whether an ANSWER is anything but a refusal."""
    try:
        return msgspec.json.decode(payload, type=_Verdict).accepted is not False
    except msgspec.DecodeError:
        return False


def _not_for_servers(kind: str) -> RemoteProtocolError:
    """Return the refusal of a message that only a server sends; to us its type is as unknown as any other."""
    return RemoteProtocolError(ErrorCode.INVALID_MESSAGE, f"unknown message type: {kind}", "type: only servers send it")
