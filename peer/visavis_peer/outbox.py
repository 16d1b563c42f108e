"""Signaling messages on their way to the server: in order, paced, held back when the server is about to stop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from visavis_peer.core.pacing import Pacer
from visavis_peer.errors import SignalingUnreachable
from visavis_shared.messages import ClientMessage

logger = logging.getLogger(__name__)

OUTBOX_SIZE: Final = 1024
"""Messages awaiting the connection: offers to 64 peers with 16 messages each."""


class Outbox:
    """A bounded queue that outlives connections; what one of them could not take waits for the next."""

    def __init__(self) -> None:
        self._messages: deque[ClientMessage] = deque()
        self._wake = asyncio.Event()
        self._held = False
        self._pacer = Pacer(0.0, 0.0)

    def put(self, message: ClientMessage) -> None:
        """Take one message, or drop it when too many wait."""
        if len(self._messages) >= OUTBOX_SIZE:
            logger.warning("a message to a peer was dropped: the signaling connection is stuck")
            return
        self._messages.append(message)
        self._wake.set()

    def clear(self) -> None:
        """Forget what waits."""
        self._messages.clear()

    def hold(self) -> None:
        """Keep everything for the next connection: this one is about to be closed."""
        self._held = True

    def pause(self) -> None:
        """Note that the server found a message one too many."""
        self._pacer.pause(asyncio.get_running_loop().time())

    async def run(self, send: Callable[[ClientMessage], Awaitable[None]], rate: float) -> None:
        """Send over one connection until it is gone; `rate` is what it admits in messages per second, 0 for any."""
        loop = asyncio.get_running_loop()
        pacer = self._pacer = Pacer(rate, loop.time())
        self._held = False
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
            try:
                await send(message)
            except SignalingUnreachable:  # whoever reads hears of it as well
                self._messages.appendleft(message)
                return
