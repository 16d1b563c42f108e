"""Carries out what the mesh decides: sessions, links, and the one timer."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from visavis_peer.core.meeting.effects import (
    UNTRUSTED_ANSWER,
    UNTRUSTED_OFFER,
    DropSession,
    Effect,
    Introduce,
    ReportFailure,
    SendRefusal,
    SessionKey,
    StartSession,
    SuspectSession,
    UseSession,
)
from visavis_peer.core.meeting.mesh import Mesh
from visavis_peer.core.meeting.sealing import NoFresh, NotAuthentic, Repeated, RoomSeal, TooLong
from visavis_peer.core.retrying import tried_again
from visavis_peer.errors import AgentError, AuthenticationFailed
from visavis_peer.events import Event, Failure, Negotiating, PeerJoined, PeerLeft
from visavis_peer.ice import IceSession
from visavis_peer.peers.links import Links, RelayPolicy
from visavis_peer.peers.spare import SessionPool
from visavis_shared import limits
from visavis_shared.ids import INSTANCE_BYTES, hex_id, printable
from visavis_shared.messages import (
    Answer,
    AnswerPayload,
    CandidateMessage,
    CandidatePayload,
    ClientMessage,
    Departure,
    Offer,
    PeerInfo,
)
from visavis_shared.nat import NatReport, explain_no_path
from visavis_shared.tasks import own

if TYPE_CHECKING:
    from visavis_peer.link.association import Association
    from visavis_peer.link.link import Link
    from visavis_peer.peers.sessions import Session

logger = logging.getLogger(__name__)

PROBING_COUNT: Final = 1
"""Sessions that probe at a time: the bound of 500 packets a second holds for the whole agent."""

NO_RELAY: Final = "only a relay is allowed, and no relay reaches the peer"
UNREADABLE: Final = "authentication failed: the room has a secret, and this side has none: was the invite copied whole?"
FORGERY_INTERVAL: Final = 1.0
"""Seconds between two reports of messages of one peer that cannot be trusted: a server can forge any number of them."""

_SAID: Final = frozenset({"no_path", "refused"})
"""Failures that follow from what the peer has said, sealed where there is a secret; the others from what it has not."""


def _key_of(message: Offer | Answer | CandidateMessage) -> SessionKey:
    return SessionKey(message.peer_id or "", message.payload.session_id)


class Peering:
    """The dealings of one agent with its peers. Every call comes from the event loop; only `close` waits."""

    def __init__(
        self,
        pool: SessionPool,
        send: Callable[[ClientMessage], None],
        emit: Callable[[Event], None],
        on_link: Callable[[Link], None],
        report: Callable[[IceSession], NatReport],
        local_nat: Callable[[], NatReport],
        seal: RoomSeal | None,
        fresh: str,
        name: str | None,
        policy: RelayPolicy,
        patience: float,
    ) -> None:
        """`seal` is None in a room without a secret; `fresh` and `name` are what the room is told of this agent.

        `patience` is for how many seconds a link waits for a peer that is silent.
        """
        self.patience = None if seal is None else patience
        self.fresh = fresh
        self.sealed_name = None if seal is None else name
        self.instance = hex_id(secrets.token_bytes(INSTANCE_BYTES))
        """Random id of this agent's process: how peers know it again after a reconnection."""
        session_ids = (hex_id(secrets.token_bytes(INSTANCE_BYTES)) for _ in itertools.count())
        self.mesh = Mesh(session_ids, sealed=seal is not None)
        self.links = Links(self, policy, patience, sealed=seal is not None)
        self.emit = emit
        self.on_link_up = on_link
        self.nat_report = report
        self._local_nat = local_nat
        self._seal = seal
        self._send = send
        self._pool = pool
        self._sessions: dict[SessionKey, Session] = {}
        self.probing_turn = asyncio.Semaphore(PROBING_COUNT)
        self._outcomes: dict[str, str] = {}
        """What came of probing in the last session with a peer, in words, for those where it had a part."""
        self._quiet_until: dict[str, float] = {}
        """By member, "" for all others: when the next message that cannot be trusted is heeded."""
        self._noted: set[str] = set()
        """Likewise: those of whom it was told that they send such messages."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # --- what the server says -----------------------------------------------------------------------------------------

    def joined(self, own_id: str, members: Iterable[PeerInfo]) -> None:
        """Take the member list that answers this agent's JOIN."""
        effects = self.mesh.on_joined(own_id, members, self._loop.time())
        for info in self.mesh.members.values():
            self._meet(info)
        self._apply(effects)

    def peer_joined(self, info: PeerInfo) -> None:
        """Meet a newcomer."""
        effects = self.mesh.on_peer_joined(info, self._loop.time())
        if info.peer_id in self.mesh.members:
            self._meet(info)
        self._apply(effects)

    def peer_left(self, peer_id: str, cause: Departure | None) -> None:
        """Take leave of a peer; its link stays if it proves itself, or may do so later because the peer is asleep."""
        self._take_leave(peer_id)
        self.links.peer_left(peer_id, asleep=cause is Departure.SILENT)

    def _take_leave(self, peer_id: str) -> None:
        proved = any(link.announced and link.authenticated for link in self.links.of_peer(peer_id))
        self.emit(PeerLeft(peer_id, self.mesh.name_of(peer_id), proved))
        self._quiet_until.pop(peer_id, None)
        self._noted.discard(peer_id)
        self._outcomes.pop(peer_id, None)
        self._apply(self.mesh.on_peer_left(peer_id))

    def receive(self, message: Offer | Answer | CandidateMessage) -> None:
        """Take a directed message; in a room with a secret, one that was sealed with it."""
        if not 0 < len(message.peer_id or "") <= limits.PEER_ID_LENGTH:
            return  # nobody can be told anything by such an id
        if self._seal is not None:
            try:
                message = self._seal.open(message, self.mesh.own_id)
            except NotAuthentic as error:
                self._on_forgery(message, error)
                return
        elif message.payload.sealed is not None:
            self._on_unreadable(message)
            return
        if isinstance(message, Offer | Answer) and message.payload.instance == self.instance:
            return  # our own, sent back to us
        key = _key_of(message)
        if isinstance(message, Offer) and key in self._sessions:
            return  # of a session that there is: it changes nothing
        self._apply(self.mesh.receive(message, self._loop.time()))
        session = self._sessions.get(key)
        if session is None:
            return
        if isinstance(message, Offer | Answer):
            session.on_described(message.seen)
        elif message.payload.ready:
            session.on_ready()

    def signaling_lost(self) -> None:
        """Forget the room; links stay."""
        self._quiet_until.clear()
        self._noted.clear()
        self._outcomes.clear()
        self._apply(self.mesh.on_signaling_lost())

    def resumed(self, members: Iterable[PeerInfo], *, gap: bool) -> None:
        """Go on in the room by the same id; with `gap`, `members` is the truth and what was sent may be lost.

        Who is not listed may be about to resume as well, where the server has begun anew: its link is not in doubt.
        """
        self.links.renew_relay()
        if not gap:
            return
        listed = {info.peer_id: info for info in members if info.peer_id != self.mesh.own_id}
        for peer_id in set(self.mesh.members) - set(listed):
            self._take_leave(peer_id)
        for peer_id in set(listed) - set(self.mesh.members):
            self.peer_joined(listed[peer_id])
        self._apply(self.mesh.on_network_changed(self._loop.time()))

    def on_woken(self) -> None:
        """See what the links are worth without waiting for their timeouts: this machine was asleep."""
        self.links.on_woken()

    def network_changed(self) -> None:
        """Look for new paths to everybody."""
        self._apply(self.mesh.on_network_changed(self._loop.time()))

    def nat_learnt(self) -> None:
        """Tell the peers of sessions under way what is known of the NAT by now."""
        for session in list(self._sessions.values()):
            session.on_nat_learnt()

    def _meet(self, info: PeerInfo) -> None:
        self.emit(PeerJoined(info.peer_id, info.display_name if self._seal is None else None))
        self.links.want_relay()

    def _on_forgery(self, message: Offer | Answer | CandidateMessage, error: NotAuthentic) -> None:
        """Tell the user; a peer that offered hears that it was not understood."""
        if isinstance(message, CandidateMessage) or isinstance(error, Repeated):
            return  # it belongs to a session whose OFFER or ANSWER has been told of, or to none; a copy changes nothing
        peer_id = message.peer_id or ""
        member = peer_id if peer_id in self.mesh.members else ""
        now = self._loop.time()
        if now < self._quiet_until.get(member, 0.0):
            return
        self._quiet_until[member] = now + FORGERY_INTERVAL
        name = self.mesh.name_of(peer_id)
        text = f"authentication failed: its {message.type} cannot be trusted: {error}"
        if member not in self._noted:
            self._noted.add(member)
            self.emit(Failure(AuthenticationFailed.name, text, peer_id, name))
        session = self._sessions.get(_key_of(message))
        if isinstance(message, Offer) and member and session is None:
            self._refuse(message.payload.session_id, peer_id, UNTRUSTED_OFFER)
        if isinstance(message, Answer) and session is not None:
            session.untrusted = not session.answered

    def _on_unreadable(self, message: Offer | Answer | CandidateMessage) -> None:
        """Tell the user that the others share a secret, and who offers that it cannot be understood."""
        peer_id, now = message.peer_id or "", self._loop.time()
        member = peer_id if peer_id in self.mesh.members else ""
        if isinstance(message, CandidateMessage) or now < self._quiet_until.get(member, 0.0):
            return
        self._quiet_until[member] = now + FORGERY_INTERVAL
        self.emit(Failure(AuthenticationFailed.name, UNREADABLE, peer_id, self.mesh.name_of(peer_id)))
        if isinstance(message, Offer) and member:
            self._refuse(message.payload.session_id, peer_id, "it has no secret, and this room has one")

    # --- what sessions say (SessionOwner) -----------------------------------------------------------------------------

    def send(self, message: ClientMessage) -> None:
        """Send to the signaling server, sealed if the room has a secret."""
        if self._seal is not None and isinstance(message, Offer | Answer | CandidateMessage):
            try:
                message = self._seal.seal(message, self.mesh.own_id)
            except TooLong as error:
                peer_id = message.target_id
                text = f"cannot tell the peer how to link: {error}"
                self.emit(Failure(AgentError.name, text, peer_id, self.mesh.name_of(peer_id)))
                return
            except NoFresh:
                return  # it could not open the refusal of what it has sent
        self._send(message)

    def on_check_received(self, key: SessionKey) -> None:
        """See SessionOwner."""
        self._apply(self.mesh.on_check_received(key, self._loop.time()))

    def on_probing(self, key: SessionKey) -> None:
        """See SessionOwner."""
        self._apply(self.mesh.on_probing(key, self._loop.time()))

    def on_no_way(self, key: SessionKey, reason: str) -> None:
        """See SessionOwner: the checks go on all the same, for a report may be wrong."""
        self.links.explain(key.peer_id, reason)

    def on_checks_started(self, key: SessionKey) -> None:
        """See SessionOwner."""
        session = self._sessions.get(key)
        if session is None or session.ice is None or session.remote is None:
            return
        self.emit(
            Negotiating(
                session.peer_id,
                self.mesh.name_of(session.peer_id),
                session.role,
                tuple(session.ice.candidates),
                session.remote.candidates,
                session.remote.nat,
                self._seal is not None,
            )
        )

    def on_valid(self, key: SessionKey) -> None:
        """See SessionOwner: the first pair, or a better one."""
        session = self._sessions.get(key)
        if session is None:
            return
        if self.links.rides_on(session):
            self.links.use_direct(session)
        elif session.proven:
            self._apply(self.mesh.on_valid_pair(key, self._loop.time()))
        else:
            self.links.challenge(session)

    def on_suspended(self, key: SessionKey) -> None:
        """See SessionOwner."""
        if key in self._sessions:
            self.links.lose_direct(self._sessions[key])
            self._apply(self.mesh.on_session_suspended(key, self._loop.time()))

    def on_resumed(self, key: SessionKey) -> None:
        """See SessionOwner."""
        if key in self._sessions:
            self.links.use_direct(self._sessions[key])
            self._apply(self.mesh.on_session_resumed(key))

    def on_lost(self, key: SessionKey) -> None:
        """See SessionOwner."""
        self._apply(self.mesh.on_session_lost(key, self._loop.time()))

    def on_failed(self, key: SessionKey, error: BaseException) -> None:
        """See SessionOwner: there will be another session."""
        logger.error("the session with %s failed", printable(key.peer_id), exc_info=error)
        self._apply(self.mesh.on_session_lost(key, self._loop.time()))

    def on_datagrams(self, key: SessionKey, datagrams: list[bytes]) -> None:
        """See SessionOwner."""
        if key in self._sessions:
            self.links.receive(self._sessions[key], datagrams)

    def links_to_offer(self, key: SessionKey) -> tuple[str, ...]:
        """See SessionOwner."""
        session = self._sessions.get(key)
        return () if session is None else self.links.claims(session)

    # --- what links say (LinkOwner) -----------------------------------------------------------------------------------

    def on_proven(self, key: SessionKey) -> None:
        """See LinkOwner."""
        if key in self._sessions:
            self._apply(self.mesh.on_valid_pair(key, self._loop.time()))

    def on_link_moved(self, former: str) -> None:
        """See LinkOwner."""
        self._apply(self.mesh.on_peer_left(former))

    def on_link_closed(self, link: Association) -> None:
        """Give up the sessions of a link that is over; a peer that stays gets another link."""
        self._apply(self.mesh.on_link_closed(link.peer_id, self._loop.time()))
        for session in list(self._sessions.values()):
            if session.ice is not None and session.ice is link.direct:
                self._drop(session.key)

    # --- the core's effects -------------------------------------------------------------------------------------------

    def _apply(self, effects: list[Effect]) -> None:
        if self._closed:
            return  # a message may still come in while the sessions are being closed
        for effect in effects:
            self._perform(effect)
        if self._timer is not None:
            self._timer.cancel()
        due = self.mesh.next_timer()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._apply(self.mesh.handle_timer(self._loop.time()))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartSession():
                from visavis_peer.peers.sessions import Session  # much of its own, and nothing without a peer

                started = self._sessions[effect.key] = Session(
                    effect, self._pool, self, self.mesh.own_id, self.instance, self.links.identity.fingerprint
                )
                known = self.mesh.fresh_of(effect.peer_id) if effect.role == "offerer" else self.fresh
                started.answerer_fresh = known or ""
            case Introduce(peer_id=peer_id):
                self.links.introduce(effect, self._sessions[effect.key], self.mesh.name_of(peer_id))
            case UseSession():
                self._use(self._sessions[effect.key])
            case DropSession():
                self._drop(effect.key)
            case SuspectSession():
                session = self._sessions.get(effect.key)
                if session is not None and session.ice is not None:
                    session.ice.suspect()
            case SendRefusal(session_id=session_id, peer_id=peer_id, reason=reason, speaks=speaks):
                self._refuse(session_id, peer_id, reason, speaks)
            case ReportFailure():
                self._report_failure(effect)
            case _:
                self._sessions[effect.key].perform(effect)

    def _use(self, session: Session) -> None:
        """Move the peer's link to `session` and close the one it rode on."""
        former = self.links.use_direct(session)
        for other in list(self._sessions.values()):
            if other is not session and other.ice is not None and other.ice is former:
                self._drop(other.key)

    def _drop(self, key: SessionKey) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            if session.probing_outcome is None:
                self._outcomes.pop(session.peer_id, None)
            elif session.peer_id in self.mesh.members:
                self._outcomes[session.peer_id] = session.probing_outcome
            if session.untrusted:  # the peer waits for checks that will never come
                failed = CandidatePayload(session_id=key.session_id, failed=UNTRUSTED_ANSWER)
                self.send(CandidateMessage(target_id=session.peer_id, payload=failed))
            self.links.forget(session)
            session.retire()
            task = own(session.close(), bears=(OSError,))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _refuse(self, session_id: str, peer_id: str, reason: str, speaks: tuple[str, ...] = ()) -> None:
        payload = AnswerPayload(session_id=session_id, accepted=False, reason=reason, speaks=speaks)
        self.send(Answer(target_id=peer_id, payload=payload))

    def _report_failure(self, failure: ReportFailure) -> None:
        """Say why there is no direct path, in words, and when the next attempt is."""
        if failure.error == "no_path" and self.links.relay_only:
            reason = NO_RELAY
        elif failure.error == "no_path":
            outcome = self._outcomes.get(failure.peer_id)
            reason = outcome or explain_no_path(self._local_nat(), failure.remote_nat)
        else:
            reason = printable(failure.reason)
        if self.links.explain(failure.peer_id, reason):
            return  # the link works by the relay, and its path says why
        text = f"{failure.error.replace('_', ' ')}: {reason}"
        if failure.retry_in is not None:
            text = tried_again(text, f" in {failure.retry_in:.0f} s")
        name = self.mesh.name_of(failure.peer_id)
        said = self._seal is not None and failure.error in _SAID
        self.emit(Failure(failure.error, text, failure.peer_id, name, authenticated=said))

    async def close(self) -> None:
        """Close every link, telling the peers, and every session; whatever comes in from now on is ignored."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self.links.close()
        for key in list(self._sessions):
            self._drop(key)
        if self._closing:
            await asyncio.wait(self._closing)
