"""Tells the signaling server how links turn out, with a KEEP_ALIVE now and then; `core.outcomes` says what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from visavis_peer.core.events import Event
from visavis_peer.core.outcomes import OutcomeLog
from visavis_peer.errors import SignalingUnreachable
from visavis_shared.messages import ClientMessage, KeepAlive, KeepAlivePayload
from visavis_shared.nat import NatReport

REPORT_DELAY: Final = 10.0
"""Seconds from an outcome to its report: those of a room that comes together fit into one message."""

Send = Callable[[ClientMessage], Awaitable[None]]
"""Sends to the server; raises SignalingUnreachable."""


class OutcomeReporter:
    """Reports at most once: what was sent on a connection that broke is not sent again."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._log = OutcomeLog()
        self._wanted = asyncio.Event()

    def note(self, event: Event, nat: NatReport) -> None:
        """Take an event of the agent, and what it knows of its NAT."""
        if self._enabled:
            self._log.on_event(event, nat)
            if len(self._log):
                self._wanted.set()

    async def run(self, send: Send) -> None:
        """Report on one connection for as long as it lasts."""
        with contextlib.suppress(SignalingUnreachable):
            while True:
                await self._wanted.wait()
                await asyncio.sleep(REPORT_DELAY)
                await self.flush(send)

    async def flush(self, send: Send) -> None:
        """Report what there is.

        Raises SignalingUnreachable.
        """
        self._wanted.clear()
        while outcomes := self._log.take():
            await send(KeepAlive(payload=KeepAlivePayload(outcomes=outcomes)))
