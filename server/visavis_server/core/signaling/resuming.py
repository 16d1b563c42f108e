"""RESUME: a new connection takes over the peer of a former one; `resumption` says who may."""

from __future__ import annotations

from visavis_server.core.access.causes import Cause
from visavis_server.core.access.gate import Gate
from visavis_server.core.access.grants import NOTHING, Grants
from visavis_server.core.access.guessing import TooManyGuesses
from visavis_server.core.relay.relay import Relay
from visavis_server.core.signaling import replies
from visavis_server.core.signaling.admission import Admission
from visavis_server.core.signaling.counts import Counts, ResumeResult
from visavis_server.core.signaling.edge import Client, Edge
from visavis_server.core.signaling.effects import Ping, Rebind, Send
from visavis_server.core.signaling.mailbox import Kind, Letter
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.resumption import Resumption
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.rooms import Rooms
from visavis_server.core.signaling.tickets import Ticket, TicketRefused
from visavis_shared.closing import CloseCode
from visavis_shared.envelope import Envelope
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import ResumePayload, decode_payload


class Resuming:
    """The message RESUME."""

    def __init__(
        self,
        edge: Edge,
        rooms: Rooms,
        admission: Admission,
        gate: Gate,
        counts: Counts,
        post: Post,
        relay: Relay | None,
    ) -> None:
        self._edge = edge
        self._rooms = rooms
        self._admission = admission
        self._gate = gate
        self._counts = counts
        self._post = post
        self._relay = relay

    def on_resume(self, client: Client, envelope: Envelope, now: float, now_ms: int) -> None:
        """Give a new connection the peer that its token names."""
        payload = decode_payload(ResumePayload, envelope.payload_bytes)
        rooms, fresh = self._rooms, client.peer
        if fresh.room is not None or fresh.counter:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "RESUME comes before any JOIN", "type")
        resumption = rooms.resumption
        try:
            if resumption is None:
                raise TicketRefused("this server keeps nobody")
            ticket = resumption.check(payload.token, rooms.peers, now_ms)
            peer = rooms.peers.get(ticket.peer_id)
            if peer is fresh:
                reason = "the token is this connection's own"
                raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, reason, "payload.token")
            grants = self._authorize(client, peer, ticket, now, now_ms)
        except TicketRefused as refusal:
            self._counts.resumes[ResumeResult.REFUSED] += 1
            self._edge.buckets.refusals[Cause.RESUME_TOKEN] += 1
            # who shows the right one is never kept out by others of its address: nobody guesses a MAC
            if not self._gate.guard.may_resume(client.source, now):
                raise TooManyGuesses from None
            self._gate.guard.fail_resume(client.source, now)
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "cannot resume", str(refusal)) from None
        room = None
        if peer is None and ticket.room_id:
            password = ticket.rights.password if ticket.rights.private else None
            room = self._admission.room_with_space(ticket.room_id, password, client.source, now, now_ms)
        # nothing below can fail
        self._post.effects.append(
            Rebind(fresh.peer_id, ticket.peer_id, CloseCode.REPLACED, "resumed on another connection")
        )
        if self._relay is not None:
            self._relay.take_over(ticket.peer_id, fresh.peer_id, now)
        if peer is None:
            peer = rooms.peers[ticket.peer_id] = Peer(ticket.peer_id, now)
            peer.grants = grants
        self._take_over(client, peer, now)
        peer.take_description(payload)
        self._continue(resumption, peer, ticket, room, payload.received, envelope.request_id, now, now_ms)

    def _authorize(self, client: Client, peer: Peer | None, ticket: Ticket, now: float, now_ms: int) -> Grants:
        """Check that a connection may have the peer of a ticket, None where there is none any more.

        Returns what a peer that joins anew may.

        Raises TicketRefused, RemoteProtocolError.
        """
        if ticket.room_id:
            return self._admission.authorize_resume(client, ticket, now, now_ms, present=peer is not None)
        if peer is not None and peer.room is not None:
            self._admission.check_member(client, peer, peer.room, ticket, now_ms)
        return NOTHING

    def _take_over(self, client: Client, peer: Peer, now: float) -> None:
        """Let a connection speak for `peer`; the peer that was made for it is forgotten."""
        fresh = client.peer
        del self._rooms.peers[fresh.peer_id]
        self._edge.rebind(client, peer, now)
        peer.source = client.source
        if peer.mailbox is not None:
            peer.mailbox.move(peer.source)
        peer.token = fresh.token or peer.token

    def _continue(
        self,
        resumption: Resumption,
        peer: Peer,
        ticket: Ticket,
        room: Room | None,
        received: int,
        request_id: str | None,
        now: float,
        now_ms: int,
    ) -> None:
        """Give a resumed peer what it has missed; `room` is to be entered anew, the server having lost all else."""
        again = ticket.counter < peer.counter
        resumption.use(peer, ticket, now)
        missed: list[Letter] = []
        gap = peer.mailbox is None
        taken: int | None = None
        if peer.mailbox is not None:
            # who shows an old token has not seen the ACK that began the present count, so nothing after it either
            missed, gap = peer.mailbox.resume(0 if again else received)
            taken = peer.mailbox.intake.resume(again=again)
        self._counts.resumes[ResumeResult.GAP if gap else ResumeResult.COMPLETE] += 1
        if room is not None:
            self._rooms.enter(peer, room, now_ms)
        elif peer.room is not None:
            peer.describe(peer.joined_at)
        seq = 0
        if peer.room is not None:
            seq = peer.room.seq - (0 if gap else sum(letter.kind is Kind.EVENT for letter in missed))
        offer = resumption.offer(peer, now_ms)
        ack = replies.resumed(peer, offer, gap=gap, taken=taken, seq=seq, now_ms=now_ms, request_id=request_id)
        self._post.effects.append(Send((peer.peer_id,), ack))
        self._post.effects.extend(Send((peer.peer_id,), letter.data) for letter in missed)
        # its pong shows that the new token has arrived
        self._post.effects.append(Ping((peer.peer_id,)))
        if room is not None:
            self._post.announce(room, room.others(peer), replies.peer_joined(peer, room, now_ms))
        if peer.mailbox is None:
            self._rooms.keep_from_now_on(resumption, peer, now)
