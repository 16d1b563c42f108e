"""The pump around the hub: feeds it what arrives, performs what it wants, and owns every connection's outbox.

It knows transports but no WebSocket library: an adapter calls `connect`, `receive` and the `on_*` of one connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Final, assert_never

from visavis_server.core import frames
from visavis_server.core.access.causes import Cause
from visavis_server.core.quiet import Quiet
from visavis_server.core.signaling.effects import Audit, Close, Effect, Ping, Rebind, Report, Send
from visavis_server.core.signaling.hub import Hub
from visavis_server.setup.logs import ShowAddress, fields
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.outbox import CLOSE_TIMEOUT, Outbox
from visavis_shared import ids
from visavis_shared.closing import CloseCode
from visavis_shared.errors import ErrorCode
from visavis_shared.messages import Departure, Endpoint, RelayOffer, WelcomePayload

logger = logging.getLogger(__name__)
audit = logging.getLogger("visavis_server.audit")
"""Who has governed what: one line each."""

DRAIN_RATE: Final = 200
"""Connections closed per second of a drain: half of what a server that starts accepts without delaying anybody."""
_ORDINARY: Final = frozenset({"relay_early"})
"""Causes of refusals that are no limit that somebody has gone beyond, but everyday life."""
DRAIN_NOTICE: Final = 0.5
"""Seconds at least from GOAWAY to the close: on a path with a round trip of half a second a client still learns what
became of all that it sent before it heard of the drain."""
RELAY_TOKEN_BYTES: Final = 16
"""Random bytes of a relay token: 128 bits cannot be guessed."""
_PING: Final = frames.frame(frames.PING, b"")


class Switchboard(Connections):
    """The hub and the connections it speaks to; lives on one event loop."""

    def __init__(
        self,
        hub: Hub,
        welcome: WelcomePayload,
        cleanup_interval: float,
        *,
        show_address: ShowAddress,
        relay_offer: RelayOffer | None = None,
    ) -> None:
        """`welcome` is what every client is told, `observed` and its relay token aside; `cleanup_interval` in seconds.

        `show_address` makes addresses fit for the log. `relay_offer` is what clients are told of the relay, with an
        empty token; None where there is none.
        """
        super().__init__(hub.counts)
        self.hub = hub
        self.welcome = welcome
        self._relay_offer = relay_offer
        self._cleanup_interval = cleanup_interval
        self._show_address = show_address
        self._open: dict[str, Outbox] = {}
        """The connections that the hub knows, by peer_id."""
        self._logged_refusals: Counter[str] = Counter()
        self.refusals: list[Callable[[], Iterable[tuple[str, int]]]] = [lambda: self.hub.refusals.items()]
        """What has been refused so far by cause, the server's other parts included: for the log."""
        if hub.relay is not None:
            drops = hub.relay.drops
            self.refusals.append(lambda: [(f"relay_{cause}", count) for cause, count in drops.items()])
        self._quiet = Quiet()
        self._effects: deque[Effect] = deque()
        self._performing = False
        self._sweep_handle = self._loop.call_later(cleanup_interval, self._sweep)

    def connect(
        self,
        transport: asyncio.Transport,
        preamble: bytes,
        observed: Endpoint | None,
        *,
        address: str | None = None,
        token: str = "",
    ) -> Outbox:
        """Take over a connection whose upgrade is accepted: `preamble` and the welcome go out in one segment.

        `address` is the client's where `observed` is that of a proxy; `token` is what its upgrade request has shown.

        Raises ServerFull.
        """
        if address is None:
            address = observed.ip if observed is not None else ""
        elif observed is None or address != observed.ip:
            observed = None
        peer_id = ids.hex_id(secrets.token_bytes(ids.PEER_ID_BYTES))
        while peer_id in self.hub.rooms.peers:
            peer_id = ids.hex_id(secrets.token_bytes(ids.PEER_ID_BYTES))
        welcome = self.welcome.model_copy(update={"observed": observed, "relay": self._new_relay_offer()})
        now = self._loop.time()
        effects = self.hub.connect(peer_id, welcome, now, now_ms(), address=address, token=token)
        outbox = self._open[peer_id] = Outbox(peer_id, transport, self._loop)
        shown = self._show_address(address) if address else "an unknown address"
        about = fields(event="connected", peer_id=peer_id, address=shown)
        logger.info("%s connected%s", peer_id, f" from {shown}" if shown else "", extra=about)
        self._put(outbox, preamble)
        self.perform(effects)
        return outbox

    def receive(self, outbox: Outbox, data: frames.Payload, *, text: bool) -> None:
        """Handle one message; ignored from a connection that is being closed."""
        if outbox.open:
            self.perform(self.hub.receive(outbox.peer_id, bytes(data), self._loop.time(), now_ms(), text=text))

    @property
    def outboxes(self) -> Collection[Outbox]:
        """See Connections."""
        return self._open.values()

    def _new_relay_offer(self) -> RelayOffer | None:
        if self._relay_offer is None:
            return None
        return self._relay_offer.model_copy(update={"token": secrets.token_hex(RELAY_TOKEN_BYTES)})

    def on_alive(self, outbox: Outbox) -> None:
        """Note that a client lives."""
        self.hub.edge.touch(outbox.peer_id, self._loop.time())

    def on_ping(self, outbox: Outbox, data: frames.Payload) -> None:
        """Answer a client's ping, unless it sends too many."""
        if self._admits_control(outbox):
            super().on_ping(outbox, data)

    def on_pong(self, outbox: Outbox) -> None:
        """Note that a client has received what it was sent before its last ping."""
        if self._admits_control(outbox):
            self.hub.on_pong(outbox.peer_id)

    def _admits_control(self, outbox: Outbox) -> bool:
        """Count a control frame as a message; False for one that is to be ignored."""
        if not outbox.open:
            return False
        excess = self.hub.admit_control(outbox.peer_id, self._loop.time(), now_ms())
        if excess is not None:
            self.perform(excess)
        return excess is None

    def on_gone(self, outbox: Outbox) -> None:
        """Forget the peer of a connection that is closed or has ended, and tell its room; or keep it for a while."""
        # the peer may have another connection by now
        if self._open.get(outbox.peer_id) is outbox:
            del self._open[outbox.peer_id]
            now = self._loop.time()
            cause = Departure.SILENT if outbox.deaf else Departure.CLOSED
            self.perform(self.hub.disconnect(outbox.peer_id, now, now_ms(), leaving=outbox.left, cause=cause))

    async def drain(self, longest: float) -> None:
        """Tell those who resume to reconnect, and close their connections one by one, spread over `longest` seconds.

        With few connections it takes less: no more than DRAIN_RATE a second come back to whoever takes over, none of
        them before DRAIN_NOTICE. Nobody's room is told that they are gone.
        """
        resuming = [outbox for peer_id, outbox in self._open.items() if self.hub.may_resume(peer_id)]
        notice = min(longest, DRAIN_NOTICE)
        span = min(longest, notice + len(resuming) / DRAIN_RATE)
        delays = {outbox.peer_id: random.uniform(notice, span) for outbox in resuming}
        now = now_ms()
        self.perform(self.hub.drain({peer_id: round(delay * 1000) for peer_id, delay in delays.items()}, now))
        for outbox in resuming:
            self._loop.call_later(delays[outbox.peer_id], self._let_go, outbox)
        if resuming:
            try:
                async with asyncio.timeout(span + CLOSE_TIMEOUT):
                    await asyncio.gather(*(outbox.gone.wait() for outbox in resuming))
            except TimeoutError:
                logger.debug("some clients did not answer the close frame")

    def _let_go(self, outbox: Outbox) -> None:
        if outbox.open:
            self.dismiss(outbox, CloseCode.SERVICE_RESTART, "the server restarts")

    async def close(self) -> None:
        """Send 1001 to everybody and wait until all are gone, at most CLOSE_TIMEOUT."""
        self._sweep_handle.cancel()
        await self.close_all(list(self._open.values()))

    # --- effects ------------------------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Perform effects in order; those that arise on the way queue up behind."""
        self._effects.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            while self._effects:
                self._perform_one(self._effects.popleft())
        finally:
            self._performing = False

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Send(to=to, data=data):
                self._write(to, frames.frame(frames.TEXT, data))
            case Ping(to=to):
                self._write(to, _PING)
            case Close(peer_id=peer_id, code=code, reason=reason):
                about = fields(event="closed", peer_id=peer_id, code=code)
                logger.debug("%s is closed with %d: %s", peer_id, code, reason, extra=about)
                # an earlier effect of the same list may have found its outbox full
                outbox = self._open.get(peer_id)
                if outbox is not None:
                    self.dismiss(outbox, code, reason)
            case Audit(actor=actor, action=action, room_id=room_id, details=details):
                room, details = ids.printable(room_id), ids.printable(details)
                about = fields(event="audit", actor=actor, action=action, room=room, details=details)
                audit.info("%s: %s %r %s", actor, action, room, details, extra=about)
            case Rebind(fresh_id=fresh_id, peer_id=peer_id, code=code, reason=reason):
                self._rebind(fresh_id, peer_id, code, reason)
            case Report(peer_id=peer_id, error=error):
                unsaid = self._quiet.speak(ErrorCode.INTERNAL_ERROR, self._loop.time())
                if unsaid is not None:
                    about = fields(event="internal_error", peer_id=peer_id, unsaid=unsaid)
                    text = "a message of %s could not be handled (%d more since the last such line)"
                    logger.error(text, peer_id, unsaid, exc_info=error, extra=about)
            case _:
                assert_never(effect)

    def _rebind(self, fresh_id: str, peer_id: str, code: int, reason: str) -> None:
        before = self._open.pop(peer_id, None)
        outbox = self._open.pop(fresh_id, None)
        logger.info("%s has resumed as %s", fresh_id, peer_id, extra=fields(event="resumed", peer_id=peer_id))
        if outbox is not None:
            outbox.peer_id = peer_id
            self._open[peer_id] = outbox
        if before is not None:
            self.dismiss(before, code, reason)

    def _write(self, to: tuple[str, ...], frame: bytes) -> None:
        for peer_id in to:
            # a peer that was closed since the hub decided
            outbox = self._open.get(peer_id)
            if outbox is not None:
                self._put(outbox, frame)

    def _put(self, outbox: Outbox, frame: bytes) -> None:
        if not self.put(outbox, frame):
            about = fields(event="unread", peer_id=outbox.peer_id)
            logger.debug("%s does not read what it is sent", outbox.peer_id, extra=about)
            self.hub.refusals[Cause.UNREAD] += 1
            outbox.deaf = True
            self.dismiss(outbox, CloseCode.TRY_AGAIN_LATER, "too slow: unread messages pile up")

    def _sweep(self) -> None:
        self._sweep_handle = self._loop.call_later(self._cleanup_interval, self._sweep)
        self.perform(self.hub.handle_timer(self._loop.time(), now_ms()))
        self._log_refusals()

    def _log_refusals(self) -> None:
        """Write one line for each cause that has turned anything away, at most one line a second and cause."""
        now = self._loop.time()
        for cause, count in [item for counts in self.refusals for item in counts()]:
            new = count - self._logged_refusals[cause]
            if new and self._quiet.speak(cause, now) is not None:
                about = fields(event="refused", cause=cause, count=new)
                # a peer that has gone, or is on its way, as they do
                level = logging.DEBUG if cause in _ORDINARY else logging.WARNING
                logger.log(level, "refused %d times since the last such line: %s", new, cause, extra=about)
                self._logged_refusals[cause] = count


def now_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
