"""Who may join: tokens, passwords, locks, bans, and who guesses at them.

No password is compared before the guard has been asked (`guessing`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from visavis_server.core.access.buckets import Buckets
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.gate import Gate, cannot_join
from visavis_server.core.access.grants import Grants
from visavis_server.core.quiet import LINE_INTERVAL
from visavis_server.core.signaling import replies
from visavis_server.core.signaling.charter import digest, identity_of
from visavis_server.core.signaling.edge import Client
from visavis_server.core.signaling.effects import Audit
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.rooms import Rooms
from visavis_server.core.signaling.tickets import Ticket, TicketRefused
from visavis_shared.errors import TOKEN_EXPIRED, WRONG_PRIVATE, ErrorCode, RemoteProtocolError
from visavis_shared.messages import JoinPayload

SERVER: Final = "server"
"""Who says it in the audit log, where nobody has asked for anything."""
NO_CREATE: Final = "the room does not exist, and the token does not allow to create it"


class Admission:
    """Lets peers into rooms, by JOIN or by RESUME."""

    def __init__(self, rooms: Rooms, gate: Gate, buckets: Buckets, post: Post) -> None:
        self._rooms = rooms
        self._gate = gate
        self._buckets = buckets
        self._post = post
        self._guess_line_at = float("-inf")
        """When a line about a guessed room was last written."""

    def room_with_space(self, room_id: str, password: bytes | None, source: str, now: float, now_ms: int) -> Room:
        """Return the room, made if need be, for `source`; with a `password` (its digest) the private room of that name.

        Raises RemoteProtocolError (ROOM_FULL, RATE_LIMITED), with nothing changed.
        """
        room = self._rooms.existing(room_id, password)
        if room is None:
            cause = self._buckets.admit_room(source, now)
            if cause is not None:
                raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many rooms", f"limit: {cause}")
            return self._rooms.make(room_id, password, now, now_ms)
        self._rooms.check_space(room)
        cause = self._buckets.admit_join(source, now) if room.members else None
        if cause is not None:
            raise RemoteProtocolError(ErrorCode.RATE_LIMITED, "too many JOINs", f"limit: {cause}")
        return room

    # --- JOIN ---------------------------------------------------------------------------------------------------------

    def authorize(
        self, client: Client, room_id: str, payload: JoinPayload, private: bytes | None, now: float, now_ms: int
    ) -> Grants:
        """Check that a peer may join a room, and return what else it may; `private` is the digest of its password.

        Raises RemoteProtocolError (UNAUTHORIZED), TooManyGuesses.
        """
        peer = client.peer
        grants = self._gate.grants(payload.token or peer.token, room_id, client.source, now, now_ms)
        room = self._rooms.existing(room_id, private)
        if room is None and not grants.create:
            raise cannot_join(NO_CREATE)
        if room is not None and payload.create is not None:
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "cannot create this room", "it exists already")
        shown = private
        if shown is None and payload.password is not None:
            shown = digest(payload.password)
        if room is not None and not grants.admin:
            self._check_password(peer, room, grants, shown, now, now_ms)
        return grants

    def _check_password(
        self, peer: Peer, room: Room, grants: Grants, shown: bytes | None, now: float, now_ms: int
    ) -> None:
        charter = room.charter
        if charter is None or not charter.needs_password(
            identity_of(peer.peer_id, peer.source, grants.subject), peer.peer_id
        ):
            return
        if shown is None:
            raise cannot_join("the room has a password")
        scope = f"private {room.room_id}" if room.private else f"room {room.room_id}"
        self._gate.check_tries(scope, peer.source, now)
        if charter.opens(shown):
            self._gate.guard.let_in(scope, peer.source, now)
            return
        self._gate.fail(scope, Cause.WRONG_PASSWORD, peer.source, now)
        self._tell_guesses(room, charter.suspicion.add(now), now, now_ms)
        if room.private and (count := charter.visitors.add(now)):
            self._tell_members(room, count, now_ms)
        raise cannot_join(WRONG_PRIVATE if room.private else "the password is wrong")

    def _tell_members(self, room: Room, count: int, now_ms: int) -> None:
        """Tell the members of a private room that it has been shown `count` wrong passwords; whoever it was is not."""
        times = "" if count == 1 else f" ({count} times since this was last said)"
        told = replies.notice(f"somebody has tried to come in with a wrong secret{times}", now_ms)
        for member in room.members.values():
            self._post.send(member, told)

    def _tell_guesses(self, room: Room, count: int, now: float, now_ms: int) -> None:
        """Tell owner and log that a room has been shown `count` wrong passwords; nothing if that is 0."""
        if not count:
            return
        self._buckets.refusals[Cause.GUESSED_ROOM] += 1
        owner = room.members.get(room.charter.owner_id) if room.charter is not None else None
        if owner is not None:
            told = f"somebody guesses at the password: {count} wrong ones so far"
            self._post.send(owner, replies.notice(told, now_ms))
        if now - self._guess_line_at >= LINE_INTERVAL:
            self._guess_line_at = now
            self._post.effects.append(Audit(SERVER, "guessed", room.room_id, f"{count} wrong passwords"))

    # --- RESUME -------------------------------------------------------------------------------------------------------

    def authorize_resume(self, fresh: Client, ticket: Ticket, now: float, now_ms: int, *, present: bool) -> Grants:
        """Check that whoever shows a ticket for a room may be in it: one that is no member is let in as by a JOIN.

        Returns what else it may.

        Raises TicketRefused, RemoteProtocolError.
        """
        rights = ticket.rights
        identity = identity_of(ticket.peer_id, fresh.source, rights.grants.subject)
        room = self._rooms.existing(ticket.room_id, rights.password if rights.private else None)
        self._check_bans(room, ticket, identity, now_ms)
        if present:
            return rights.grants
        grants = self._grants_of_ticket(fresh, ticket, now, now_ms)
        identity = identity_of(ticket.peer_id, fresh.source, grants.subject or rights.grants.subject)
        self._check_bans(room, ticket, identity, now_ms)
        if room is None and not grants.create:
            raise TicketRefused(NO_CREATE)
        if room is None or room.charter is None or grants.admin:
            return grants
        # what was signed is no guess: a password that is wrong by now was right once
        if room.charter.needs_password(identity, ticket.peer_id) and not room.charter.opens(rights.password or b""):
            raise TicketRefused(WRONG_PRIVATE if room.private else "the room has another password now")
        return grants

    def check_member(self, fresh: Client, peer: Peer, room: Room, ticket: Ticket, now_ms: int) -> None:
        """Check that nothing holds against a member who shows a ticket from before its JOIN, which names no room.

        Raises TicketRefused.
        """
        named = replace(ticket, room_id=room.room_id, rights=replace(ticket.rights, private=room.private))
        self._check_bans(room, named, identity_of(peer.peer_id, fresh.source, peer.grants.subject), now_ms)

    def _check_bans(self, room: Room | None, ticket: Ticket, identity: str, now_ms: int) -> None:
        self._rooms.verdicts.check(ticket, identity, now_ms)
        if room is not None and room.charter is not None:
            room.charter.check_ban(identity)

    def _grants_of_ticket(self, fresh: Client, ticket: Ticket, now: float, now_ms: int) -> Grants:
        """Return what this connection's token allows, else what the one allowed with which the peer joined."""
        shown = fresh.peer.token
        if self._gate.authorizer.is_open or shown:
            return self._gate.grants(shown, ticket.room_id, fresh.source, now, now_ms)
        grants = ticket.rights.grants
        if not grants.expires_at:
            raise TicketRefused("this server asks for a token")
        if grants.expires_at <= now_ms:
            raise TicketRefused(TOKEN_EXPIRED)
        return grants
