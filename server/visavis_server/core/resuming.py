"""RESUME: a new connection takes over the peer of a former one; `resumption` says who may."""

from __future__ import annotations

from visavis_server.core import replies
from visavis_server.core.admission import Admission
from visavis_server.core.buckets import Cause
from visavis_server.core.counts import ResumeResult
from visavis_server.core.effects import Ping, Rebind, Send
from visavis_server.core.governance import TooManyGuesses
from visavis_server.core.grants import NOTHING
from visavis_server.core.mailbox import Kind, Letter
from visavis_server.core.resumption import Resumption
from visavis_server.core.rooms import Peer, Room
from visavis_server.core.tickets import Ticket, TicketRefused
from visavis_shared.closing import CloseCode
from visavis_shared.envelope import Envelope
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import ResumePayload, decode_payload


class Resuming(Admission):
    """The message RESUME."""

    def _on_resume(self, fresh: Peer, envelope: Envelope, now: float, now_ms: int) -> None:
        payload = decode_payload(ResumePayload, envelope.payload_bytes)
        if fresh.room is not None or fresh.counter:
            raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "RESUME comes before any JOIN", "type")
        try:
            if self.resumption is None:
                raise TicketRefused("this server keeps nobody")
            ticket = self.resumption.check(payload.token, self.peers, now_ms)
            peer = self.peers.get(ticket.peer_id)
            if peer is fresh:
                reason = "the token is this connection's own"
                raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, reason, "payload.token")
            grants = NOTHING
            if ticket.room_id:
                grants = self._authorize_resume(fresh, ticket, now, now_ms, present=peer is not None)
            elif peer is not None and peer.room is not None:
                self._check_member(fresh, peer, peer.room, ticket, now_ms)
        except TicketRefused as refusal:
            self.counts.resumes[ResumeResult.REFUSED] += 1
            self.buckets.refusals[Cause.RESUME_TOKEN] += 1
            # who shows the right one is never kept out by others of its address: nobody guesses a MAC
            if not self.guard.may_resume(fresh.source, now):
                raise TooManyGuesses from None
            self.guard.fail_resume(fresh.source, now)
            raise RemoteProtocolError(ErrorCode.UNAUTHORIZED, "cannot resume", str(refusal)) from None
        room = None
        if peer is None and ticket.room_id:
            password = ticket.rights.password if ticket.rights.private else None
            room = self._room_with_space(ticket.room_id, fresh.source, now, now_ms, password=password)
        # nothing below can fail
        del self.peers[fresh.peer_id]
        self._effects.append(Rebind(fresh.peer_id, ticket.peer_id, CloseCode.REPLACED, "resumed on another connection"))
        if self.relay is not None:
            self.relay.take_over(ticket.peer_id, fresh.peer_id, now)
        if peer is None:
            peer = self.peers[ticket.peer_id] = Peer(ticket.peer_id, now)
            peer.grants = grants
        elif peer.away_since is None:
            self.release(peer.source)
        peer.source, peer.location, peer.bucket = fresh.source, fresh.location, fresh.bucket
        if peer.mailbox is not None:
            peer.mailbox.move(peer.source)
        peer.token = fresh.token or peer.token
        peer.last_seen_at = peer.pinged_at = now
        peer.take_description(payload)
        self._continue(self.resumption, peer, ticket, room, payload.received, envelope.request_id, now, now_ms)

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
        self.counts.resumes[ResumeResult.GAP if gap else ResumeResult.COMPLETE] += 1
        if room is not None:
            self._enter(peer, room, now_ms)
        elif peer.room is not None:
            peer.describe(peer.joined_at)
        seq = 0
        if peer.room is not None:
            seq = peer.room.seq - (0 if gap else sum(letter.kind is Kind.EVENT for letter in missed))
        offer = resumption.offer(peer, now_ms)
        ack = replies.resumed(peer, offer, gap=gap, taken=taken, seq=seq, now_ms=now_ms, request_id=request_id)
        self._effects.append(Send((peer.peer_id,), ack))
        self._effects.extend(Send((peer.peer_id,), letter.data) for letter in missed)
        # its pong shows that the new token has arrived
        self._effects.append(Ping((peer.peer_id,)))
        if room is not None:
            self._tell(room, room.others(peer), replies.peer_joined(peer, room, now_ms))
        if peer.mailbox is None:
            self._keep_from_now_on(resumption, peer, now)
