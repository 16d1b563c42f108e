"""The room as an agent sees it: who is there, who offers to whom, and one negotiation for each peer."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from visavis_peer.core.counts import MEMBER_COUNT, PEER_COUNT
from visavis_peer.core.meeting.effects import DropSession, Effect, SendRefusal, SessionKey
from visavis_peer.core.meeting.negotiation import OFFER_FALLBACK, Negotiation
from visavis_peer.core.meeting.session_budget import SessionBudget
from visavis_shared.messages import Answer, CandidateMessage, IceDescription, Offer, PeerInfo

OWN_ID_COUNT: Final = 64
"""Ids of its own that an agent remembers: more than a server with its defaults has not given up yet."""


class Mesh:
    """Membership and negotiations. Every method takes `now` (seconds, monotonic) and returns effects in order.

    Who was in the room first offers to the newcomer.
    """

    def __init__(self, session_ids: Iterator[str], *, sealed: bool = False) -> None:
        """`sealed` tells whether the room has a secret: then only who shows a fresh value can be told anything."""
        self._sealed = sealed
        self.own_id = ""
        self.members: dict[str, PeerInfo] = {}
        self.negotiations: dict[str, Negotiation] = {}
        """By peer id; at most PEER_COUNT. Members beyond that wait for somebody who never says anything."""
        self._session_ids = session_ids
        self._budget = SessionBudget()
        self._arrived: dict[str, float] = {}
        """By peer id: when those came whom this agent has seen coming."""
        self._waiting: dict[str, None] = {}
        """Members without a negotiation, who has waited longest first."""
        self._names: dict[str, str | None] = {}
        """By peer id: the names that members have sealed."""
        self._own_ids: deque[str] = deque(maxlen=OWN_ID_COUNT)
        """This agent's ids, former ones too: the server may not have noticed that they are gone."""

    def on_joined(self, own_id: str, members: Iterable[PeerInfo], now: float) -> list[Effect]:
        """The room lists this agent; those already there will offer."""
        effects = self.on_signaling_lost()
        self.own_id = own_id
        self._own_ids.append(own_id)
        for info in members:
            if info.peer_id not in self._own_ids and len(self.members) < MEMBER_COUNT:
                self.members[info.peer_id] = info
                self._want(info, now + OFFER_FALLBACK)
        return effects

    def on_peer_joined(self, info: PeerInfo, now: float) -> list[Effect]:
        """Offer to a newcomer; one that is back by the same id, after the server has restarted, is offered to anew."""
        if info.peer_id not in self.members and len(self.members) >= MEMBER_COUNT:
            return []
        self.members[info.peer_id] = info
        self._arrived[info.peer_id] = now
        known = self.negotiations.get(info.peer_id)
        if known is not None:
            return known.restart(now) if known.idle and self._may_begin(info.peer_id, now) else []
        offer_at = now if self._may_begin(info.peer_id, now) else now + OFFER_FALLBACK
        return self._want(info, offer_at, alive=True) + self.handle_timer(now)

    def on_peer_left(self, peer_id: str) -> list[Effect]:
        """Stop negotiating with a peer; its link, if up, must prove itself."""
        self.members.pop(peer_id, None)
        self._arrived.pop(peer_id, None)
        self._waiting.pop(peer_id, None)
        self._names.pop(peer_id, None)
        negotiation = self.negotiations.pop(peer_id, None)
        return negotiation.abandon(suspect=True) if negotiation else []

    def on_signaling_lost(self) -> list[Effect]:
        """Forget the room: its ids are void. Links that are up stay."""
        effects = [
            effect for negotiation in self.negotiations.values() for effect in negotiation.abandon(suspect=False)
        ]
        self.members.clear()
        self._arrived.clear()
        self._waiting.clear()
        self._names.clear()
        self.negotiations.clear()
        return effects

    def receive(self, message: Offer | Answer | CandidateMessage, now: float) -> list[Effect]:
        """Route a directed message to the negotiation with its sender."""
        sender = message.peer_id
        if not sender or sender == self.own_id:
            return []
        if isinstance(message, Offer):
            effects = self._make_room(for_alive=True) if sender not in self.negotiations else []
            negotiation = self._negotiation(sender, offer_at=None)
            if negotiation is None:
                return [SendRefusal(message.payload.session_id, sender, "this agent has as many links as it takes")]
            self._heed(message.payload, negotiation)
            return effects + negotiation.receive_offer(message.payload, now)
        known = self.negotiations.get(sender)
        if known is None:
            return []
        if isinstance(message, Answer):
            self._heed(message.payload, known)
            return known.receive_answer(message.payload, now)
        return known.receive_candidate(message.payload, now)

    def on_check_received(self, key: SessionKey, now: float) -> list[Effect]:
        """See Negotiation.on_check_received."""
        known = self.negotiations.get(key.peer_id)
        return known.on_check_received(key.session_id, now) if known else []

    def on_probing(self, key: SessionKey, now: float) -> list[Effect]:
        """See Negotiation.on_probing."""
        known = self.negotiations.get(key.peer_id)
        return known.on_probing(key.session_id, now) if known else []

    def on_valid_pair(self, key: SessionKey, now: float) -> list[Effect]:
        """See Negotiation.on_valid_pair."""
        known = self.negotiations.get(key.peer_id)
        return known.on_valid_pair(key.session_id, now) if known else []

    def on_session_suspended(self, key: SessionKey, now: float) -> list[Effect]:
        """See Negotiation.on_session_suspended."""
        known = self.negotiations.get(key.peer_id)
        return known.on_session_suspended(key.session_id, now) if known else []

    def on_session_resumed(self, key: SessionKey) -> list[Effect]:
        """See Negotiation.on_session_resumed."""
        known = self.negotiations.get(key.peer_id)
        return known.on_session_resumed(key.session_id) if known else []

    def on_session_lost(self, key: SessionKey, now: float) -> list[Effect]:
        """See Negotiation.on_session_lost; a session that outlived its negotiation is just closed."""
        known = self.negotiations.get(key.peer_id)
        effects = known.on_session_lost(key.session_id, now) if known else []
        return effects or [DropSession(key.session_id, key.peer_id)]

    def on_network_changed(self, now: float) -> list[Effect]:
        """Look for paths to every peer at once."""
        return [effect for each in self._all() for effect in each.restart(now)]

    def on_link_closed(self, peer_id: str, now: float) -> list[Effect]:
        """See Negotiation.on_link_closed."""
        negotiation = self.negotiations.get(peer_id)
        return negotiation.on_link_closed(now) if negotiation else []

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called, or None."""
        return min((at for each in self._all() if (at := each.next_timer()) is not None), default=None)

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what is due at `now`; who has no slot yet gets that of somebody who has never said anything."""
        effects = [effect for each in self._all() for effect in each.handle_timer(now)]
        while self._waiting:
            effects += self._make_room()
            peer_id = next(iter(self._waiting))
            negotiation = self._negotiation(peer_id, offer_at=now)
            if negotiation is None:
                break
            del self._waiting[peer_id]
            effects += negotiation.handle_timer(now)
        return effects

    def fresh_of(self, peer_id: str) -> str | None:
        """Return the fresh value that the room shows of a member, if it shows one."""
        info = self.members.get(peer_id)
        return info.fresh if info else None

    def name_of(self, peer_id: str) -> str | None:
        """Return the name of a member: where there is a secret the one that it has sealed, else the server's."""
        if self._sealed:
            return self._names.get(peer_id)
        info = self.members.get(peer_id)
        return info.display_name if info else None

    def _heed(self, said: IceDescription, negotiation: Negotiation) -> None:
        """Note that a peer has said something of itself; in a room with a secret, that it knows it."""
        negotiation.shown = True
        if self._sealed and said.ice is not None:
            self._names[negotiation.peer_id] = said.name

    def _want(self, info: PeerInfo, offer_at: float, *, alive: bool = False) -> list[Effect]:
        """Have a negotiation with a member, or let it wait for one; `alive` tells whether it is there for certain."""
        if self._sealed and info.fresh is None:
            return []
        effects = self._make_room(for_alive=alive)
        if self._negotiation(info.peer_id, offer_at) is None:
            self._waiting[info.peer_id] = None
        return effects

    def _make_room(self, *, for_alive: bool = False) -> list[Effect]:
        """Where all slots are taken, free one of a member that was offered to in vain and has never said anything.

        For one that is there for certain (`for_alive`), also that of a member which may yet answer.
        """
        if len(self.negotiations) < PEER_COUNT:
            return []
        silent = {peer_id: each for peer_id, each in self.negotiations.items() if not each.shown}
        in_vain = [peer_id for peer_id, each in silent.items() if each.failures and each.idle]
        peer_id = next(iter(in_vain or (silent if for_alive else ())), None)
        if peer_id is None:
            return []
        if peer_id in self.members:
            self._waiting[peer_id] = None
        return self.negotiations.pop(peer_id).abandon(suspect=False)

    def _all(self) -> list[Negotiation]:
        return list(self.negotiations.values())

    def _negotiation(self, peer_id: str, offer_at: float | None) -> Negotiation | None:
        """Return the negotiation with `peer_id`, made if need be; None when there are too many."""
        if peer_id not in self.negotiations:
            if len(self.negotiations) >= PEER_COUNT:
                return None
            self.negotiations[peer_id] = Negotiation(self.own_id, peer_id, self._session_ids, self._may_begin, offer_at)
        return self.negotiations[peer_id]

    def _may_begin(self, peer_id: str, now: float) -> bool:
        """Whether a session that a peer wants may begin; if so it is counted."""
        newcomer = now - self._arrived.get(peer_id, -math.inf) < OFFER_FALLBACK
        return self._budget.take(peer_id, now, newcomer=newcomer)
