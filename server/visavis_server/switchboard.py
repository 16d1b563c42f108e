"""The pump around the hub: feeds it what arrives, performs what it wants, and owns every connection's outbox.

It knows transports but no WebSocket library: an adapter calls `connect`, `receive`, `touch` and the `on_*` of one
connection, and everything is written here. Nothing awaits a client, so no client can hold up another.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final, assert_never

from visavis_server.core import frames
from visavis_server.core.effects import Close, Effect, Ping, Report, Send
from visavis_server.core.hub import Hub
from visavis_server.outbox import CLOSE_TIMEOUT, Outbox
from visavis_shared import ids
from visavis_shared.messages import Endpoint, WelcomePayload

logger = logging.getLogger(__name__)

GOING_AWAY: Final = 1001
"""Close code for a shutdown (RFC 6455 section 7.4.1)."""
TRY_AGAIN_LATER: Final = 1013
"""Close code for a client that does not read what it is sent (registered with IANA)."""
_PING: Final = frames.frame(frames.PING, b"")


class Switchboard:
    """The hub and the connections it speaks to; lives on one event loop."""

    def __init__(self, hub: Hub, welcome: WelcomePayload, cleanup_interval: float, *, hash_addresses: bool) -> None:
        """`welcome` is what every client is told, `observed` aside; `cleanup_interval` in seconds."""
        self.hub = hub
        self.welcome = welcome
        self._cleanup_interval = cleanup_interval
        self._shown: Callable[[str], str] = _Pseudonyms() if hash_addresses else str
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, Outbox] = {}
        """The connections that the hub knows, by peer_id."""
        self._leaving: set[Outbox] = set()
        """Those that have been sent a close frame and not gone yet; each for at most CLOSE_TIMEOUT."""
        self._dirty: list[Outbox] = []
        """Outboxes to flush at the end of this turn of the loop."""
        self._effects: deque[Effect] = deque()
        self._performing = False
        self._sweep_handle = self._loop.call_later(cleanup_interval, self._sweep)

    def connect(self, transport: asyncio.Transport, preamble: bytes, observed: Endpoint | None) -> Outbox:
        """Take over a connection whose upgrade is accepted: `preamble` and the welcome go out in one segment.

        Raises ServerFull.
        """
        peer_id = ids.hex_id(secrets.token_bytes(ids.PEER_ID_BYTES))
        while peer_id in self.hub.peers:
            peer_id = ids.hex_id(secrets.token_bytes(ids.PEER_ID_BYTES))
        welcome = self.welcome.model_copy(update={"observed": observed})
        effects = self.hub.connect(peer_id, welcome, self._loop.time(), now_ms())
        outbox = self._open[peer_id] = Outbox(peer_id, transport, self._loop)
        logger.info("%s connected from %s", peer_id, self._shown(observed.ip) if observed else "an unknown address")
        self._put(outbox, preamble)
        self._perform(effects)
        return outbox

    def receive(self, outbox: Outbox, data: bytes, *, text: bool) -> None:
        """Handle one message; ignored from a connection that is being closed."""
        if outbox.open:
            self._perform(self.hub.receive(outbox.peer_id, data, self._loop.time(), now_ms(), text=text))

    def on_ping(self, outbox: Outbox, data: bytes) -> None:
        """Answer a client's ping with the same body."""
        if outbox.open:
            self.hub.touch(outbox.peer_id, self._loop.time())
            self._put(outbox, frames.frame(frames.PONG, data))

    def on_pong(self, outbox: Outbox) -> None:
        """Note that a client answers."""
        if outbox.open:
            self.hub.touch(outbox.peer_id, self._loop.time())

    def on_close(self, outbox: Outbox, code: int | None) -> None:
        """Answer a client's close frame by the same code and close; or close, if it answered ours."""
        if outbox.open:
            logger.debug("%s closed its connection with %s", outbox.peer_id, code)
            self._retire(outbox, frames.close_frame(code))
        outbox.finish()

    def on_violation(self, outbox: Outbox, code: int, reason: str) -> None:
        """Close a connection whose client broke the WebSocket protocol."""
        if outbox.open:
            logger.debug("%s broke the WebSocket protocol: %s", outbox.peer_id, ids.printable(reason))
            self._retire(outbox, frames.close_frame(code, reason))
            outbox.hang_up()

    def on_lost(self, outbox: Outbox) -> None:
        """Forget a connection that has ended. Idempotent."""
        self._leaving.discard(outbox)
        if outbox.open:
            logger.debug("%s is gone", outbox.peer_id)
            del self._open[outbox.peer_id]
        outbox.on_lost()
        self._perform(self.hub.disconnect(outbox.peer_id, self._loop.time(), now_ms()))

    async def close(self) -> None:
        """Send 1001 to everybody and wait until all are gone, at most CLOSE_TIMEOUT."""
        self._sweep_handle.cancel()
        for outbox in list(self._open.values()):
            del self._open[outbox.peer_id]
            self._leaving.add(outbox)
            outbox.retire(frames.close_frame(GOING_AWAY, "the server shuts down"))
        waiting = [outbox.gone.wait() for outbox in self._leaving]
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*waiting)
        except TimeoutError:
            for outbox in list(self._leaving):
                outbox.abort()

    # --- effects ------------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
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
                logger.debug("%s is closed with %d: %s", peer_id, code, reason)
                # an earlier effect of the same list may have found its outbox full
                outbox = self._open.get(peer_id)
                if outbox is not None:
                    self._retire(outbox, frames.close_frame(code, reason))
            case Report(peer_id=peer_id, error=error):
                logger.error("a message of %s could not be handled", peer_id, exc_info=error)
            case _:
                assert_never(effect)

    def _write(self, to: tuple[str, ...], frame: bytes) -> None:
        for peer_id in to:
            # a peer that was closed since the hub decided
            outbox = self._open.get(peer_id)
            if outbox is not None:
                self._put(outbox, frame)

    def _put(self, outbox: Outbox, frame: bytes) -> None:
        if outbox.put(frame):
            if not outbox.dirty:
                outbox.dirty = True
                if not self._dirty:
                    self._loop.call_soon(self._flush)
                self._dirty.append(outbox)
            return
        logger.debug("%s does not read what it is sent", outbox.peer_id)
        self._retire(outbox, frames.close_frame(TRY_AGAIN_LATER, "too slow: unread messages pile up"))

    def _flush(self) -> None:
        """Write everything collected in this turn of the loop, one write a connection."""
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            outbox.dirty = False
            outbox.flush()

    def _retire(self, outbox: Outbox, close_frame: bytes) -> None:
        """Send a close frame to an open connection, forget its peer and tell the room."""
        del self._open[outbox.peer_id]
        self._leaving.add(outbox)
        outbox.retire(close_frame)
        self._perform(self.hub.disconnect(outbox.peer_id, self._loop.time(), now_ms()))

    def _sweep(self) -> None:
        self._sweep_handle = self._loop.call_later(self._cleanup_interval, self._sweep)
        self._perform(self.hub.handle_timer(self._loop.time(), now_ms()))


class _Pseudonyms:
    """Shows addresses in the log as hashes that are comparable within one run of the server only."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def __call__(self, address: str) -> str:
        return "#" + hashlib.blake2b(address.encode(), key=self._key, digest_size=4).hexdigest()


def now_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
