"""Who may come back: the rules by which a new connection takes over a peer that another connection had.

    ->  RESUME token, received      (on a new connection, before any JOIN)
    <-  ACK                         the former peer_id, the room and its members, a new token
    <-  ...                         what the client has missed, in order

A token is used up once the connection that used it has shown, by a pong, that it got the next one: until then a client
whose connection broke again may use it again. Of two connections the newer one wins.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from visavis_server.core.signaling.mailbox import Mailbox, Space
from visavis_server.core.signaling.room import Peer
from visavis_server.core.signaling.tickets import TICKET_LIFETIME, Rights, Ticket, TicketRefused, TicketSigner
from visavis_shared.messages import ResumeOffer

REFRESH_INTERVAL: Final = TICKET_LIFETIME / 2
"""Seconds after which a connected peer gets a new token: the one that it holds is always good for as long again."""


class Resumption:
    """The tokens in use and the peers that are away."""

    def __init__(self, signer: TicketSigner, grace: float, away_limit: int, source_limit: int = 0) -> None:
        """`grace` in seconds; `away_limit` peers may be away at once, the one that is longest makes way.

        Of one source `source_limit` likewise, 0 for no limit.
        """
        self.grace = grace
        self.away: OrderedDict[str, Peer] = OrderedDict()
        """The peers without a connection, longest first."""
        self.space = Space()
        self._signer = signer
        self._away_limit = away_limit
        self._source_limit = source_limit
        self._away_of: dict[str, OrderedDict[str, Peer]] = {}
        """Those of each source, longest first; known where it is not this host."""
        self._parked_as: dict[str, str] = {}
        """The source that each of them was counted under."""
        self._gone: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """By peer_id: the first counter that is still accepted of a peer that is gone, and until when that matters
        (milliseconds since the epoch). At most `away_limit`."""

    def offer(self, peer: Peer, now_ms: int) -> ResumeOffer:
        """Return what a peer is told: its current token and how long it may be away."""
        room = peer.room
        rights = Rights()
        if room is not None:
            rights = Rights(room.private, room.charter.password if room.charter is not None else None, peer.grants)
        token = self._signer.issue(peer.peer_id, room.room_id if room else "", peer.counter, now_ms, rights)
        return ResumeOffer(token=token, grace=self.grace)

    def refresh(self, peer: Peer, now: float, now_ms: int) -> ResumeOffer:
        """Return the offer again, with a new expiry."""
        peer.refresh_at = now + REFRESH_INTERVAL
        return self.offer(peer, now_ms)

    def enable(self, peer: Peer, now: float) -> Mailbox:
        """Keep what a peer is sent from now on."""
        self.disable(peer)
        mailbox = peer.mailbox = Mailbox(self.space, peer.source)
        peer.refresh_at = now + REFRESH_INTERVAL
        return mailbox

    def disable(self, peer: Peer) -> None:
        """Stop keeping what a peer is sent. Idempotent."""
        if peer.mailbox is not None:
            peer.mailbox.clear()
            peer.mailbox = None

    def check(self, token: str, known: dict[str, Peer], now_ms: int) -> Ticket:
        """Return what a token says, if it may be used now.

        Raises TicketRefused.
        """
        ticket = self._signer.verify(token, now_ms)
        peer = known.get(ticket.peer_id)
        if peer is None:
            first_accepted, _ = self._gone.get(ticket.peer_id, (0, 0))
        else:
            first_accepted = peer.first_accepted
        if ticket.counter < first_accepted:
            raise TicketRefused("the token has been used")
        if peer is not None and ticket.room_id and not _is_in_its_room(peer, ticket):
            raise TicketRefused("the token is for another room")
        return ticket

    def use(self, peer: Peer, ticket: Ticket, now: float) -> None:
        """Note that a connection has taken over `peer` by this ticket; the next token has a higher counter."""
        self._return(peer)
        peer.first_accepted = ticket.counter
        peer.counter = max(peer.counter, ticket.counter) + 1
        peer.away_since = None
        peer.refresh_at = now + REFRESH_INTERVAL

    def confirm(self, peer: Peer) -> None:
        """A pong has come: the client has its current token, and the one before is used up."""
        peer.first_accepted = peer.counter

    def revoke(self, peer: Peer) -> None:
        """Accept no token any more that this peer has now."""
        peer.counter += 1
        peer.first_accepted = peer.counter

    def park(self, peer: Peer, now: float) -> Peer | None:
        """Keep a peer whose connection is lost; returns another one that has to make way for it."""
        assert peer.mailbox is not None
        peer.mailbox.park()
        peer.away_since = now
        self.away[peer.peer_id] = peer
        if peer.source:
            ghosts = self._away_of.setdefault(peer.source, OrderedDict())
            ghosts[peer.peer_id] = peer
            self._parked_as[peer.peer_id] = peer.source
            if 0 < self._source_limit < len(ghosts):
                return next(iter(ghosts.values()))
        return next(iter(self.away.values())) if len(self.away) > self._away_limit else None

    def _return(self, peer: Peer) -> None:
        """A peer is not away any longer. Idempotent."""
        self.away.pop(peer.peer_id, None)
        source = self._parked_as.pop(peer.peer_id, None)
        if source is not None:
            del self._away_of[source][peer.peer_id]
            if not self._away_of[source]:
                del self._away_of[source]

    def expired(self, now: float) -> list[Peer]:
        """Return the peers that have been away for the grace."""
        late: list[Peer] = []
        for peer in self.away.values():
            if peer.away_since is not None and now - peer.away_since < self.grace:
                break
            late.append(peer)
        return late

    def forget(self, peer: Peer, now_ms: int) -> None:
        """Note that a peer is gone: tokens that it has used stay used."""
        self._return(peer)
        self.disable(peer)
        if peer.counter:
            self._gone[peer.peer_id] = (peer.first_accepted, now_ms + round(TICKET_LIFETIME * 1000))
            if len(self._gone) > self._away_limit:
                self._gone.popitem(last=False)

    def sweep(self, now_ms: int) -> None:
        """Forget peers all of whose tokens have expired."""
        while self._gone:
            peer_id, (_, until) = next(iter(self._gone.items()))
            if until > now_ms:
                break
            del self._gone[peer_id]


def _is_in_its_room(peer: Peer, ticket: Ticket) -> bool:
    room = peer.room
    return room is not None and room.room_id == ticket.room_id and room.private == ticket.rights.private
