"""One ICE session of one negotiation: carries out its effects in order."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from visavis_peer.core.meeting.effects import (
    AddCandidate,
    OpenHoles,
    SendAnswer,
    SendOffer,
    SendReady,
    SessionKey,
    SetRemote,
    StartChecks,
    StartSession,
    UpdateNat,
)
from visavis_peer.core.meeting.link_protocols import SPOKEN
from visavis_peer.core.meeting.role import Role
from visavis_peer.core.nat.strategy import opener_ttl
from visavis_peer.events import PathInfo
from visavis_peer.ice import IceCallbacks, IceSession
from visavis_peer.nat.study import public_endpoint
from visavis_peer.peers.prober import Puncher
from visavis_peer.peers.spare import SessionPool
from visavis_shared.messages import (
    Answer,
    AnswerPayload,
    CandidateMessage,
    CandidatePayload,
    ClientMessage,
    IceDescription,
    Offer,
    OfferPayload,
)
from visavis_shared.nat import NatReport

logger = logging.getLogger(__name__)

INBOX_SIZE: Final = 128
"""Effects of one session that await its ICE agent: the core lets at most 32 candidates, 64 NAT reports and a few others
through."""

_SAMPLED: Final = ("port_bracket", "attempt", "last_port")
"""Members of a report that a session's own sampling sets: they stay when the rest becomes better known."""

SessionEffect = SendOffer | SendAnswer | SendReady | SetRemote | AddCandidate | UpdateNat | OpenHoles | StartChecks


class SessionOwner(Protocol):
    """What a session tells its agent."""

    def send(self, message: ClientMessage) -> None:
        """Send to the signaling server, in order."""

    sealed_name: str | None
    """This agent's display name, where what it is said in is sealed."""
    patience: float | None
    """Seconds for which this agent keeps a link whose peer is silent; None where nobody can be authenticated."""
    probing_turn: asyncio.Semaphore
    """Lets so many sessions probe at a time."""

    def nat_report(self, session: IceSession) -> NatReport:
        """Return what is known of the NAT before `session`."""

    def on_probing(self, key: SessionKey) -> None:
        """Probing beyond the checks begins."""

    def on_no_way(self, key: SessionKey, reason: str) -> None:
        """Nothing but a relay can be expected."""

    def on_check_received(self, key: SessionKey) -> None:
        """The peer has begun its checks."""

    def on_checks_started(self, key: SessionKey) -> None:
        """Both sides' descriptions are known and the checks begin."""

    def on_valid(self, key: SessionKey) -> None:
        """The session has a valid pair, or a better one."""

    def on_suspended(self, key: SessionKey) -> None:
        """The peer has ceased to answer on the session's path."""

    def on_resumed(self, key: SessionKey) -> None:
        """The peer answers again."""

    def on_lost(self, key: SessionKey) -> None:
        """The session's path is dead."""

    def on_datagrams(self, key: SessionKey, datagrams: list[bytes]) -> None:
        """The peer has sent UDP payloads on the session's path."""

    def on_failed(self, key: SessionKey, error: BaseException) -> None:
        """The session has come to an end by a fault of this program or machine."""

    def links_to_offer(self, key: SessionKey) -> tuple[str, ...]:
        """Return the claims to the links that a session may carry on."""


class Session:
    """One ICE session of one negotiation: effects go in, signaling messages and reports come out."""

    def __init__(
        self, start: StartSession, pool: SessionPool, owner: SessionOwner, own_id: str, instance: str, fingerprint: str
    ) -> None:
        self.key = start.key
        self.session_id = start.session_id
        self.peer_id = start.peer_id
        self.role: Role = start.role
        self.remote: IceDescription | None = None
        self.seen: str | None = None
        """The IP address by which the server sees the peer, where the peer lets it be told."""
        self.answered = False
        """Whether the peer's OFFER or ANSWER is known to be its own."""
        self.untrusted = False
        """Whether there was an ANSWER that is not, and no other yet."""
        self.ready = False
        """Whether the peer has answered, or has said READY or checked when it was answered."""
        self.told = NatReport()
        """The latest report on this side's NAT that the peer was sent."""
        self._remote_nat: NatReport | None = None
        self._puncher: Puncher | None = None
        self.path: PathInfo | None = None
        self.ice: IceSession | None = None
        self.started_at = asyncio.get_running_loop().time()
        """When the OFFER was decided on or came in, on the loop's clock."""
        self._start = start
        self._pool = pool
        self._owner = owner
        self.own_id = own_id
        """This agent's id in the room as the session began."""
        self._instance = instance
        self._fingerprint = fingerprint
        self.nonce = secrets.token_hex(16)
        self.carries: str | None = None
        """The claim to the link that this session carries on, for the ANSWER."""
        self.link: int | None = None
        """The link that this session is for, by its number (links.py), once OFFER and ANSWER have crossed."""
        self.answerer_fresh = ""
        """The answerer's fresh value as the room shows it to the offerer, for claims."""
        self.proven = True
        """Whether it leads to the peer of that link: of a session that carries one on, a claim alone does not say."""
        self.adopt: Callable[[], None] | None = None
        """Has the link that this session carries on go by the session's peer."""
        self._described = False
        """OFFER or ANSWER has been sent: later candidates trickle."""
        self._inbox: asyncio.Queue[SessionEffect] = asyncio.Queue(INBOX_SIZE)
        self._checks: asyncio.Task[None] | None = None
        self._worker = self._owned(self._work())

    def perform(self, effect: SessionEffect) -> None:
        """Carry out `effect` after those before it."""
        self._inbox.put_nowait(effect)

    def retire(self) -> None:
        """Do nothing more, say nothing more; `close` must follow."""
        self._worker.cancel()
        if self._puncher is not None:
            self._puncher.stop()
        if self.ice is not None:
            self.ice.attach(None)
            self.ice.deliver_to(None)

    def on_described(self, seen: str | None) -> None:
        """Note that OFFER or ANSWER of the peer is here, and by which IP address the server sees it."""
        self.answered, self.untrusted = True, False
        self.seen = seen

    def on_ready(self) -> None:
        """Note that the peer takes part, knowing this side's credentials."""
        self.ready = True
        if self.ice is not None:
            self.ice.allowance.confirmed = True
        if self._puncher is not None:
            self._puncher.on_change()

    @property
    def probing_outcome(self) -> str | None:
        """What came of probing beyond the checks, in words; None where it had no part, or has found a path."""
        return None if self._puncher is None else self._puncher.outcome

    async def close(self) -> None:
        """Stop and close the ICE agent. Idempotent."""
        if self._puncher is not None:
            await self._puncher.close()
        for task in (self._worker, self._checks):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self.ice is not None:
            await self.ice.close()

    def _owned(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task whose failure the owner hears of."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._owner.on_failed(self.key, error)

    async def _work(self) -> None:
        self.ice = ice = await self._pool.take()
        ice.allowance.confirmed = self.ready
        ice.opener_ttl = opener_ttl(self._start.round)
        ice.set_role(controlling=self.role == "offerer")
        ice.attach(
            IceCallbacks(
                candidate=self._on_candidate,
                gathered=self._on_gathered,
                check_received=self._on_check_received,
                valid=self._on_valid,
                suspended=lambda: self._owner.on_suspended(self.key),
                resumed=lambda: self._owner.on_resumed(self.key),
                lost=self._on_lost,
            )
        )
        ice.deliver_to(lambda datagrams: self._owner.on_datagrams(self.key, datagrams))
        while True:
            self._perform(await self._inbox.get(), ice)

    def _on_check_received(self) -> None:
        self.on_ready()
        self._owner.on_check_received(self.key)

    def _perform(self, effect: SessionEffect, ice: IceSession) -> None:
        match effect:
            case SendOffer(round=failures):
                self._send_offer(ice, failures)
            case SendAnswer():
                self._send_answer(ice)
            case SendReady():
                self._trickle(CandidatePayload(session_id=self.session_id, ready=True))
            case SetRemote(description=description):
                self._set_remote(ice, description)
            case AddCandidate(candidate=candidate):
                ice.add_candidate(candidate)
                if self._puncher is not None:
                    self._puncher.on_change()
            case UpdateNat(nat=nat):
                self._remote_nat = nat
                if self._puncher is not None:
                    self._puncher.on_change(nat)
            case OpenHoles():
                ice.open_holes()
            case StartChecks():
                self._checks = self._owned(ice.check())
                self._start_puncher(ice)
                self._owner.on_checks_started(self.key)

    def _set_remote(self, ice: IceSession, description: IceDescription) -> None:
        assert description.ice is not None  # the core refuses such a description
        self.remote = description
        self._remote_nat = description.nat
        ice.allowance.see(self.seen)
        if self.role == "offerer":
            self.on_ready()  # the description is an ANSWER
        ice.set_remote(description.ice)
        for candidate in description.candidates:
            ice.add_candidate(candidate)
        if description.end_of_candidates:
            ice.add_candidate(None)

    def _start_puncher(self, ice: IceSession) -> None:
        assert self.remote is not None
        assert self.remote.ice is not None
        self._puncher = Puncher(
            self,
            ice,
            self.remote.ice.pwd,
            controlling=self.role == "offerer",
            failures=self._start.round,
            seen=self.seen,
            turn=self._owner.probing_turn,
        )
        self._puncher.start(self._remote_nat)

    def _send_offer(self, ice: IceSession, failures: int) -> None:
        described = self._describe(ice)
        payload = OfferPayload(
            session_id=self.session_id,
            initiator_id=self.own_id,
            round=failures,
            links=self._owner.links_to_offer(self.key),
            **described,
        )
        self._owner.send(Offer(target_id=self.peer_id, payload=payload))

    def _send_answer(self, ice: IceSession) -> None:
        described = self._describe(ice)
        payload = AnswerPayload(session_id=self.session_id, accepted=True, ready=True, link=self.carries, **described)
        self._owner.send(Answer(target_id=self.peer_id, payload=payload))

    def _describe(self, ice: IceSession) -> dict[str, Any]:
        """Return what OFFER and ANSWER both say of this side; candidates found later trickle."""
        self._described = True
        self.told = self._owner.nat_report(ice)
        return {
            "endpoint": None if ice.hides_addresses else public_endpoint(ice),
            "ice": ice.credentials,
            "candidates": tuple(ice.candidates),
            "end_of_candidates": ice.all_found,
            "nat": self.told,
            "instance": self._instance,
            "fingerprint": self._fingerprint,
            "nonce": self.nonce,
            "name": self._owner.sealed_name,
            "patience": self._owner.patience,
            "speaks": SPOKEN,
        }

    def _on_candidate(self, line: str) -> None:
        if self._described:
            self._trickle(CandidatePayload(session_id=self.session_id, candidate=line))

    def _on_gathered(self) -> None:
        if self._described:
            assert self.ice is not None
            if self.ice.all_found:
                self._trickle(CandidatePayload(session_id=self.session_id, end_of_candidates=True))
            self.on_nat_learnt()

    def on_nat_learnt(self) -> None:
        """Tell the peer what is known of this side's NAT by now, if that is more than before."""
        if self._described and self.ice is not None and self.path is None:
            report = self._owner.nat_report(self.ice)
            kept = {name: getattr(self.told, name) for name in _SAMPLED if getattr(self.told, name) is not None}
            report = report.model_copy(update=kept)
            if report != self.told:
                self.tell(report)
            if self._puncher is not None:
                self._puncher.on_change()

    # --- what a puncher asks (PunchOwner) -----------------------------------------------------------------------------

    def tell(self, report: NatReport) -> None:
        """See PunchOwner."""
        self.told = report
        self._trickle(CandidatePayload(session_id=self.session_id, nat=report))

    def on_probing(self) -> None:
        """See PunchOwner."""
        self._owner.on_probing(self.key)

    def on_no_way(self, reason: str) -> None:
        """See PunchOwner."""
        self._owner.on_no_way(self.key, reason)

    def _trickle(self, payload: CandidatePayload) -> None:
        self._owner.send(CandidateMessage(target_id=self.peer_id, payload=payload))

    def _on_valid(self, path: PathInfo) -> None:
        self.path = path
        if path.path == "direct" and self._puncher is not None:
            self._puncher.stop()
        self._owner.on_valid(self.key)

    def _on_lost(self, reason: str) -> None:
        logger.info("session %s: %s", self.session_id, reason)
        self._owner.on_lost(self.key)
