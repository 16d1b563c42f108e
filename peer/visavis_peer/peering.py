"""Carries out what the mesh decides: sessions, links, and the one timer."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterable

from visavis_peer.core.effects import (
    DropSession,
    Effect,
    ReportFailure,
    SendRefusal,
    StartSession,
    SuspectSession,
    UseSession,
)
from visavis_peer.core.events import Event, Failure, LinkDown, LinkUp, Negotiating, PathChanged, PeerJoined, PeerLeft
from visavis_peer.core.mesh import Mesh
from visavis_peer.link.link import Link
from visavis_peer.net.ice import IceSession
from visavis_peer.pool import SessionPool
from visavis_peer.sessions import Session
from visavis_shared.ids import INSTANCE_BYTES, hex_id, printable
from visavis_shared.messages import Answer, AnswerPayload, CandidateMessage, ClientMessage, Offer, PeerInfo
from visavis_shared.nat import NatReport, explain_no_path


class Peering:
    """The links of one agent. Every call comes from the event loop; only `close` waits."""

    def __init__(
        self,
        pool: SessionPool,
        send: Callable[[ClientMessage], None],
        emit: Callable[[Event], None],
        on_link: Callable[[Link], None],
        report: Callable[[IceSession], NatReport],
        local_nat: Callable[[], NatReport],
    ) -> None:
        self.instance = hex_id(secrets.token_bytes(INSTANCE_BYTES))
        """Random id of this agent's process: how peers know it again after a reconnection."""
        self.mesh = Mesh(hex_id(secrets.token_bytes(INSTANCE_BYTES)) for _ in itertools.count())
        self.links: dict[str, Link] = {}
        """By the remote agent's instance; see `_link_key`."""
        self.send = send
        self.nat_report = report
        self.local_nat = local_nat
        self._pool = pool
        self._emit = emit
        self._on_link = on_link
        self._sessions: dict[str, Session] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # --- what the server says -----------------------------------------------------------------------------------------

    def joined(self, own_id: str, members: Iterable[PeerInfo]) -> None:
        """Take the member list that answers this agent's JOIN."""
        effects = self.mesh.on_joined(own_id, members, self._loop.time())
        for info in self.mesh.members.values():
            self._emit(PeerJoined(info.peer_id, info.display_name))
        self._apply(effects)

    def peer_joined(self, info: PeerInfo) -> None:
        """Meet a newcomer."""
        self._emit(PeerJoined(info.peer_id, info.display_name))
        self._apply(self.mesh.on_peer_joined(info, self._loop.time()))

    def peer_left(self, peer_id: str) -> None:
        """Take leave of a peer; its link stays if it proves itself."""
        self._emit(PeerLeft(peer_id, self.mesh.name_of(peer_id)))
        self._apply(self.mesh.on_peer_left(peer_id))

    def receive(self, message: Offer | Answer | CandidateMessage) -> None:
        """Take a directed message."""
        self._apply(self.mesh.receive(message, self._loop.time()))

    def signaling_lost(self) -> None:
        """Forget the room; links stay."""
        self._apply(self.mesh.on_signaling_lost())

    # --- what sessions say --------------------------------------------------------------------------------------------

    def on_check_received(self, session_id: str) -> None:
        """See SessionOwner."""
        self._apply(self.mesh.on_check_received(session_id, self._loop.time()))

    def on_checks_started(self, session_id: str) -> None:
        """See SessionOwner."""
        session = self._sessions[session_id]
        assert session.ice is not None
        assert session.remote is not None
        self._emit(
            Negotiating(
                session.peer_id,
                self.mesh.name_of(session.peer_id),
                session.role,
                tuple(session.ice.candidates),
                session.remote.candidates,
                session.remote.nat,
            )
        )

    def on_valid(self, session_id: str) -> None:
        """See SessionOwner."""
        session = self._sessions[session_id]
        link = next((link for link in self.links.values() if link.session is session.ice), None)
        if link is None:
            self._apply(self.mesh.on_valid_pair(session_id, self._loop.time()))
        elif session.ice is not None and session.path is not None:
            link.move_to(session.ice, session.path)
            self._emit(PathChanged(link.peer_id, link.name, session.path, self._elapsed(session)))

    def on_lost(self, session_id: str, reason: str, *, closed_by_peer: bool = False) -> None:
        """See SessionOwner; the link that rode on the session is gone."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        for instance, link in list(self.links.items()):
            if link.session is session.ice:
                del self.links[instance]
                link.close(reason)
                self._emit(LinkDown(link.peer_id, link.name, reason))
        self._apply(self.mesh.on_session_lost(session_id, self._loop.time(), closed_by_peer=closed_by_peer))

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
            case StartSession(session_id=session_id):
                self._sessions[session_id] = Session(effect, self._pool, self, self.mesh.own_id, self.instance)
            case UseSession():
                self._use(effect)
            case DropSession(session_id=session_id):
                self._drop(session_id)
            case SuspectSession(session_id=session_id):
                session = self._sessions.get(session_id)
                if session is not None and session.ice is not None:
                    session.ice.suspect()
            case SendRefusal(session_id=session_id, peer_id=peer_id, reason=reason):
                payload = AnswerPayload(session_id=session_id, accepted=False, reason=reason)
                self.send(Answer(target_id=peer_id, payload=payload))
            case ReportFailure():
                self._report_failure(effect)
            case _:
                self._sessions[effect.session_id].perform(effect)

    def _use(self, effect: UseSession) -> None:
        session = self._sessions[effect.session_id]
        assert session.ice is not None
        assert session.path is not None
        name = self.mesh.name_of(effect.peer_id)
        elapsed = self._elapsed(session)
        key = self._link_key(effect)
        link = self.links.get(key)
        if link is None:
            link = Link(effect.peer_id, name, session.path, lambda: self._on_bye(key))
            self.links[key] = link
            link.move_to(session.ice, session.path)
            self._emit(LinkUp(effect.peer_id, name, session.path, elapsed))
            self._on_link(link)
            return
        former = next((each for each in self._sessions.values() if each.ice is link.session), None)
        link.peer_id, link.name = effect.peer_id, name
        link.move_to(session.ice, session.path)
        self._emit(PathChanged(effect.peer_id, name, session.path, elapsed))
        if former is not None:
            self._drop(former.session_id)

    def _link_key(self, effect: UseSession) -> str:
        """Return what the link of a session goes by: the remote process, so that a peer which reconnected keeps it.

        Any member may claim another's instance; as long as that other one is in the room, the claim is not believed.
        """
        link = self.links.get(effect.instance)
        taken = link is not None and link.peer_id != effect.peer_id and link.peer_id in self.mesh.members
        return effect.peer_id if taken else effect.instance

    def _on_bye(self, key: str) -> None:
        link = self.links.get(key)
        for session in list(self._sessions.values()):
            if link is not None and session.ice is link.session:
                self.on_lost(session.session_id, "closed by the peer", closed_by_peer=True)

    def _drop(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.retire()
            task = asyncio.create_task(session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _report_failure(self, failure: ReportFailure) -> None:
        """Say why there is no link, in words, and when the next attempt is."""
        if failure.error == "no_path":
            reason = explain_no_path(self.local_nat(), failure.remote_nat)
        else:
            reason = printable(failure.reason)
        retry = "" if failure.retry_in is None else f"; trying again in {failure.retry_in:.0f} s"
        message = {"no_path": "no path", "no_answer": "no answer", "refused": "refused"}[failure.error]
        name = self.mesh.name_of(failure.peer_id)
        self._emit(Failure(failure.error, f"{message}: {reason}{retry}", failure.peer_id, name))

    def _elapsed(self, session: Session) -> float:
        return (self._loop.time() - session.started_at) * 1000

    async def close(self) -> None:
        """Close every link, telling the peers, and every session; whatever comes in from now on is ignored."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for link in list(self.links.values()):
            link.say_bye()
            link.close("closed by this side")
        self.links.clear()
        for session_id in list(self._sessions):
            self._drop(session_id)
        if self._closing:
            await asyncio.wait(self._closing)
