"""The association behind a link: streams and datagrams over QUIC, over whatever path is best.

The agent makes it, tells it which paths there are, and hands it what comes in; the application has a `Link`, which asks
it. It outlives its paths and the signaling connection. The word is that of RFC 9260 section 1.4.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from visavis_peer.core.credits import Overrun
from visavis_peer.core.effects import Role
from visavis_peer.core.events import PathInfo
from visavis_peer.core.paths import Route
from visavis_peer.errors import AgentError, AuthenticationFailed, LinkClosed, PeerAbsent, Refused
from visavis_peer.link import control, quic
from visavis_peer.link.challenge import Challenges, Way
from visavis_peer.link.identity import Meeting
from visavis_peer.link.quic import SecureConnection
from visavis_peer.link.routing import NO_PATH, DirectPath, Routing
from visavis_peer.link.streams import ReceivingPart, SendingPart, StreamTable
from visavis_peer.sleep_watch import elapsed
from visavis_shared.ids import printable

RECEIVE_COUNT: Final = 1024
"""Datagrams kept for a reader that is busy, 1.2 MB at most; the oldest are dropped, as UDP does."""
HELD_COUNT: Final = 64
"""Datagrams given to the engine while the relay takes no more, 1 MiB at most; those that follow are dropped."""
PING_INTERVAL: Final = 5.0
"""Seconds of silence after which the peer is asked for a sign of life."""
WATCH_INTERVAL: Final = 1.0
"""Seconds between looks at the clock, and between questions once PING_INTERVAL is over: a question is not repeated when
it is lost, and after an outage of 20 s there is no time for many."""
LATE: Final = 4.0
"""Seconds by which such a look is too late for a busy machine: this process was stopped, and heard nobody meanwhile."""
STALE: Final = 0.2
"""Seconds for which, after such a time or a machine's sleep, datagrams are dropped: they have lain in buffers.
To acknowledge them would tell the peer of a round trip as long as the sleep, and it would send at that pace. Whatever
is not acknowledged is sent again."""
SILENCE: Final = 26.0
"""Seconds without a sign of life after which the link is suspended, or over where it cannot be: an outage of 20 s is
none, and a peer that died is noticed within 30 s."""
OUTDATED: Final = 4.0
"""Times by which the smoothed round trip is longer than the latest where it tells of the past: the peer slept, or
a queue stood. The engine paces by it (RFC 9002 section 7.7), and each answer brings it an eighth nearer to the
truth."""
SUSPENDED_INTERVAL: Final = 5.0
"""Seconds between questions while the link is suspended: the longest that it then takes to notice a peer that is back.
The engine keeps 144 bytes of each question, 2.5 MB in a day."""
HANDSHAKE_TIMEOUT: Final = 15.0
"""Seconds for the handshake, from the ANSWER on: a round of checks and its first retry."""
UNANSWERED_COUNT: Final = 16_384
"""UDP payloads sent since the peer has last answered a question, beyond which the application's datagrams are dropped:
the engine keeps 144 bytes of each (measured), 2.3 MiB then. All credits of a link are 1,800 payloads a round trip."""
ASK_COUNT: Final = 1024
"""UDP payloads sent without an answer after which the peer is asked; of 16 questions not all are lost. Who has not
answered after so many beyond UNANSWERED_COUNT acknowledges nothing on purpose."""


FINGERPRINT_DIGITS: Final = 16
REPLY_COUNT: Final = 4
"""Challenges answered of those that come together: a peer asks four times a second on a way."""


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
    ) -> None:
        """`connection` has not been started; `sealed` tells whether OFFER and ANSWER were.

        `patience` is for how many seconds of silence both sides keep the link, where its peer is authenticated.
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
        self.patience = patience
        self.suspended_at: float | None = None
        """Since when the link has waited for a silent peer, seconds, monotonic; None while it does not."""
        self.announced = False
        """Whether the application has been told of the link: both sides have proved themselves and there is a path."""
        self._connection = connection
        self._callbacks = callbacks
        self._streams = StreamTable(connection, self._wake_up)
        self._routing = Routing(connection, callbacks.relay, callbacks.relay_room, self._path_moved, callbacks.narrow)
        self._received: deque[bytes] = deque(maxlen=RECEIVE_COUNT)
        self._wake = asyncio.Event()
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._flush_scheduled = False
        self._blocked = False
        """Whether the engine keeps what it has to send, for the relay takes no more at the moment."""
        self._held = 0
        """Datagrams among that."""
        self._heard_at = time.monotonic()
        self._unanswered = 0
        """Datagrams sent since the peer has last answered a question."""
        self._ask_at = ASK_COUNT
        self._departed = False
        """Whether the peer has left the room or hung up: then it is not just asleep."""
        self._watched_at = self._heard_at
        self._awake_at = elapsed()
        """When this process last did anything, on a clock that goes on in sleep."""
        self._stale_until = 0.0
        self._asked_at: float | None = None
        """When the peer was asked for a sign of life; None once it has answered."""
        self._challenges = Challenges(self._send_on)
        self._asked_on: Way | None = None
        """The way whose datagrams are being taken, where that is none of the link's."""
        self._replies: list[bytes] = []
        """Tokens to be sent back there."""
        self._watch = self._loop.call_later(WATCH_INTERVAL, self._watch_over)

    def __repr__(self) -> str:
        return f"Association({self.peer_id}, {self.state})"

    @property
    def state(self) -> str:
        """The path, or why the link is gone, in a few words."""
        return self.path.kind if self.closed_reason is None else f"closed: {self.closed_reason}"

    # --- what the application asks for (`Link`) -----------------------------------------------------------------------

    async def open_stream(self) -> tuple[ReceivingPart, SendingPart]:
        """Open a stream; waits while 64 of this side are open.

        Raises LinkClosed.
        """
        return await self._streams.open()

    async def accept_stream(self) -> tuple[ReceivingPart, SendingPart]:
        """Return the next stream that the peer has opened.

        Raises LinkClosed.
        """
        return await self._streams.accept()

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
        if self.suspended_at is None and self._unanswered < UNANSWERED_COUNT:
            self._send_datagram(control.DATA, data)

    async def receive_datagram(self) -> bytes:
        """Return the next datagram.

        Raises LinkClosed once the link is gone and everything received has been returned.
        """
        while not self._received:
            self._check_open()
            self._wake.clear()
            await self._wake.wait()
        return self._received.popleft()

    async def ping(self, timeout: float) -> float:
        """Return the seconds of one round trip to the peer's agent and back.

        Raises PeerAbsent when nothing comes back within `timeout` seconds, LinkClosed when the link is gone.
        """
        self._check_open()
        token = secrets.token_bytes(control.TOKEN_SIZE)
        answered: asyncio.Future[None] = self._loop.create_future()
        self._pings[token] = answered
        started = time.monotonic()
        try:
            self._send_datagram(control.PING, token)
            async with asyncio.timeout(timeout):
                await answered
        except TimeoutError:
            raise PeerAbsent(f"no answer over the link within {timeout:g} s") from None
        finally:
            del self._pings[token]
        return time.monotonic() - started

    async def wait_closed(self) -> str:
        """Wait until the link is gone and return why."""
        while self.closed_reason is None:
            self._wake.clear()
            await self._wake.wait()
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
        return time.monotonic() - self._heard_at

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
            self._challenges.begin(way, proven)

    def drop_way(self, way: Way) -> None:
        """Ask no more on a way. Idempotent."""
        self._challenges.end(way)

    def receive_on(self, way: Way, datagrams: list[bytes]) -> None:
        """Take UDP payloads that came by a way which is not the link's; what they ask is answered there."""
        if self.closed_reason is not None or self._is_stale():
            return
        self._asked_on = way
        self._connection.receive(datagrams, time.monotonic())
        self._take_events()
        self._asked_on = None
        replies, self._replies = self._replies[:REPLY_COUNT], []
        for token in replies:
            self._send_on(way, control.PONG, token)
        self._wake_up()

    def set_relay(self, info: PathInfo | None) -> None:
        """Say whether the server's relay carries datagrams to this peer, and how users are told."""
        self._routing.set_relay(info)

    def relay_ready(self) -> None:
        """Go on sending by the server's relay, which has said that it has no room."""
        self._wake_up()

    def receive(self, datagrams: list[bytes], route: Route) -> None:
        """Take UDP payloads of the peer."""
        if self.closed_reason is not None or self._is_stale():
            return
        now = time.monotonic()
        self._routing.on_received(route, now)
        self._connection.receive(datagrams, now)
        self._take_events()
        self._wake_up()

    def peer_is_back(self) -> None:
        """Say that the peer is in the room."""
        self._departed = False
        self._ask()

    def peer_left(self, *, asleep: bool) -> None:
        """Say that the server no longer lists the peer; unless it may be `asleep`, SILENCE ends the link."""
        self._departed = not asleep
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
            self._connection.start(time.monotonic())
            self._flush()

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

    def _send_datagram(self, kind: int, data: bytes) -> None:
        """Send a QUIC datagram; it is lost without a path and where too many wait, for the engine keeps any number."""
        if self._routing.open and self._held < HELD_COUNT:
            self._held += self._blocked
            self._connection.send_datagram(bytes((kind,)) + data)
            self._wake_up()

    def _send_on(self, way: Way, kind: int, data: bytes) -> None:
        """Send a QUIC datagram on a way that is not the link's; whatever else is due goes where it belongs before."""
        now = time.monotonic()
        if self.closed_reason is not None:
            return
        if self._routing.open:
            while due := self._connection.take_datagrams(now):
                self._routing.send(due, now)
        elif self._connection.datagram_size > quic.DATAGRAM_SIZE:
            self._connection.shrink(quic.DATAGRAM_SIZE)  # what has piled up may share the packet
        self._connection.send_datagram(bytes((kind,)) + data)
        way.send_datagrams(self._connection.take_datagrams(now, 1))
        self._wake_up()

    def _wake_up(self) -> None:
        """Flush at the end of this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if not self._routing.open or self.closed_reason is not None:
            return  # the engine keeps everything until there is a path
        now = time.monotonic()
        while room := self._room:
            self._streams.flush()
            datagrams = self._connection.take_datagrams(now, room)
            if not datagrams:
                break
            self._routing.send(datagrams, now)
            self._unanswered += len(datagrams)
        self._blocked = not room
        if room:
            self._held = 0
        self._check_answers()
        self._set_timer()

    @property
    def _room(self) -> int:
        """Bytes that may be sent now; the notice of the end always may."""
        return self._routing.room if self._connection.terminated is None else quic.DATAGRAM_SIZE

    def _check_answers(self) -> None:
        """Ask now and then for an acknowledgement, and end the link with a peer that gives none."""
        if self.suspended_at is not None:
            return  # nothing but questions is sent
        if self._unanswered >= UNANSWERED_COUNT + ASK_COUNT:
            self._connection.close(quic.PROTOCOL_VIOLATION, "the peer acknowledges nothing")
            self._take_events()
        elif self._unanswered >= self._ask_at:
            self._ask_at += ASK_COUNT
            self._ask()

    def _set_timer(self) -> None:
        due = self._connection.next_timer()
        if due == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        if due is None:
            self._timer = None
        else:
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._connection.handle_timer(max(time.monotonic(), self._timer_at or 0.0))
        self._take_events()
        self._flush()

    def _watch_over(self) -> None:
        """Ask for a sign of life in silence; suspend the link when it lasts, and give up after too much of it."""
        now = time.monotonic()
        self._is_stale()
        late = now - self._watched_at - WATCH_INTERVAL
        self._watched_at = now
        if late > LATE:
            self._heard_at = min(now, self._heard_at + late)  # the silence of who does not listen is not the peer's
        silence = now - self._heard_at
        if not self._connection.established:
            if silence > HANDSHAKE_TIMEOUT:
                self._end(LinkClosed("the handshake took too long"))
                return
        elif silence > self._endurance:
            self._connection.close(quic.CLOSED, "no sign of life")
            self._end(LinkClosed("the peer no longer answers"))
            return
        elif silence > SILENCE and self.announced and self.suspended_at is None:
            self.suspended_at = now
            self._callbacks.suspended()
        elif self._is_to_ask(now, silence):
            self._ask()
        self._watch = self._loop.call_later(WATCH_INTERVAL, self._watch_over)

    def _is_stale(self) -> bool:
        """Whether what comes in now has waited for this process, or this machine, to wake up."""
        now, clock = time.monotonic(), elapsed()
        if clock - self._awake_at > WATCH_INTERVAL + LATE:
            self._stale_until = now + STALE
        self._awake_at = clock
        return now < self._stale_until

    def _is_to_ask(self, now: float, silence: float) -> bool:
        """Whether to ask (again): the engine repeats no question, and the path of the last one may have died."""
        if self._asked_at is None:
            return silence > PING_INTERVAL
        return self.suspended_at is None or now - self._asked_at >= SUSPENDED_INTERVAL

    @property
    def _endurance(self) -> float:
        """Seconds of silence that the link outlives.

        Only who is authenticated, and may be asleep, is waited for; nor is it worth while before the handshake is
        confirmed, for the engine repeats that without end and at full rate.
        """
        waits = self.authenticated and self._connection.confirmed and not self._departed
        return max(SILENCE, self.patience) if waits else SILENCE

    def _ask(self) -> None:
        """Ask for a sign of life."""
        self._asked_at = time.monotonic()
        self._connection.ping()
        self._wake_up()

    def _take_events(self) -> None:
        try:
            while (event := self._connection.next_event()) is not None:
                self._on_event(event)
        except Overrun as error:
            self._connection.close(quic.PROTOCOL_VIOLATION, f"the peer sends {error}")
            self._take_events()

    def _on_event(self, event: quic.ConnectionEvent) -> None:
        if not isinstance(event, quic.Terminated):
            self._on_sign_of_life()
        match event:
            case quic.StreamData(stream_id, data, end):
                self._streams.on_data(stream_id, data, end=end)
            case quic.Control(frame):
                self._streams.on_control(frame)
            case quic.Datagram(data):
                self._on_datagram(data)
            case quic.StreamReset(stream_id, code):
                self._streams.on_reset(stream_id, code)
            case quic.StreamStopped(stream_id, code):
                self._streams.on_stopped(stream_id, code)
            case quic.Established():
                self._announce()
            case quic.Alive():
                self._unanswered, self._ask_at, self._asked_at = 0, ASK_COUNT, None
                if self._connection.rtt > OUTDATED * self._connection.latest_rtt:
                    self._ask()
            case quic.Terminated(code, reason, authentic, by_peer):
                kind = AuthenticationFailed if not authentic else Refused if code == quic.REFUSED else LinkClosed
                if by_peer:
                    reason = "closed by the peer" + (f": {printable(reason)}" if reason else "")
                self._end(kind(reason))
            case _:
                assert_never(event)

    def _on_sign_of_life(self) -> None:
        now = time.monotonic()
        silence, self._heard_at = now - self._heard_at, now
        if self.suspended_at is not None:
            self.suspended_at = None
            self._unanswered = min(self._unanswered, UNANSWERED_COUNT)
            self._ask()  # the answer shows what was lost meanwhile
            self._callbacks.resumed(silence)

    def _on_datagram(self, data: bytes) -> None:
        kind, content = data[:1], data[1:]
        if kind == bytes((control.PING,)) and self._asked_on is not None:
            self._replies.append(content[: control.TOKEN_SIZE])
        elif kind == bytes((control.PING,)):
            self._send_datagram(control.PONG, content[: control.TOKEN_SIZE])
        elif kind == bytes((control.PONG,)):
            self._challenges.on_answer(content)
            answered = self._pings.get(content)
            if answered is not None and not answered.done():
                answered.set_result(None)
        elif kind == bytes((control.DATA,)):
            self._received.append(content)
            self._wake.set()

    def _end(self, error: AgentError) -> None:
        """Mark the link as gone; whoever waits for something ends."""
        if self.closed_reason is not None:
            return
        self._flush()  # the notice to the peer
        self.error, self.closed_reason = error, str(error)
        closed = error if isinstance(error, LinkClosed) else LinkClosed(str(error))
        self._streams.close(closed)
        self._routing.close()
        self._challenges.close()
        self._watch.cancel()
        self._wake.set()
        for answered in self._pings.values():
            if not answered.done():
                answered.set_exception(closed)
        if self._timer is not None:
            self._timer.cancel()
        self._callbacks.down(error)

    def _check_open(self) -> None:
        if self.closed_reason is not None:
            raise LinkClosed(self.closed_reason)
