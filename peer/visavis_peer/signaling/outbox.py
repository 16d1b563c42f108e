"""Signaling messages on their way to the server: in order, paced, once.

They wait while there is no session to send them in: before the ACK of JOIN or RESUME, and when the server is about to
stop. What was sent is kept until a resumed session has told how much of it was taken; the rest is sent again, before
anything newer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from visavis_peer.core.signaling.pacing import Pacer
from visavis_peer.core.signaling.unconfirmed import Unconfirmed
from visavis_peer.errors import SignalingUnreachable
from visavis_shared.messages import ClientMessage, encode

logger = logging.getLogger(__name__)

OUTBOX_SIZE: Final = 1024
"""Messages awaiting the connection: offers to 64 peers with 16 messages each. What is sent again comes on top."""


class Outbox:
    """A bounded queue that outlives connections."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._unconfirmed = Unconfirmed()
        self._wake = asyncio.Event()
        self._held = True
        self._pacer = Pacer(0.0, 0.0)

    @property
    def waiting_count(self) -> int:
        """Messages that have not been sent."""
        return len(self._messages)

    def put(self, message: ClientMessage) -> None:
        """Take one message, or drop it when too many wait."""
        if len(self._messages) >= OUTBOX_SIZE:
            logger.warning("a message to a peer was dropped: the signaling connection is stuck")
            return
        self._messages.append(encode(message))
        self._wake.set()

    def clear(self) -> None:
        """Forget what waits and what was sent: the session is over."""
        self._messages.clear()
        self._unconfirmed.begin()

    def hold(self) -> None:
        """Keep everything for the next connection: this one is gone, or about to be closed."""
        self._held = True

    def joined(self) -> None:
        """Send from now on: the ACK of JOIN has come."""
        self._unconfirmed.begin()
        self._release()

    def resumed(self, received: int | None) -> None:
        """Send from now on, first what the server has not taken: the ACK of RESUME has come with `received`."""
        messages, lost = self._unconfirmed.resume(received)
        if lost:
            logger.warning("%d messages to peers were lost with the signaling connection", lost)
        self._messages.extendleft(reversed(messages))
        self._release()

    def pause(self) -> None:
        """Note that the server found a message one too many."""
        self._pacer.pause(asyncio.get_running_loop().time())

    async def run(self, send: Callable[[bytes], Awaitable[None]], rate: float) -> None:
        """Send over one connection until it is gone; `rate` is what it admits in messages per second, 0 for any."""
        loop = asyncio.get_running_loop()
        pacer = self._pacer = Pacer(rate, loop.time())
        while True:
            while self._held or not self._messages:
                self._wake.clear()
                await self._wake.wait()
            now = loop.time()
            delay = pacer.delay(now)
            if delay:
                await asyncio.sleep(delay)
                continue
            pacer.spend(now)
            message = self._messages.popleft()
            self._unconfirmed.add(message)
            try:
                await send(message)
            except SignalingUnreachable:  # whoever reads hears of it as well
                self._unconfirmed.doubt()
                return

    def _release(self) -> None:
        self._held = False
        self._wake.set()
