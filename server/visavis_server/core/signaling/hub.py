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

from visavis_server.core.access.buckets import Buckets, counted_source
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.gate import Gate
from visavis_server.core.access.guessing import TooManyGuesses
from visavis_server.core.access.turn import TurnService
from visavis_server.core.relay.relay import Relay
from visavis_server.core.signaling import replies
from visavis_server.core.signaling.admission import Admission
from visavis_server.core.signaling.charter import Charter, digest
from visavis_server.core.signaling.counts import Counts
from visavis_server.core.signaling.edge import Client, Draining, Edge
from visavis_server.core.signaling.effects import Close, Effect, Ping, Report, Send
from visavis_server.core.signaling.governing import Governing
from visavis_server.core.signaling.overview import Overview
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.resuming import Resuming
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.rooms import Rooms
from visavis_server.core.signaling.rules import Exposure, Rules
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


class Hub:
    """One signaling server: what each message does.

    Composed of what ends with a connection (`edge`), what outlasts it (`rooms`) and what lets the one into the other
    (`gate`). `now` is in seconds on a monotonic clock, `now_ms` in milliseconds since the epoch.
    """

    def __init__(
        self,
        rules: Rules,
        relay: Relay | None = None,
        resumption: Resumption | None = None,
        buckets: Buckets | None = None,
    ) -> None:
        """`relay` is told who has been introduced to whom; None where there is no relay, or nobody may resume."""
        buckets = buckets or Buckets()
        self.counts = Counts()
        self.refusals = buckets.refusals
        self.post = Post(self.counts)
        self.edge = Edge(rules, buckets)
        self.rooms = Rooms(rules, self.post, self.counts, self.refusals, relay=relay, resumption=resumption)
        self.gate = Gate(self.refusals)
        self.governing = Governing(self.rooms, self.post)
        self.overview = Overview(self.rooms, self.counts)
        self.relay = relay
        self.turn: TurnService | None = None
        """Makes TURN credentials for members, where the operator runs TURN servers."""
        self._rules = rules
        self._clients = self.edge.clients
        self._peers = self.rooms.peers
        self._buckets = buckets
        self._admission = Admission(self.rooms, self.gate, buckets, self.post)
        resuming = Resuming(self.edge, self.rooms, self._admission, self.gate, self.counts, self.post, relay)
        self.handlers: dict[str, Callable[[Client, Envelope, float, int], None]] = {
            MessageType.JOIN: self._on_join,
            MessageType.LEAVE: self._on_leave,
            MessageType.DISCOVER: self._on_discover,
            MessageType.OFFER: self._on_directed,
            MessageType.ANSWER: self._on_directed,
            MessageType.CANDIDATE: self._on_directed,
            MessageType.KEEP_ALIVE: self._on_keep_alive,
            MessageType.RESUME: resuming.on_resume,
            MessageType.ROOM: self.governing.on_room,
            MessageType.KICK: self.governing.on_kick,
        }
        """What each type of message does."""

    def connect(
        self, peer_id: str, payload: WelcomePayload, now: float, now_ms: int, *, address: str = "", token: str = ""
    ) -> list[Effect]:
        """Register a new connection under `peer_id`, which must not be in `rooms.peers`, and welcome it.

        `address` is the client's, empty where it is unknown. `token` counts for every JOIN that brings none.

        Raises ServerFull.
        """
        if self.rooms.draining:
            self.refusals[Cause.DRAINING] += 1
            raise Draining("it is about to stop")
        source = counted_source(address)
        peer = Peer(peer_id, now, source, token)
        self.edge.open(Client(peer, address, source, now))
        self.rooms.peers[peer_id] = peer
        self.counts.connections += 1
        if self.rooms.resumption is not None:
            payload = payload.model_copy(update={"resume": self.rooms.resumption.offer(peer, now_ms)})
        if self.relay is not None and payload.relay is not None:
            self.relay.admit(peer_id, payload.relay.token, source)
        return [Send((peer_id,), replies.welcome(peer_id, payload, now_ms))]

    def receive(self, peer_id: str, data: bytes, now: float, now_ms: int, *, text: bool = True) -> list[Effect]:
        """Handle one message of a registered peer; `text` tells a text frame from a binary one.

        Never raises: what the client did wrong is answered with ERROR, and a failure of ours with INTERNAL_ERROR.
        """
        client = self._clients[peer_id]
        client.last_seen_at = now
        peer = client.peer
        if peer.mailbox is not None:
            peer.mailbox.intake.count()
        request_id: str | None = None
        cause = self._buckets.admit(client.bucket, client.source, now)
        if cause is not None:
            self._on_excess(client, cause, data, now, now_ms)
            return self.post.take()
        counts = self.counts
        try:
            try:
                envelope = decode_envelope(data)
            except RemoteProtocolError:
                counts.invalid += 1
                raise
            request_id = envelope.request_id
            kind = envelope.type or ""
            handler = self.handlers.get(kind)
            if handler is None:
                counts.invalid += 1
                raise _not_for_servers(kind)
            counts.received[kind] += 1
            try:
                handler(client, envelope, now, now_ms)
            except Exception:
                counts.refused[kind] += 1
                raise
        except NotUtf8 as error:
            if text:
                self._drop(client, error.close_code, error.message, now, now_ms)
            else:
                self.post.refuse(peer, RemoteProtocolError(error.code, "invalid JSON", error.details), now_ms, None)
        except _Excess as excess:
            self._on_excess(client, excess.cause, data, now, now_ms)
        except TooManyGuesses as error:
            self.post.refuse(peer, error, now_ms, request_id)
            self._drop(client, error.close_code, error.message, now, now_ms)
        except RemoteProtocolError as error:
            self.post.refuse(peer, error, now_ms, request_id or request_id_of(data))
        except Exception as error:  # noqa: BLE001 -- one client's message must not end the others' connections
            self.post.effects.append(Report(peer_id, error))
            failure = RemoteProtocolError(ErrorCode.INTERNAL_ERROR, "the server failed to handle this message")
            self.post.refuse(peer, failure, now_ms, request_id)
        return self.post.take()

    def _on_excess(self, client: Client, cause: Cause, data: bytes, now: float, now_ms: int) -> None:
        """Refuse a message that is beyond a limit; who goes on at that pace is closed."""
        if not self._buckets.is_patient(client.bucket, now):
            self._drop(client, CloseCode.TOO_MANY, "too many messages", now, now_ms)
        elif self._buckets.is_told(client.bucket, now):
            error = RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many messages", f"limit: {cause}")
            self.post.refuse(client.peer, error, now_ms, request_id_of(data))

    def admit_control(self, peer_id: str, now: float, now_ms: int) -> list[Effect] | None:
        """Count a control frame of a registered peer as a message is; None when it is within the limits.

        Else it is to be ignored, and what is returned to be done.
        """
        client = self._clients[peer_id]
        client.last_seen_at = now
        if self._buckets.admit(client.bucket, client.source, now) is None:
            return None
        if not self._buckets.is_patient(client.bucket, now):
            self._drop(client, CloseCode.TOO_MANY, "too many messages", now, now_ms)
        return self.post.take()

    def on_pong(self, peer_id: str) -> None:
        """Note that a registered peer has received all that it was sent before the last ping."""
        if self.rooms.resumption is not None:
            self.rooms.resumption.confirm(self.rooms.peers[peer_id])

    def may_resume(self, peer_id: str) -> bool:
        """Whether a registered peer is kept when its connection is lost."""
        return self.rooms.peers[peer_id].mailbox is not None

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
        client = self._clients.get(peer_id)
        if client is None:
            return self.post.take()
        self.edge.close(client)
        if self.relay is not None:
            self.relay.on_gone(peer_id, now)
        if leaving:
            self.rooms.remove(client.peer, cause, now, now_ms)
        else:
            self.rooms.park(client.peer, cause, now, now_ms)
        return self.post.take()

    def drain(self, close_after_ms: Mapping[str, int], now_ms: int) -> list[Effect]:
        """Tell peers that know what to do with it in how many milliseconds each one's connection will be closed.

        From now on directed messages to peers that are away are refused, those kept for them included.
        """
        self.rooms.drain(now_ms)
        for peer_id, milliseconds in close_after_ms.items():
            peer = self.rooms.peers[peer_id]
            if peer.mailbox is not None:
                self.post.send(peer, replies.go_away(milliseconds, now_ms))
        return self.post.take()

    def handle_timer(self, now: float, now_ms: int) -> list[Effect]:
        """Drop silent peers, ping those whose interval is over, and remove rooms that were empty for long enough."""
        for client in self.edge.silent(now):
            reason = f"no traffic for {self._rules.stale_timeout:g} s"
            self._drop(client, CloseCode.UNRESPONSIVE, reason, now, now_ms, Departure.SILENT)
        for client in self.edge.idle(now):
            self.refusals[Cause.NO_JOIN] += 1
            self._drop(client, CloseCode.NO_JOIN, f"no JOIN for {self._rules.join_timeout:g} s", now, now_ms)
        due = self.edge.to_ping(now)
        if due:
            self.post.effects.append(Ping(due))
        self.rooms.handle_timer(now, now_ms)
        return self.post.take()

    def _drop(
        self, client: Client, code: int, reason: str, now: float, now_ms: int, cause: Departure = Departure.CLOSED
    ) -> None:
        """Have a connection closed, and forget its peer for good."""
        peer = client.peer
        self.post.effects.append(Close(peer.peer_id, code, reason))
        if self.relay is not None:
            self.relay.on_gone(peer.peer_id, now)
        self.edge.close(client)
        self.rooms.remove(peer, cause, now, now_ms)

    # --- one handler a message type -----------------------------------------------------------------------------------

    def _on_join(self, client: Client, envelope: Envelope, now: float, now_ms: int) -> None:
        peer = client.peer
        if not envelope.room_id:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "room_id is required", "room_id")
        room_id = check_room_id(envelope.room_id)
        payload = _join_payload(envelope.payload_bytes)
        password = None if payload.private is None else digest(payload.private.password)
        if peer.room is not None and (peer.room.room_id, peer.room.private) == (room_id, password is not None):
            raise RemoteProtocolError(ErrorCode.ALREADY_IN_ROOM, "already in this room", f"room_id: {room_id}")
        grants = self._admission.authorize(client, room_id, payload, password, now, now_ms)
        room = self._admission.room_with_space(room_id, password, client.source, now, now_ms)
        if payload.create is not None:
            room.charter = Charter(peer.peer_id)
            room.charter.change(payload.create, now)
        if peer.room is not None:
            self.rooms.leave(peer, now, now_ms)
        # nothing below can fail: the move is complete or has not begun
        peer.grants = grants
        peer.take_description(payload)
        self.rooms.enter(peer, room, now_ms)
        resumption = self.rooms.resumption if payload.resume else None
        offer = None if resumption is None else resumption.offer(peer, now_ms)
        self.post.send(
            peer, replies.joined(peer, room, now_ms, envelope.request_id, offer, self._ice_servers(peer, now_ms))
        )
        self.post.announce(room, room.others(peer), replies.peer_joined(peer, room, now_ms))
        if resumption is not None:
            self.rooms.keep_from_now_on(resumption, peer, now)

    def _on_leave(self, client: Client, envelope: Envelope, now: float, now_ms: int) -> None:
        peer = client.peer
        if peer.room is None:
            raise RemoteProtocolError(ErrorCode.NOT_IN_ROOM, "not in any room")
        self.post.send(peer, replies.left(peer.peer_id, now_ms, envelope.request_id))
        self.rooms.leave(peer, now, now_ms)

    def _on_discover(self, client: Client, envelope: Envelope, _now: float, now_ms: int) -> None:
        peer = client.peer
        room = peer.room
        if envelope.room_id:
            room_id = check_room_id(envelope.room_id)
            if room is None or room.room_id != room_id:
                room = self._room_of_others(room_id)
        if room is None:
            raise RemoteProtocolError(ErrorCode.NOT_IN_ROOM, "no room specified and not in any room")
        ice_servers = self._ice_servers(peer, now_ms) if room is peer.room else b""
        self.post.send(peer, replies.peer_list(peer, room, now_ms, envelope.request_id, ice_servers))

    def _on_directed(self, client: Client, envelope: Envelope, now: float, now_ms: int) -> None:
        peer = client.peer
        target_id, payload = envelope.target_id, envelope.payload_bytes
        if not target_id:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "target_id is required", "target_id")
        check_opaque_payload(payload)
        target = self._peers.get(target_id)
        if target is peer:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "target_id is the sender itself", "target_id")
        if peer.room is None and not self.gate.authorizer.is_open:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "join a room first", "target_id")
        if target is None or target.room is not peer.room:
            shown = target_id[: limits.PEER_ID_LENGTH]
            raise RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "target peer not found", f"peer_id: {shown}")
        cause = self._buckets.admit_directed(peer.peer_id, target_id, now)
        if cause is not None:
            raise _Excess(cause)
        kind = envelope.type or ""
        seen = client.address if peer.shows_seen and kind != MessageType.CANDIDATE else ""
        data = replies.forwarded(kind, peer.peer_id, target_id, payload, now_ms, envelope.request_id, seen)
        if target.mailbox is not None:
            self.rooms.keep(target, data, peer, envelope.request_id, now_ms)
        opens = kind == MessageType.OFFER or (kind == MessageType.ANSWER and _accepts(payload))
        if self.relay is not None and opens:
            self.relay.on_directed(kind, peer.peer_id, target_id)
        self.post.effects.append(Send((target_id,), data))

    def _on_keep_alive(self, client: Client, envelope: Envelope, _now: float, now_ms: int) -> None:
        peer = client.peer
        if payload := envelope.payload_bytes:
            # whatever else a client puts there is ignored, as by the original server
            with suppress(RemoteProtocolError):
                self.counts.add_outcomes(decode_payload(KeepAlivePayload, payload).outcomes)
        self.post.send(peer, replies.alive(peer.peer_id, now_ms, envelope.request_id))

    def _ice_servers(self, peer: Peer, now_ms: int) -> bytes:
        """Return the TURN servers for a member, as JSON; empty where there are none."""
        return b"" if self.turn is None else self.turn.ice_servers(peer.source or peer.peer_id, now_ms)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _room_of_others(self, room_id: str) -> Room:
        """Return a room for somebody who is not in it."""
        if self._rules.exposure is not Exposure.SEED:
            # also for a room that does not exist: the answer must not tell
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "only members may list this room", f"room_id: {room_id}")
        room = self.rooms.open.get(room_id)
        if room is None:
            raise RemoteProtocolError(ErrorCode.ROOM_NOT_FOUND, "room not found", f"room_id: {room_id}")
        if room.charter is not None and room.charter.is_private:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "only members may list this room", f"room_id: {room_id}")
        return room


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
