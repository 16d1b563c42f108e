"""The association behind a link: streams and datagrams over QUIC, over whatever path is best.

The agent makes it, tells it which paths there are, and hands it what comes in; the application has a `Link`, which asks
it. It outlives its paths and the signaling connection. The word is that of RFC 9260 section 1.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from visavis_peer.core.link import liveness
from visavis_peer.core.link.credits import Overrun
from visavis_peer.core.link.liveness import Verdict
from visavis_peer.core.link.paths import Route
from visavis_peer.core.meeting.role import Role
from visavis_peer.errors import BY_PEER, AgentError, AuthenticationFailed, LinkClosed, Refused
from visavis_peer.events import PathInfo
from visavis_peer.host.boot_time import read_boot_time
from visavis_peer.link import control, quic
from visavis_peer.link.challenge import Way
from visavis_peer.link.datagrams import Datagrams
from visavis_peer.link.identity import Meeting
from visavis_peer.link.pump import Pump
from visavis_peer.link.quic import SecureConnection
from visavis_peer.link.routing import NO_PATH, DirectPath, Routing
from visavis_shared.ids import printable

OUTDATED: Final = 4.0
"""Times by which the smoothed round trip is longer than the latest where it tells of the past: the peer slept, or
a queue stood. The engine paces by it (RFC 9002 section 7.7), and each answer brings it an eighth nearer to the
truth."""
FINGERPRINT_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class LinkCallbacks:
    """What a link tells the agent."""

    up: Callable[[], None]
    """Both sides have proved themselves."""
    path_changed: Callable[[], None]
    """The main path is another one, or none."""
    down: Callable[[AgentError], None]
    """The link is over."""
    suspended: Callable[[], None]
    """The peer is silent; the link waits for it."""
    resumed: Callable[[float], None]
    """The peer of a suspended link has given a sign of life, after so many seconds of silence."""
    relay: Callable[[Sequence[bytes]], None]
    """Send UDP payloads by the server's relay."""
    relay_room: Callable[[], int]
    """Return how many bytes of them it takes now; with 0, `relay_ready` is to be called when it takes some."""
    narrow: Callable[[int], None]
    """The direct path carries datagrams of so many bytes only, so that it is not used while there is a relay."""


class Association:
    """What two agents hold of each other: a QUIC connection, its paths, and what both know of the other's state."""

    def __init__(
        self,
        peer_id: str,
        name: str | None,
        connection: SecureConnection,
        callbacks: LinkCallbacks,
        *,
        sealed: bool,
        patience: float = 0.0,
        boot_time: Callable[[], float] = read_boot_time,
    ) -> None:
        """`connection` has not been started; `sealed` tells whether OFFER and ANSWER were.

        `patience` is for how many seconds of silence both sides keep the link, where its peer is authenticated.
        `boot_time` reads the seconds of a clock that goes on in this machine's sleep.
        """
        self.peer_id = peer_id
        """The peer's id in the room; changes when the peer has reconnected to the signaling server."""
        self.name = name
        self._sealed = sealed
        self.path = NO_PATH
        """The main path, or the last one while there is none."""
        self.closed_reason: str | None = None
        """Why the link is gone; None while it is not."""
        self.error: AgentError | None = None
        """The same as an exception."""
        self.started = False
        self.announced = False
        """Whether the application has been told of the link: both sides have proved themselves and there is a path."""
        self._connection = connection
        self._callbacks = callbacks
        self._routing = Routing(connection, callbacks.relay, callbacks.relay_room, self._path_moved, callbacks.narrow)
        self._pump = Pump(connection, self._routing, self._on_sent, self._take_events)
        self.streams = self._pump.streams
        self.datagrams = Datagrams(self._pump.send_datagram, self._pump.send_on)
        self._loop = asyncio.get_running_loop()
        self._boot_time = boot_time
        self._liveness = liveness.Liveness(patience, self._loop.time(), boot_time())
        self._gone = asyncio.Event()
        self._watch = self._loop.call_later(liveness.WATCH_INTERVAL, self._watch_over)

    def __repr__(self) -> str:
        return f"Association({self.peer_id}, {self.state})"

    @property
    def state(self) -> str:
        """The path, or why the link is gone, in a few words."""
        return self.path.kind if self.closed_reason is None else f"closed: {self.closed_reason}"

    # --- what the application asks for (`Link`) -----------------------------------------------------------------------

    @property
    def datagram_size(self) -> int:
        """Bytes of a datagram at most."""
        return quic.DATAGRAM_SIZE - quic.DATAGRAM_OVERHEAD

    def send_datagram(self, data: bytes) -> None:
        """Send `data`, at most `datagram_size` bytes; it may be lost or overtaken, as with UDP.

        While the peer is silent it is lost, at the latest when the link is suspended.

        Raises LinkClosed, or ValueError when it is too large.
        """
        if len(data) > self.datagram_size:
            raise ValueError(f"a datagram has at most {self.datagram_size} bytes, not {len(data)}")
        self._check_open()
        if self._liveness.takes_datagrams:
            self._pump.send_datagram(control.DATA, data)

    async def wait_closed(self) -> str:
        """Wait until the link is gone and return why."""
        await self._gone.wait()
        assert self.closed_reason is not None
        return self.closed_reason

    # --- paths: the agent's side --------------------------------------------------------------------------------------

    def claim(self, meeting: Meeting, claimant: Role, own_role: Role) -> str:
        """Return the proof that the `claimant` of another session, in which this side is `own_role`, holds this link.

        What it is worth: docs/link.md, "Who is who". It moves nothing: see `challenge`.
        """
        turned = self._connection.is_offerer is not (own_role == "offerer")
        return self._connection.introduction.claim(meeting, claimant, turned=turned)

    @property
    def remote_fingerprint(self) -> str:
        """SHA-256 of the certificate that the peer has to prove."""
        introduction = self._connection.introduction
        return introduction.answerer_fingerprint if self.is_offerer else introduction.offerer_fingerprint

    @property
    def fingerprint(self) -> str:
        """The first digits of that, which people compare: 64 bits."""
        return self.remote_fingerprint[:FINGERPRINT_DIGITS]

    @property
    def established(self) -> bool:
        """Whether both sides have proved themselves."""
        return self._connection.established

    @property
    def authenticated(self) -> bool:
        """Whether the peer has proved to know the room's secret; otherwise it is whoever the server says."""
        return self._sealed and self._connection.established

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return self._liveness.silence(self._loop.time())

    @property
    def suspended_at(self) -> float | None:
        """Since when the link has waited for a silent peer, seconds, monotonic; None while it does not."""
        return self._liveness.suspended_at

    @property
    def patience(self) -> float:
        """Seconds of silence, from its beginning on, after which a suspended link is over."""
        return self._liveness.patience

    @property
    def up(self) -> bool:
        """Whether the application has the link and it is not gone."""
        return self.announced and self.closed_reason is None

    @property
    def is_offerer(self) -> bool:
        """Whether this side sent the OFFER in which the link was made: a tie-breaker that both sides agree on."""
        return self._connection.is_offerer

    @property
    def direct(self) -> DirectPath | None:
        """The ICE session that carries the link, or is about to."""
        return self._routing.direct

    def start(self) -> None:
        """Begin the handshake, which the offerer's side does, as soon as there is a path."""
        self.started = True
        self._begin()

    def use_direct(self, path: DirectPath, info: PathInfo) -> None:
        """Carry the link on `path`, from now on or once it is known how large a datagram that takes."""
        if self.closed_reason is None:
            self._routing.use_direct(path, info)

    def lose_direct(self, path: DirectPath) -> None:
        """Carry nothing on `path` any longer, if it is the one in use."""
        self._routing.lose_direct(path)

    def challenge(self, way: Way, proven: Callable[[], None]) -> None:
        """Ask the peer on a way that is not the link's; once it has answered, `proven` is called. Nothing else moves.

        To be ended by `drop_way` where no answer comes.
        """
        if self.closed_reason is None:
            self.datagrams.challenges.begin(way, proven)

    def drop_way(self, way: Way) -> None:
        """Ask no more on a way. Idempotent."""
        self.datagrams.challenges.end(way)

    def receive_on(self, way: Way, datagrams: list[bytes]) -> None:
        """Take UDP payloads that came by a way which is not the link's; what they ask is answered there."""
        now = self._loop.time()
        if self.closed_reason is not None or self._liveness.is_stale(now, self._boot_time()):
            return
        self.datagrams.hold_replies()
        self._connection.receive(datagrams, now)
        self._take_events()
        for token in self.datagrams.take_replies():
            self._pump.send_on(way, control.PONG, token)
        self._pump.wake()

    def set_relay(self, info: PathInfo | None) -> None:
        """Say whether the server's relay carries datagrams to this peer, and how users are told."""
        self._routing.set_relay(info)

    def relay_ready(self) -> None:
        """Go on sending by the server's relay, which has said that it has no room."""
        self._pump.wake()

    def receive(self, datagrams: list[bytes], route: Route) -> None:
        """Take UDP payloads of the peer."""
        now = self._loop.time()
        if self.closed_reason is not None or self._liveness.is_stale(now, self._boot_time()):
            return
        self._routing.on_received(route, now)
        self._connection.receive(datagrams, now)
        self._take_events()
        self._pump.wake()

    def peer_is_back(self) -> None:
        """Say that the peer is in the room."""
        self._liveness.departed = False
        self._ask()

    def peer_left(self, *, asleep: bool) -> None:
        """Say that the server no longer lists the peer; unless it may be `asleep`, SILENCE ends the link."""
        self._liveness.departed = not asleep
        self._ask()

    def on_woken(self) -> None:
        """Ask for a sign of life by all paths at once: this machine was asleep, and much may have changed."""
        self._ask()
        if self.direct is not None:
            self.direct.suspect()

    def close(self, reason: str, *, refuse: bool = False) -> None:
        """End the link and tell the peer the reason; with `refuse`, that it is not wanted. Idempotent."""
        if self.closed_reason is None:
            self._connection.close(quic.REFUSED if refuse else quic.CLOSED, reason)
            self._take_events()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin the handshake; not before there is a path, which says how large its datagrams may be."""
        if self.started and self._connection.is_offerer and self._routing.open:
            self._connection.start(self._loop.time())
            self._pump.flush()

    def _path_moved(self) -> None:
        """The main path has changed: what was lost on the old one is found out and sent again at once."""
        info = self._routing.info
        if info is None or self.closed_reason is not None:
            return
        self._begin()
        self._ask()
        if info != self.path:
            self.path = info
            if self.announced:
                self._callbacks.path_changed()
            else:
                self._announce()

    def _announce(self) -> None:
        """Give the application the link as soon as it can use it."""
        if self._connection.established and self.path is not NO_PATH and not self.announced:
            self.announced = True
            self._callbacks.up()

    def _on_sent(self, count: int) -> None:
        """Ask now and then for an acknowledgement, and end the link with a peer that gives none."""
        verdict = self._liveness.on_sent(count)
        if verdict is Verdict.ASK:
            self._ask()
        elif verdict is Verdict.GIVE_UP:
            self._connection.close(quic.PROTOCOL_VIOLATION, "the peer acknowledges nothing")
            self._take_events()

    def _watch_over(self) -> None:
        """Ask for a sign of life in silence; suspend the link when it lasts, and give up after too much of it."""
        established = self._connection.established
        # before the handshake is confirmed nobody is waited for: the engine repeats it without end and at full rate
        waits = self.authenticated and self._connection.confirmed
        verdict = self._liveness.watch(
            self._loop.time(), self._boot_time(), established=established, announced=self.announced, waits=waits
        )
        match verdict:
            case Verdict.GIVE_UP if not established:
                self._end(LinkClosed("the handshake took too long"))
                return
            case Verdict.GIVE_UP:
                self._connection.close(quic.CLOSED, "no sign of life")
                self._end(LinkClosed("the peer no longer answers"))
                return
            case Verdict.SUSPEND:
                self._callbacks.suspended()
            case Verdict.ASK:
                self._ask()
            case Verdict.WAIT:
                pass
            case _:
                assert_never(verdict)
        self._watch = self._loop.call_later(liveness.WATCH_INTERVAL, self._watch_over)

    def _ask(self) -> None:
        """Ask for a sign of life."""
        self._liveness.on_asked(self._loop.time())
        self._connection.ping()
        self._pump.wake()

    def _take_events(self) -> None:
        now = self._loop.time()  # for all of them: there may be one a datagram
        try:
            while (event := self._connection.next_event()) is not None:
                self._on_event(event, now)
        except Overrun as error:
            self._connection.close(quic.PROTOCOL_VIOLATION, f"the peer sends {error}")
            self._take_events()

    def _on_event(self, event: quic.ConnectionEvent, now: float) -> None:
        # whatever comes out of the engine was authenticated, and so is a sign of life; its own end is none
        if not isinstance(event, quic.Terminated):
            silence = self._liveness.on_heard(now)
            if silence is not None:
                self._ask()
                self._callbacks.resumed(silence)
        match event:
            case quic.StreamData(stream_id, data, end):
                self.streams.on_data(stream_id, data, end=end)
            case quic.Control(frame):
                self.streams.on_control(frame)
            case quic.Datagram(data):
                self.datagrams.take(data)
            case quic.StreamAborted(stream_id, code):
                self.streams.on_reset(stream_id, code)
            case quic.StreamStopped(stream_id, code):
                self.streams.on_stopped(stream_id, code)
            case quic.Established():
                self._announce()
            case quic.Alive():
                self._liveness.on_answered()
                # one more question brings the smoothed round trip nearer to what it is now
                if self._connection.rtt > OUTDATED * self._connection.latest_rtt:
                    self._ask()
            case quic.Terminated(code, reason, authentic, by_peer):
                # whose fault it is: a wrong certificate is no end that the peer wanted, a refusal is
                kind = AuthenticationFailed if not authentic else Refused if code == quic.REFUSED else LinkClosed
                if by_peer:  # its words are a stranger's until proved otherwise
                    reason = BY_PEER + (f": {printable(reason)}" if reason else "")
                self._end(kind(reason))
            case _:
                assert_never(event)

    def _end(self, error: AgentError) -> None:
        """Mark the link as gone; whoever waits for something ends."""
        if self.closed_reason is not None:
            return
        self._pump.flush()  # the notice to the peer
        self._pump.close()
        self.error, self.closed_reason = error, str(error)
        closed = error if isinstance(error, LinkClosed) else LinkClosed(str(error))
        self.streams.close(closed)
        self.datagrams.close(closed)
        self._routing.close()
        self._watch.cancel()
        self._gone.set()
        self._callbacks.down(error)

    def _check_open(self) -> None:
        if self.closed_reason is not None:
            raise LinkClosed(self.closed_reason)
