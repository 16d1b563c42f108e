"""One peer: from OFFER and ANSWER to a valid pair, and again when that fails.

    offerer                                   answerer
    OFFER (credentials, candidates)    ──▶
                                              opener to every candidate: its filter is open
                                       ◀──    ANSWER (credentials, candidates, ready)
    opener, then checks at once
    READY                              ──▶    checks at READY, at the first check that comes in, or after 150 ms

No check meets a closed filter, and none reaches a Linux NAT before that NAT's own host has sent
(docs/link.md, "Open, READY, punch"). Glare resolves to the OFFER of the smaller peer id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, assert_never

from visavis_peer.core.meeting import link_protocols
from visavis_peer.core.meeting.effects import (
    UNTRUSTED_ANSWER,
    UNTRUSTED_OFFER,
    AddCandidate,
    DropSession,
    Effect,
    FailureKind,
    Introduce,
    OpenHoles,
    ReportFailure,
    SendAnswer,
    SendOffer,
    SendReady,
    SendRefusal,
    SetRemote,
    StartChecks,
    StartSession,
    SuspectSession,
    UpdateNat,
    UseSession,
)
from visavis_peer.core.meeting.role import Role
from visavis_peer.core.signaling.backoff import punch_delay
from visavis_peer.events import NO_ANSWER
from visavis_shared import limits
from visavis_shared.messages import AnswerPayload, CandidatePayload, IceDescription, OfferPayload
from visavis_shared.nat import NatReport

ANSWER_TIMEOUT: Final = 5.0
"""Seconds that a peer has to answer an OFFER: it has nothing to wait for itself."""
READY_TIMEOUT: Final = 0.15
"""Seconds after which the answerer starts without READY: one signaling round trip in the common case."""
ROUND_TIMEOUT: Final = 5.0
"""Seconds of checks before a round has failed: five retransmissions, and a round trip of 2 s still passes."""
REPORT_COUNT: Final = 64
"""NAT reports of one session that are taken: three times what a peer has to say that learns as it goes."""
OFFER_FALLBACK: Final = 3.0
"""Seconds that a side waits for an OFFER which the other should send, before it offers itself."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing under way; `offer_at` is when this side offers, if it shall."""

    offer_at: float | None


@dataclass(frozen=True, slots=True)
class Offering:
    """OFFER sent, ANSWER awaited."""

    session_id: str
    offered_at: float


@dataclass(frozen=True, slots=True)
class Answered:
    """ANSWER sent, READY awaited."""

    session_id: str
    answered_at: float


@dataclass(frozen=True, slots=True)
class Checking:
    """Checks under way."""

    session_id: str
    checking_at: float
    role: Role


State = Idle | Offering | Answered | Checking


class Negotiation:
    """The dealings with one peer of the room.

    Every method takes `now` (seconds, monotonic) and returns effects in order. Messages of other sessions than the
    current one are ignored: they are late.
    """

    def __init__(
        self,
        own_id: str,
        peer_id: str,
        session_ids: Iterator[str],
        may_begin: Callable[[str, float], bool],
        offer_at: float | None,
    ) -> None:
        """`offer_at` is when this side offers, if it shall; `may_begin` decides on the sessions that the peer wants."""
        self.own_id = own_id
        self.peer_id = peer_id
        self.state: State = Idle(offer_at)
        self.up: str | None = None
        """Session that the link rides on."""
        self.failures = 0
        """Failed rounds in a row."""
        self._session_ids = session_ids
        self._may_begin = may_begin
        self.shown = False
        """Whether the peer has said anything that was understood."""
        self.remote_nat: NatReport | None = None
        """What the peer has told of its NAT last."""
        self._candidates = 0
        self._reports = 0
        self._ended = False
        """Whether the peer has named the last of its candidates."""
        self._foreign = False
        """Whether it has been told that there is no protocol of links in common."""
        self._up_role: Role = "offerer"
        self._suspended = False
        """Whether the peer has ceased to answer on the path of `up`."""

    def __repr__(self) -> str:
        return f"Negotiation({self.peer_id}, {self.state}, up={self.up}, failures={self.failures})"

    @property
    def idle(self) -> bool:
        """Whether no OFFER is under way."""
        return isinstance(self.state, Idle)

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called, or None."""
        match self.state:
            case Idle(offer_at):
                return offer_at
            case Offering(offered_at=at):
                return at + ANSWER_TIMEOUT
            case Answered(answered_at=at):
                return at + READY_TIMEOUT
            case Checking(checking_at=at):
                return at + ROUND_TIMEOUT
            case _:
                assert_never(self.state)

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what is due at `now`."""
        due = self.next_timer()
        if due is None or now < due:
            return []
        match self.state:
            case Idle():
                return self._offer(now)
            case Offering():
                return self._fail(NO_ANSWER, "the peer did not answer the OFFER", now, "offerer")
            case Answered():
                return self._start_checks(now)
            case Checking(role=role):
                return self._fail("no_path", "", now, role)
            case _:
                assert_never(self.state)

    def receive_offer(self, offer: OfferPayload, now: float) -> list[Effect]:
        """Answer an OFFER, unless ours has precedence."""
        lacking = _lacking(offer)
        if lacking:
            return [SendRefusal(offer.session_id, self.peer_id, f"the OFFER carries no {lacking}")]
        if link_protocols.common(offer.speaks) is None:
            return self._refuse_foreign(offer)
        if isinstance(self.state, Offering) and self.own_id < self.peer_id:
            return []  # glare: the peer drops its OFFER and answers ours
        if self._is_current(offer.session_id) or offer.session_id == self.up:
            return []
        if not self._may_begin(self.peer_id, now):
            return []  # the peer takes it for lost, and the next round is this side's
        effects = self._drop_attempt()
        self.remote_nat = offer.nat
        self._begin_trickle(offer)
        self.failures = max(self.failures, offer.round)
        self.state = Answered(offer.session_id, answered_at=now)
        return [
            *effects,
            StartSession(offer.session_id, self.peer_id, "answerer", offer.round),
            Introduce(offer.session_id, self.peer_id, offer),
            SetRemote(offer.session_id, self.peer_id, offer),
            OpenHoles(offer.session_id, self.peer_id),
            SendAnswer(offer.session_id, self.peer_id),
        ]

    def receive_answer(self, answer: AnswerPayload, now: float) -> list[Effect]:
        """Begin the checks, or learn of the refusal."""
        state = self.state
        if not isinstance(state, Offering) or answer.session_id != state.session_id:
            return []
        self.remote_nat = answer.nat
        foreign = link_protocols.common(answer.speaks) is None
        if foreign and answer.speaks:
            return self._fail("refused", link_protocols.mismatch(answer.speaks), now, "offerer")
        if not answer.accepted:
            error: FailureKind = "authentication_failed" if answer.reason == UNTRUSTED_OFFER else "refused"
            return self._fail(error, answer.reason or "the peer gave no reason", now, "offerer")
        lacking = _lacking(answer)
        if lacking:
            return self._fail("refused", f"the ANSWER carries no {lacking}", now, "offerer")
        if foreign:
            return self._fail("refused", link_protocols.mismatch(answer.speaks), now, "offerer")
        self._begin_trickle(answer)
        self.state = Checking(state.session_id, checking_at=now, role="offerer")
        return [
            Introduce(state.session_id, self.peer_id, answer),
            SetRemote(state.session_id, self.peer_id, answer),
            OpenHoles(state.session_id, self.peer_id),
            SendReady(state.session_id, self.peer_id),
            StartChecks(state.session_id, self.peer_id),
        ]

    def receive_candidate(self, payload: CandidatePayload, now: float) -> list[Effect]:
        """Take one more candidate, their end, or READY."""
        if not self._is_current(payload.session_id) or isinstance(self.state, Offering):
            return []
        if payload.failed is not None:
            kind: FailureKind = "authentication_failed" if payload.failed == UNTRUSTED_ANSWER else "refused"
            return self._fail(kind, payload.failed, now, "answerer")
        effects: list[Effect] = []
        if payload.candidate is not None and self._candidates < limits.CANDIDATE_COUNT:
            self._candidates += 1
            effects.append(AddCandidate(payload.session_id, self.peer_id, payload.candidate))
        if payload.end_of_candidates and not self._ended:
            self._ended = True
            effects.append(AddCandidate(payload.session_id, self.peer_id, None))
        if payload.nat is not None and self._reports < REPORT_COUNT:
            self._reports += 1
            self.remote_nat = payload.nat
            effects.append(UpdateNat(payload.session_id, self.peer_id, payload.nat))
        if payload.ready:
            effects += self.on_check_received(payload.session_id, now)
        return effects

    def on_check_received(self, session_id: str, now: float) -> list[Effect]:
        """An authenticated check of the peer (or its READY) shows that its filters are open."""
        if isinstance(self.state, Answered) and self.state.session_id == session_id:
            return self._start_checks(now)
        return []

    def on_probing(self, session_id: str, now: float) -> list[Effect]:
        """Probing beyond the checks begins, a NAT having been learnt first: the round lasts as much longer."""
        state = self.state
        if isinstance(state, Checking) and state.session_id == session_id:
            self.state = replace(state, checking_at=now)
        return []

    def on_valid_pair(self, session_id: str, now: float) -> list[Effect]:
        """The first pair of the session is valid: move the link to it."""
        state = self.state
        if not isinstance(state, Checking) or state.session_id != session_id:
            return []
        former = [] if self.up is None else [DropSession(self.up, self.peer_id)]
        self.up, self._up_role = session_id, state.role
        self._suspended = False
        self.failures = 0
        self.state = Idle(None)
        return [UseSession(session_id, self.peer_id), *former]

    def on_session_suspended(self, session_id: str, now: float) -> list[Effect]:
        """The peer no longer answers on the path of a session: look for another beside it."""
        if session_id == self.up:
            self._suspended = True
            if isinstance(self.state, Idle):
                self.state = Idle(self._next_offer(now))
        return []

    def on_session_resumed(self, session_id: str) -> list[Effect]:
        """The peer answers again: there is no need for another path."""
        if session_id == self.up:
            self._suspended = False
            if isinstance(self.state, Idle):
                self.state = Idle(None)
        return []

    def on_session_lost(self, session_id: str, now: float) -> list[Effect]:
        """The path of a session is gone for good: begin again."""
        if session_id != self.up:
            return []
        self.up = None
        if isinstance(self.state, Idle):
            self.state = Idle(self._next_offer(now))
        return [DropSession(session_id, self.peer_id)]

    def restart(self, now: float) -> list[Effect]:
        """The network has changed: look for a path at once, beside the one there is (RFC 8445 section 2.4)."""
        effects = self._drop_attempt()
        self.failures = 0
        self.state = Idle(now)
        return effects + self.handle_timer(now)

    def on_link_closed(self, now: float) -> list[Effect]:
        """The link is over, so its path has no use; the peer may be about to leave, so give it time to do so."""
        effects = self._drop_attempt()
        if self.up is not None:
            effects.append(DropSession(self.up, self.peer_id))
            self.up = None
        self.state = Idle(now + OFFER_FALLBACK)
        return effects

    def abandon(self, *, suspect: bool) -> list[Effect]:
        """The peer is no longer in the room as far as the server says: stop negotiating.

        With `suspect` a link that is up has to prove itself; without, it is left alone.
        """
        effects = self._drop_attempt()
        self.state = Idle(None)
        if suspect and self.up is not None:
            effects.append(SuspectSession(self.up, self.peer_id))
        return effects

    # --- inside -------------------------------------------------------------------------------------------------------

    def _refuse_foreign(self, offer: OfferPayload) -> list[Effect]:
        """Refuse an OFFER of a peer with which there is no common protocol of links; the user is told once."""
        effects: list[Effect] = [
            SendRefusal(offer.session_id, self.peer_id, link_protocols.refusal(offer.speaks), link_protocols.SPOKEN)
        ]
        if not self._foreign:
            self._foreign = True
            reason = link_protocols.mismatch(offer.speaks)
            effects.append(ReportFailure(self.peer_id, "refused", reason, offer.nat, None))
        return effects

    def _begin_trickle(self, description: IceDescription) -> None:
        """Count what may follow an OFFER or ANSWER, so that nobody fills a session's inbox."""
        self._candidates = len(description.candidates)
        self._reports = 0
        self._ended = description.end_of_candidates

    def _offer(self, now: float) -> list[Effect]:
        session_id = next(self._session_ids)
        self.state = Offering(session_id, offered_at=now)
        return [
            StartSession(session_id, self.peer_id, "offerer", self.failures),
            SendOffer(session_id, self.peer_id, self.failures),
        ]

    def _start_checks(self, now: float) -> list[Effect]:
        assert isinstance(self.state, Answered)
        session_id = self.state.session_id
        self.state = Checking(session_id, checking_at=now, role="answerer")
        return [StartChecks(session_id, self.peer_id)]

    def _fail(self, error: FailureKind, reason: str, now: float, role: Role) -> list[Effect]:
        """End the round; the next one is offered by the other side, so that the roles change too."""
        effects = self._drop_attempt()
        self.failures += 1
        delay = punch_delay(self.failures)
        if role == "offerer" and error == "no_path":
            delay += OFFER_FALLBACK
        if self.up is not None and not self._suspended:
            self.state = Idle(None)  # what there is works
            return effects
        self.state = Idle(now + delay)
        effects.append(ReportFailure(self.peer_id, error, reason, self.remote_nat, delay))
        return effects

    def _drop_attempt(self) -> list[Effect]:
        return [] if isinstance(self.state, Idle) else [DropSession(self.state.session_id, self.peer_id)]

    def _is_current(self, session_id: str) -> bool:
        return not isinstance(self.state, Idle) and self.state.session_id == session_id

    def _next_offer(self, now: float) -> float:
        """Return when to offer again: the former offerer at once, the other side if that one does not."""
        return now if self._up_role == "offerer" else now + OFFER_FALLBACK


def _lacking(description: IceDescription) -> str:
    """Return what an OFFER or ANSWER lacks for a link, empty if nothing."""
    if description.ice is None:
        return "ICE credentials"
    if description.fingerprint is None or description.nonce is None:
        return "certificate fingerprint"
    return ""
