"""Two meshes, a server and a network in virtual time: whatever the order of things, both end on one session.

The world is ideal where it is not told otherwise: an OFFER takes a while, checks succeed when both sides run them, a
side that drops its session is noticed by the other when consent expires. A path whose consent has expired stays until
its REVIVAL is over, and may answer again.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from visavis_peer.core.ice.consent import EXPIRY, REVIVAL, SUSPECT_EXPIRY
from visavis_peer.core.meeting.effects import (
    DropSession,
    Effect,
    SendAnswer,
    SendOffer,
    SendReady,
    SessionKey,
    StartChecks,
    StartSession,
    SuspectSession,
    UseSession,
)
from visavis_peer.core.meeting.link_protocols import SPOKEN
from visavis_peer.core.meeting.mesh import Mesh
from visavis_shared.messages import (
    Answer,
    AnswerPayload,
    CandidateMessage,
    CandidatePayload,
    IceCredentials,
    Offer,
    OfferPayload,
    PeerInfo,
)

ICE = IceCredentials(ufrag="abcd", pwd="p" * 22)
FINGERPRINT, NONCE = "f" * 64, "0" * 32
CHECK_TIME = 0.05
"""Virtual seconds of a check's round trip."""
HORIZON = 300.0
"""Virtual seconds after which everything must have settled: four rounds of retries and their timeouts."""


@dataclass
class Host:
    """One agent: its mesh, and what its shell would hold."""

    name: str
    mesh: Mesh
    sessions: set[str] = field(default_factory=set)
    checking: set[str] = field(default_factory=set)
    link: str | None = None
    linked_at: float | None = None
    silent: set[str] = field(default_factory=set)
    """Sessions without consent."""


def _message(
    sender: str, target: str, payload: OfferPayload | AnswerPayload | CandidatePayload
) -> Offer | Answer | CandidateMessage:
    match payload:
        case OfferPayload():
            return Offer(peer_id=sender, target_id=target, payload=payload)
        case AnswerPayload():
            return Answer(peer_id=sender, target_id=target, payload=payload)
        case CandidatePayload():
            return CandidateMessage(peer_id=sender, target_id=target, payload=payload)


class World:
    """Virtual time and two hosts."""

    def __init__(self, delays: list[float], lost: set[int]) -> None:
        self.now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._delays = itertools.cycle(delays)
        self._lost = lost
        self._sent = itertools.count()
        self._last_arrival = {"a": 0.0, "b": 0.0}
        self.hosts = {name: Host(name, Mesh(map(f"{name}{{}}".format, itertools.count()))) for name in ("a", "b")}

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._numbers), action))

    def run(self, horizon: float = HORIZON) -> None:
        while True:
            timers = [(due, host) for host in self.hosts.values() if (due := host.mesh.next_timer()) is not None]
            due, host = min(timers, key=lambda pair: pair[0]) if timers else (horizon + 1, None)
            if self._agenda and self._agenda[0][0] <= due:
                self.now, _, action = heapq.heappop(self._agenda)
                if self.now > horizon:
                    return
                action()
            elif host is not None and due <= horizon:
                self.now = max(self.now, due)
                self.perform(host, host.mesh.handle_timer(self.now))
            else:
                return

    def other(self, host: Host) -> Host:
        return self.hosts["b" if host.name == "a" else "a"]

    def perform(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartSession(session_id=session):
                    host.sessions.add(session)
                case SendOffer(session_id=session, round=failures):
                    self._send(
                        host,
                        OfferPayload(
                            session_id=session,
                            ice=ICE,
                            round=failures,
                            instance=host.name,
                            fingerprint=FINGERPRINT,
                            nonce=NONCE,
                            speaks=SPOKEN,
                        ),
                    )
                case SendAnswer(session_id=session):
                    self._send(
                        host,
                        AnswerPayload(
                            session_id=session,
                            accepted=True,
                            ready=True,
                            ice=ICE,
                            instance=host.name,
                            fingerprint=FINGERPRINT,
                            nonce=NONCE,
                            speaks=SPOKEN,
                        ),
                    )
                case SendReady(session_id=session):
                    self._send(host, CandidatePayload(session_id=session, ready=True))
                case StartChecks(session_id=session):
                    host.checking.add(session)
                    self.at(self.now + CHECK_TIME, partial(self._check, host, session))
                case UseSession(session_id=session):
                    host.link, host.linked_at = session, self.now
                case DropSession(session_id=session):
                    self._drop(host, session)
                case SuspectSession(session_id=session):
                    if session not in self.other(host).sessions:
                        self.at(self.now + SUSPECT_EXPIRY, partial(self.silence, host, session))
                case _:
                    pass

    def _send(self, host: Host, payload: OfferPayload | AnswerPayload | CandidatePayload) -> None:
        """Deliver in order per sender, unless this message is one of those that get lost."""
        if next(self._sent) in self._lost:
            return
        target = self.other(host)
        message = _message(host.name, target.name, payload)
        arrival = max(self.now + next(self._delays), self._last_arrival[host.name])
        self._last_arrival[host.name] = arrival
        self.at(arrival, lambda: self.perform(target, target.mesh.receive(message, self.now)))

    def _check(self, host: Host, session: str) -> None:
        """A check of `host` reaches the other side, if that still has the session, and is answered."""
        other = self.other(host)
        if session not in host.sessions or session not in other.sessions:
            return
        self.perform(other, other.mesh.on_check_received(SessionKey(host.name, session), self.now))
        if session in other.checking:
            for side in (host, other):
                self.perform(side, side.mesh.on_valid_pair(SessionKey(self.other(side).name, session), self.now))

    def _drop(self, host: Host, session: str) -> None:
        host.sessions.discard(session)
        host.checking.discard(session)
        if host.link == session:
            host.link = None
        other = self.other(host)
        if other.link == session:
            self.at(self.now + EXPIRY, lambda: self.silence(other, session))

    def silence(self, host: Host, session: str) -> None:
        """The peer ceases to answer `host` on the path of a session."""
        if session in host.sessions and session not in host.silent:
            host.silent.add(session)
            self.perform(host, host.mesh.on_session_suspended(SessionKey(self.other(host).name, session), self.now))
            self.at(self.now + REVIVAL, partial(self.lose, host, session))

    def revive(self, host: Host, session: str) -> None:
        """The peer answers again, if it still has the session."""
        if session in host.silent and session in self.other(host).sessions:
            host.silent.discard(session)
            self.perform(host, host.mesh.on_session_resumed(SessionKey(self.other(host).name, session)))

    def lose(self, host: Host, session: str) -> None:
        """The path of a session has been silent for too long."""
        if session in host.sessions and session in host.silent:
            self.perform(host, host.mesh.on_session_lost(SessionKey(self.other(host).name, session), self.now))

    def close_link(self, host: Host) -> None:
        """The application of `host` closes its link, and the peer hears of it."""
        for side in (host, self.other(host)):
            self.perform(side, side.mesh.on_link_closed(self.other(side).name, self.now))

    def join(self, first: str, skew: float) -> None:
        """Have `first` in the room when the other joins after `skew` seconds."""
        one = self.hosts[first]
        two = self.other(one)
        infos = {name: PeerInfo(peer_id=name, joined_at=1) for name in self.hosts}

        def meet() -> None:
            self.perform(two, two.mesh.on_joined(two.name, [infos[one.name], infos[two.name]], self.now))
            self.perform(one, one.mesh.on_peer_joined(infos[two.name], self.now))

        self.perform(one, one.mesh.on_joined(one.name, [infos[one.name]], self.now))
        self.at(self.now + skew, meet)

    @property
    def agreed(self) -> bool:
        links = [host.link for host in self.hosts.values()]
        silent = any(host.link in host.silent for host in self.hosts.values())
        return links[0] is not None and links[0] == links[1] and not silent


DELAYS = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=8)


@given(DELAYS, st.sampled_from("ab"), st.floats(0, 5))
def test_two_agents_agree_on_one_session_at_any_delay(delays: list[float], first: str, skew: float) -> None:
    world = World(delays, set())
    world.join(first, skew)
    world.run()
    assert world.agreed


@given(DELAYS, st.sampled_from("ab"), st.sets(st.integers(0, 12), max_size=6))
@settings(max_examples=300)
def test_lost_messages_cost_time_and_never_the_link(delays: list[float], first: str, lost: set[int]) -> None:
    world = World(delays, lost)
    world.join(first, 0.1)
    world.run()
    assert world.agreed


@given(DELAYS, st.lists(st.tuples(st.sampled_from("ab"), st.floats(1, 60)), min_size=1, max_size=4))
def test_dead_paths_are_replaced(delays: list[float], deaths: list[tuple[str, float]]) -> None:
    world = World(delays, set())
    world.join("a", 0.1)

    def kill(name: str) -> None:
        host = world.hosts[name]
        if host.link is not None:
            world.silence(host, host.link)

    for name, when in deaths:
        world.at(when, partial(kill, name))
    world.run()
    assert world.agreed


@given(DELAYS, st.lists(st.tuples(st.sampled_from("ab"), st.floats(1, 60), st.floats(0.1, 70)), min_size=1, max_size=4))
def test_paths_that_answer_again_are_kept_or_replaced_on_both_sides(
    delays: list[float], outages: list[tuple[str, float, float]]
) -> None:
    world = World(delays, set())
    world.join("a", 0.1)

    def begin(name: str, duration: float) -> None:
        host = world.hosts[name]
        if host.link is not None:
            session = host.link
            world.silence(host, session)
            world.at(world.now + duration, partial(world.revive, host, session))

    for name, when, duration in outages:
        world.at(when, partial(begin, name, duration))
    world.run()
    assert world.agreed


@given(DELAYS, st.sampled_from("ab"), st.floats(0.1, 30))
def test_a_link_that_an_application_closes_is_made_anew(delays: list[float], closer: str, when: float) -> None:
    world = World(delays, set())
    world.join("a", 0.1)
    world.at(when, lambda: world.close_link(world.hosts[closer]))
    world.run()
    assert world.agreed


@given(DELAYS, st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 60)), min_size=1, max_size=4))
def test_network_changes_on_either_side_end_on_one_session(
    delays: list[float], changes: list[tuple[str, float]]
) -> None:
    world = World(delays, set())
    world.join("a", 0.1)

    def change(name: str) -> None:
        host = world.hosts[name]
        world.perform(host, host.mesh.on_network_changed(world.now))

    for name, when in changes:
        world.at(when, partial(change, name))
    world.run()
    assert world.agreed


@given(DELAYS, st.floats(1, 30))
def test_a_server_that_comes_back_leaves_both_on_one_session(delays: list[float], when: float) -> None:
    world = World(delays, set())
    world.join("a", 0.1)

    def restart() -> None:
        for host in world.hosts.values():
            world.perform(host, host.mesh.on_signaling_lost())
        world.join("b", 0.5)

    world.at(when, restart)
    world.run()
    assert world.agreed


@given(st.floats(0.001, 0.1))
def test_a_quiet_network_links_in_one_signaling_round_trip_and_two_checks(delay: float) -> None:
    world = World([delay], set())
    world.join("a", 0.0)
    world.run()
    linked = [host.linked_at for host in world.hosts.values()]
    assert all(at is not None and at <= 2 * delay + 2 * CHECK_TIME + 1e-9 for at in linked)
