"""Messages on their way to the signaling server; those that it would not get any more wait for the next connection."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from visavis_shared.messages import ClientMessage

logger = logging.getLogger(__name__)

OUTBOX_SIZE: Final = 1024
"""Signaling messages awaiting the connection: offers to 64 peers with 16 messages each."""


class Outbox:
    """A bounded queue with one reader."""

    def __init__(self) -> None:
        self._messages: deque[ClientMessage] = deque()
        self._held = False
        self._wake = asyncio.Event()

    def put(self, message: ClientMessage) -> None:
        """Take a message; it is dropped when there are too many."""
        if len(self._messages) >= OUTBOX_SIZE:
            logger.warning("a message to a peer was dropped: the signaling connection is stuck")
            return
        self._messages.append(message)
        self._wake.set()

    async def get(self) -> ClientMessage:
        """Return the next message, once there is one and none is held."""
        while self._held or not self._messages:
            self._wake.clear()
            await self._wake.wait()
        return self._messages.popleft()

    def hold(self) -> None:
        """Keep all messages until `release`."""
        self._held = True

    def release(self) -> None:
        """Give out messages again. Idempotent."""
        self._held = False
        self._wake.set()

    def clear(self) -> None:
        """Drop all messages."""
        self._messages.clear()
