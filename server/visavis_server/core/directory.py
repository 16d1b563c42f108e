"""The state of a signaling server, and the steps by which it changes; `hub` says which message takes which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain

from visavis_server.core import replies
from visavis_server.core.buckets import Buckets, Cause
from visavis_server.core.counts import Counts
from visavis_server.core.effects import Close, Effect, Send
from visavis_server.core.governance import Charter
from visavis_server.core.mailbox import Kind, Letter
from visavis_server.core.relay import Relay
from visavis_server.core.resumption import Resumption
from visavis_server.core.rooms import Peer, Room
from visavis_server.core.rules import Rules
from visavis_server.core.verdicts import Verdicts
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import Departure


class ServerFull(Exception):
    """The limit of connections is reached."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: int = 30
    """Seconds after which a client may try again: others leave at their own pace."""


class Draining(ServerFull):
    """The server is about to stop."""

    retry_after: int = 1


class TooManyConnections(ServerFull):
    """The limit of connections of one address is reached."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class TooManyFailures(ServerFull):
    """Too many wrong tokens have come from one address."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after: int = 6
    """Seconds until one more may be tried: ten a minute."""


class Directory:
    """Peers and rooms.

    `now` is in seconds on a monotonic clock, `now_ms` in milliseconds since the epoch. A step collects effects, which
    `_take` returns.
    """

    def __init__(
        self, rules: Rules, relay: Relay | None, resumption: Resumption | None, buckets: Buckets | None = None
    ) -> None:
        self.rules = rules
        self.buckets = buckets or Buckets()
        self.verdicts = Verdicts()
        self.relay = relay
        self.resumption = resumption
        self.counts = Counts()
        self.draining = False
        """Whether the server is about to stop: nobody who goes away comes back to this hub."""
        self.peers: dict[str, Peer] = {}
        """Those connected, at most `rules.peer_limit`, and those away, as many again."""
        self.rooms: dict[str, Room] = {}
        """The open ones; with the private ones at most `rules.room_limit`."""
        self.private_rooms: dict[str, Room] = {}
        """Those that are shown to their members only: a name of theirs says nothing of the open room of that name."""
        self._empty: dict[Room, None] = {}
        """Those without members, longest empty first."""
        self._connections: Counter[str] = Counter()
        """Connections of each source, the relay's included."""
        self._connection_count = 0
        self._effects: list[Effect] = []

    @property
    def room_count(self) -> int:
        """Rooms, open and private, empty ones included."""
        return len(self.rooms) + len(self.private_rooms)

    @property
    def member_count(self) -> int:
        """Peers in rooms."""
        return sum(len(room.members) for room in self.all_rooms())

    def all_rooms(self) -> Iterator[Room]:
        """Yield the open and the private rooms."""
        return chain(self.rooms.values(), self.private_rooms.values())

    def _table(self, *, private: bool) -> dict[str, Room]:
        return self.private_rooms if private else self.rooms

    def _existing(self, room_id: str, private: bytes | None) -> Room | None:
        """Return the room that is joined by that name; `private` is the digest of a private room's password."""
        room = self._table(private=private is not None).get(room_id)
        return None if room is not None and is_abandoned(room, private) else room

    def _room_with_space(
        self, room_id: str, source: str, now: float, now_ms: int, *, password: bytes | None = None
    ) -> Room:
        """Return the room, made if need be, for `source`; with a `password` (its digest) the private room of that name.

        Raises RemoteProtocolError (ROOM_FULL, RATE_LIMITED), with nothing changed.
        """
        table = self._table(private=password is not None)
        room = self._existing(room_id, password)
        if room is not None:
            own = room.charter.capacity if room.charter is not None else 0
            capacity = min(filter(None, (own, self.rules.room_capacity)), default=0)
            if 0 < capacity <= len(room.members):
                self.buckets.refusals[Cause.ROOM_CAPACITY] += 1
                raise RemoteProtocolError(ErrorCode.ROOM_FULL, "room is full", f"max_peers: {capacity}")
            cause = self.buckets.admit_join(source, now) if room.members else None
            if cause is not None:
                raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many JOINs", f"limit: {cause}")
            return room
        cause = self.buckets.admit_room(source, now)
        if cause is not None:
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many rooms", f"limit: {cause}")
        abandoned = table.get(room_id)
        if abandoned is not None:
            self._forget(abandoned)
        if self.room_count >= self.rules.room_limit:
            oldest = next(iter(self._empty), None)
            if oldest is None:
                self.buckets.refusals[Cause.ROOMS] += 1
                reason = f"the server has its {self.rules.room_limit} rooms"
                raise RemoteProtocolError(ErrorCode.ROOM_FULL, "no space for another room", reason)
            self._forget(oldest)
        room = table[room_id] = Room(room_id, now_ms, now, private=password is not None)
        if password is not None:
            room.charter = Charter.of_private_room(password)
        return room

    def _enter(self, peer: Peer, room: Room, now_ms: int) -> None:
        """Put a peer into a room; the announcement is the caller's."""
        peer.describe(joined_at=now_ms)
        peer.room = room
        room.members[peer.peer_id] = peer
        room.seq += 1
        self._empty.pop(room, None)

    def _keep_from_now_on(self, resumption: Resumption, peer: Peer, now: float) -> None:
        mailbox = resumption.enable(peer, now)
        if peer.room is not None:
            peer.room.kept[peer.peer_id] = mailbox

    def _expel(self, peer: Peer, reason: str, now: float, now_ms: int) -> None:
        """Put a peer out of its room and tell it why; its resume tokens are void."""
        room = peer.room
        assert room is not None
        if self.resumption is not None:
            self.resumption.revoke(peer)
        if peer.away_since is not None:
            self._give_up(peer, now, now_ms)
            return
        self._leave(peer, now, now_ms)
        self._send(peer, replies.expelled(peer.peer_id, room, reason, now_ms))

    def _close_room(self, room: Room, reason: str, now: float, now_ms: int) -> None:
        """Put everybody out of a room, and forget it."""
        self.verdicts.close(room.private, room.room_id, now_ms)
        for peer in list(room.members.values()):
            self._expel(peer, reason, now, now_ms)
        if room in self._empty:
            self._forget(room)

    def _leave(self, peer: Peer, now: float, now_ms: int) -> None:
        """Take a peer out of its room because it wants to: its introductions end, too."""
        self._depart(peer, Departure.LEFT, now, now_ms)
        if self.relay is not None:
            self.relay.on_left(peer.peer_id)

    def _depart(self, peer: Peer, cause: Departure, now: float, now_ms: int) -> None:
        """Take a peer out of its room, if it is in one, and tell the others."""
        room, peer.room = peer.room, None
        if self.resumption is not None:
            self.resumption.disable(peer)
        if room is None:
            return
        del room.members[peer.peer_id]
        room.kept.pop(peer.peer_id, None)
        room.seq += 1
        if room.members:
            self._tell(room, room.peer_ids, replies.peer_left(peer.peer_id, room, cause, now_ms))
        else:
            room.empty_at = now
            self._empty[room] = None

    def _drop(
        self, peer: Peer, code: int, reason: str, now: float, now_ms: int, cause: Departure = Departure.CLOSED
    ) -> None:
        """Forget a peer for good and have its connection closed."""
        self._effects.append(Close(peer.peer_id, code, reason))
        if self.relay is not None:
            self.relay.on_gone(peer.peer_id, now)
        self.release(peer.source)
        self._remove(peer, cause, now, now_ms)

    def _remove(self, peer: Peer, cause: Departure, now: float, now_ms: int) -> None:
        """Forget a peer for good, and tell its room."""
        del self.peers[peer.peer_id]
        if self.resumption is not None:
            self.resumption.forget(peer, now_ms)
        self._depart(peer, cause, now, now_ms)

    def _keep(self, target: Peer, data: bytes, sender: Peer, request_id: str | None, now_ms: int) -> None:
        """Put a directed message into the mailbox of a peer.

        Raises RemoteProtocolError (PEER_NOT_FOUND) when the peer is away and will not get it.
        """
        assert target.mailbox is not None
        if target.away_since is not None and self.draining:
            reason = "the server is about to stop"
        elif not target.mailbox.add(Kind.DIRECTED, data, sender.peer_id, request_id, sender.source):
            self.buckets.refusals[Cause.MAILBOX] += 1
            reason = "its mailbox is full"
        else:
            self.counts.kept += target.away_since is not None
            evicted = target.mailbox.take_evicted()
            self.buckets.refusals[Cause.MAILBOX] += len(evicted)
            self._tell_undelivered(evicted, f"peer_id: {target.peer_id}; its mailbox is full", now_ms)
            return
        details = f"peer_id: {target.peer_id}; {reason}"
        raise RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "target peer is away", details)

    def _sweep_resumption(self, resumption: Resumption, now: float, now_ms: int) -> None:
        """Give up who is away for too long, renew tokens, and drop messages that have arrived long ago."""
        for peer in resumption.expired(now):
            self._give_up(peer, now, now_ms)
        resumption.sweep(now_ms)
        self.verdicts.sweep(now_ms)
        for peer in self.peers.values():
            if peer.mailbox is None or peer.away_since is not None:
                continue
            peer.mailbox.forget_old(now, self.rules.stale_timeout)
            if now >= peer.refresh_at:
                self._send(peer, replies.refreshed(resumption.refresh(peer, now, now_ms), now_ms))

    def _give_up(self, peer: Peer, now: float, now_ms: int) -> None:
        """Forget a peer that is away, and tell its room and who has written to it."""
        self._return_undelivered(peer, now_ms)
        self._remove(peer, peer.away_because, now, now_ms)

    def _return_undelivered(self, peer: Peer, now_ms: int) -> None:
        """Tell the senders of the messages that a peer, which is away, will never get."""
        assert peer.mailbox is not None
        details = f"peer_id: {peer.peer_id}; it did not come back"
        self._tell_undelivered(peer.mailbox.return_undelivered(), details, now_ms)

    def _tell_undelivered(self, letters: list[Letter], details: str, now_ms: int) -> None:
        for letter in letters:
            self.counts.undelivered += 1
            sender = self.peers.get(letter.sender_id)
            if sender is not None:
                error = RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "message not delivered", details)
                self._refuse(sender, error, now_ms, letter.request_id)

    def _count(self, source: str, instead_of: str | None) -> None:
        """Note that a connection begins, of signaling or of the relay; see Hub.admit.

        Raises ServerFull or TooManyConnections.
        """
        rules = self.rules
        if instead_of is None and self._connection_count >= rules.peer_limit:
            raise ServerFull(f"{rules.peer_limit} connections are open")
        limit = rules.address_limit
        if limit and source and source != instead_of and self._connections[source] >= limit:
            raise TooManyConnections(f"{limit} connections come from this address")
        if instead_of is not None:
            self.release(instead_of)
        self._connections[source] += 1
        self._connection_count += 1

    def is_connected(self, source: str) -> bool:
        """Whether a source has a connection."""
        return self._connections.get(source, 0) > 0

    def share_of(self, source: str) -> float:
        """Return which part of all connections a source has, 0.0 to 1.0."""
        return self._connections[source] / max(self._connection_count, 1)

    def release(self, source: str) -> None:
        """Note that an admitted connection of a source has ended."""
        self._connection_count -= 1
        self._connections[source] -= 1
        if not self._connections[source]:
            del self._connections[source]

    def _forget(self, room: Room) -> None:
        del self._table(private=room.private)[room.room_id], self._empty[room]

    def _refuse(self, peer: Peer, error: RemoteProtocolError, now_ms: int, request_id: str | None) -> None:
        self.counts.errors[error.code] += 1
        self._send(peer, replies.error(error.code, error.message, error.details, now_ms, request_id))

    def _send(self, peer: Peer, data: bytes) -> None:
        if peer.mailbox is not None:
            peer.mailbox.add(Kind.REPLY, data)
        self._effects.append(Send((peer.peer_id,), data))

    def _tell(self, room: Room, to: tuple[str, ...], data: bytes) -> None:
        """Announce an event to members; those of them that are away have no connection that it could go to."""
        for mailbox in room.kept.values():
            mailbox.add(Kind.EVENT, data)
        if to:
            self._effects.append(Send(to, data))

    def _take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def is_abandoned(room: Room, password: bytes | None) -> bool:
    """Whether nobody would miss a private room, and somebody wants another one of its name, with this password."""
    return room.private and not room.members and room.charter is not None and room.charter.password != password
