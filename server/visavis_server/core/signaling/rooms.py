"""Who is in which room, in which order, by which rules, and what is kept for those who are away.

Peers come and go by their ids: nothing here knows a connection, or how much one may say (`edge`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from visavis_server.core.access.causes import Cause
from visavis_server.core.relay.relay import Relay
from visavis_server.core.signaling import replies
from visavis_server.core.signaling.charter import Charter
from visavis_server.core.signaling.counts import Counts
from visavis_server.core.signaling.mailbox import Kind, Letter
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.rules import Rules
from visavis_server.core.signaling.verdicts import Verdicts
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import Departure


class Rooms:
    """Peers and rooms, and the steps by which they change.

    `now` is in seconds on a monotonic clock, `now_ms` in milliseconds since the epoch. What a step sends it puts into
    the `post`.
    """

    def __init__(
        self,
        rules: Rules,
        post: Post,
        counts: Counts,
        refusals: Counter[Cause],
        *,
        relay: Relay | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        """`relay` is told whose introductions end; without `resumption` nobody is kept."""
        self.rules = rules
        self.resumption = resumption
        self.draining = False
        """Whether the server is about to stop: nobody who goes away comes back to this hub."""
        self.peers: dict[str, Peer] = {}
        """Those connected, at most `rules.peer_limit`, and those away, as many again."""
        self.open: dict[str, Room] = {}
        """The open ones; with the private ones at most `rules.room_limit`."""
        self.private: dict[str, Room] = {}
        """Those that are shown to their members only: a name of theirs says nothing of the open room of that name."""
        self.verdicts = Verdicts()
        self._post = post
        self._counts = counts
        self._refusals = refusals
        self._relay = relay
        self._empty: dict[Room, None] = {}
        """Those without members, longest empty first."""

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def room_count(self) -> int:
        """Rooms, open and private, empty ones included."""
        return len(self.open) + len(self.private)

    @property
    def member_count(self) -> int:
        """Peers in rooms."""
        return sum(len(room.members) for room in self.all())

    @property
    def empty(self) -> tuple[Room, ...]:
        """Rooms without members, longest empty first."""
        return tuple(self._empty)

    def all(self) -> Iterator[Room]:
        """Yield the open and the private rooms."""
        return chain(self.open.values(), self.private.values())

    def named(self, room_id: str) -> list[Room]:
        """Return the open and the private room of a name, those of them that exist."""
        return list(filter(None, (self.open.get(room_id), self.private.get(room_id))))

    def existing(self, room_id: str, private: bytes | None) -> Room | None:
        """Return the room that is joined by that name; `private` is the digest of a private room's password."""
        room = self._table(private=private is not None).get(room_id)
        return None if room is not None and _is_abandoned(room, private) else room

    # --- rooms come and go --------------------------------------------------------------------------------------------

    def check_space(self, room: Room) -> None:
        """Check that one more may join a room.

        Raises RemoteProtocolError (ROOM_FULL).
        """
        own = room.charter.capacity if room.charter is not None else 0
        capacity = min(filter(None, (own, self.rules.room_capacity)), default=0)
        if 0 < capacity <= len(room.members):
            self._refusals[Cause.ROOM_CAPACITY] += 1
            raise RemoteProtocolError(ErrorCode.ROOM_FULL, "room is full", f"max_peers: {capacity}")

    def make(self, room_id: str, password: bytes | None, now: float, now_ms: int) -> Room:
        """Make a room that does not exist (see `existing`); with a `password` (its digest) a private one.

        Where there are too many, the one that is longest empty makes way.

        Raises RemoteProtocolError (ROOM_FULL).
        """
        table = self._table(private=password is not None)
        abandoned = table.get(room_id)
        if abandoned is not None:
            self._forget(abandoned)
        if self.room_count >= self.rules.room_limit:
            oldest = next(iter(self._empty), None)
            if oldest is None:
                self._refusals[Cause.ROOMS] += 1
                reason = f"the server has its {self.rules.room_limit} rooms"
                raise RemoteProtocolError(ErrorCode.ROOM_FULL, "no space for another room", reason)
            self._forget(oldest)
        room = table[room_id] = Room(room_id, now_ms, now, private=password is not None)
        if password is not None:
            room.charter = Charter.of_private_room(password)
        return room

    def close(self, room: Room, reason: str, now: float, now_ms: int) -> None:
        """Put everybody out of a room, and forget it."""
        self.verdicts.close(room.private, room.room_id, now_ms)
        for peer in list(room.members.values()):
            self.expel(peer, reason, now, now_ms)
        if room in self._empty:
            self._forget(room)

    def _table(self, *, private: bool) -> dict[str, Room]:
        return self.private if private else self.open

    def _forget(self, room: Room) -> None:
        del self._table(private=room.private)[room.room_id], self._empty[room]

    # --- peers come and go --------------------------------------------------------------------------------------------

    def enter(self, peer: Peer, room: Room, now_ms: int) -> None:
        """Put a peer into a room; the announcement is the caller's."""
        peer.describe(joined_at=now_ms)
        peer.room = room
        room.members[peer.peer_id] = peer
        room.seq += 1
        self._empty.pop(room, None)

    def keep_from_now_on(self, resumption: Resumption, peer: Peer, now: float) -> None:
        """Keep what a peer is sent from now on, so that it may be away."""
        mailbox = resumption.enable(peer, now)
        if peer.room is not None:
            peer.room.kept[peer.peer_id] = mailbox

    def leave(self, peer: Peer, now: float, now_ms: int) -> None:
        """Take a peer out of its room because it wants to: its introductions end, too."""
        self._depart(peer, Departure.LEFT, now, now_ms)
        if self._relay is not None:
            self._relay.on_left(peer.peer_id)

    def expel(self, peer: Peer, reason: str, now: float, now_ms: int) -> None:
        """Put a peer out of its room and tell it why; its resume tokens are void."""
        room = peer.room
        assert room is not None
        if self.resumption is not None:
            self.resumption.revoke(peer)
        if peer.away_since is not None:
            self._give_up(peer, now, now_ms)
            return
        self.leave(peer, now, now_ms)
        self._post.send(peer, replies.expelled(peer.peer_id, room, reason, now_ms))

    def remove(self, peer: Peer, cause: Departure, now: float, now_ms: int) -> None:
        """Forget a peer for good, and tell its room."""
        del self.peers[peer.peer_id]
        if self.resumption is not None:
            self.resumption.forget(peer, now_ms)
        self._depart(peer, cause, now, now_ms)

    def park(self, peer: Peer, cause: Departure, now: float, now_ms: int) -> None:
        """Keep a peer that has lost its connection, if it has asked for it; `cause` is told if it does not come back.

        One that is kept may cost the place of another one.
        """
        if self.resumption is None or peer.mailbox is None:
            self.remove(peer, cause, now, now_ms)
            return
        peer.away_because = cause
        too_many = self.resumption.park(peer, now)
        if too_many is not None:
            self._give_up(too_many, now, now_ms)

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
            self._post.announce(room, room.peer_ids, replies.peer_left(peer.peer_id, room, cause, now_ms))
        else:
            room.empty_at = now
            self._empty[room] = None

    def _give_up(self, peer: Peer, now: float, now_ms: int) -> None:
        """Forget a peer that is away, and tell its room and who has written to it."""
        self._return_undelivered(peer, now_ms)
        self.remove(peer, peer.away_because, now, now_ms)

    # --- what is written to who may be away ---------------------------------------------------------------------------

    def keep(self, target: Peer, data: bytes, sender: Peer, request_id: str | None, now_ms: int) -> None:
        """Put a directed message into the mailbox of a peer.

        Raises RemoteProtocolError (PEER_NOT_FOUND) when the peer is away and will not get it.
        """
        assert target.mailbox is not None
        if target.away_since is not None and self.draining:
            reason = "the server is about to stop"
        elif not target.mailbox.add(Kind.DIRECTED, data, sender.peer_id, request_id, sender.source):
            self._refusals[Cause.MAILBOX] += 1
            reason = "its mailbox is full"
        else:
            self._counts.kept += target.away_since is not None
            evicted = target.mailbox.take_evicted()
            self._refusals[Cause.MAILBOX] += len(evicted)
            self._tell_undelivered(evicted, f"peer_id: {target.peer_id}; its mailbox is full", now_ms)
            return
        details = f"peer_id: {target.peer_id}; {reason}"
        raise RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "target peer is away", details)

    def _return_undelivered(self, peer: Peer, now_ms: int) -> None:
        """Tell the senders of the messages that a peer, which is away, will never get."""
        assert peer.mailbox is not None
        details = f"peer_id: {peer.peer_id}; it did not come back"
        self._tell_undelivered(peer.mailbox.return_undelivered(), details, now_ms)

    def _tell_undelivered(self, letters: list[Letter], details: str, now_ms: int) -> None:
        for letter in letters:
            self._counts.undelivered += 1
            sender = self.peers.get(letter.sender_id)
            if sender is not None:
                error = RemoteProtocolError(ErrorCode.PEER_NOT_FOUND, "message not delivered", details)
                self._post.refuse(sender, error, now_ms, letter.request_id)

    # --- time ---------------------------------------------------------------------------------------------------------

    def drain(self, now_ms: int) -> None:
        """From now on refuse directed messages to peers that are away, those kept for them included."""
        self.draining = True
        if self.resumption is not None:
            for peer in self.resumption.away.values():
                self._return_undelivered(peer, now_ms)

    def handle_timer(self, now: float, now_ms: int) -> None:
        """Give up who is away for too long, and close and forget rooms whose time is over."""
        if self.resumption is not None:
            self._sweep_resumption(self.resumption, now, now_ms)
        for room in [each for each in self.all() if each.charter is not None]:
            if room.charter is not None and room.charter.closes_at is not None and now >= room.charter.closes_at:
                self.close(room, "the time of the room is over", now, now_ms)
        for room in list(self._empty):
            if now - room.empty_at < self.rules.empty_room_ttl:
                break
            self._forget(room)

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
                self._post.send(peer, replies.refreshed(resumption.refresh(peer, now, now_ms), now_ms))


def _is_abandoned(room: Room, password: bytes | None) -> bool:
    """Whether nobody would miss a private room, and somebody wants another one of its name, with this password."""
    return room.private and not room.members and room.charter is not None and room.charter.password != password
