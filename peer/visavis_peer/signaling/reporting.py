"""Tells the signaling server how links turn out, with a KEEP_ALIVE now and then; `core.outcomes` says what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from visavis_peer.core.signaling.outcomes import OutcomeLog
from visavis_peer.events import Event
from visavis_shared.messages import ClientMessage, KeepAlive, KeepAlivePayload
from visavis_shared.nat import NatReport

REPORT_DELAY: Final = 10.0
"""Seconds from an outcome to its report: those of a room that comes together fit into one message."""


class OutcomeReporter:
    """Reports at most once: what waits when a session is over is dropped."""

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

    async def run(self, put: Callable[[ClientMessage], None]) -> None:
        """Give reports to `put`, for as long as one connection lasts."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(REPORT_DELAY)
            for report in self.take():
                put(report)

    def take(self) -> Iterator[KeepAlive]:
        """Return reports of what there is."""
        self._wanted.clear()
        while outcomes := self._log.take():
            yield KeepAlive(payload=KeepAlivePayload(outcomes=outcomes))
