"""Notices when this machine's addresses change: another network, a cable pulled, an address renewed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from visavis_peer.core.nat.addresses import Interface
from visavis_peer.host.watch import Watch

logger = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between looks, each about a millisecond: a link that moves loses no more than that before it acts."""


class NetworkWatch(Watch):
    """Looks at the interfaces again and again; no platform's notification works on all of them."""

    def __init__(
        self, list_interfaces: Callable[[], Sequence[Interface]], on_change: Callable[[Sequence[Interface]], None]
    ) -> None:
        """`on_change` gets all interfaces whenever one of them, or one of their addresses, has changed."""
        super().__init__()
        self._list = list_interfaces
        self._on_change = on_change

    async def _run(self) -> None:
        before = await self._look()
        while True:
            await asyncio.sleep(INTERVAL)
            now = await self._look()
            if now is not None and now != before:
                before = now
                self._on_change(now)

    async def _look(self) -> Sequence[Interface] | None:
        """Return the interfaces; None while they cannot be read, as where no descriptor is left."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._list)
        except OSError as error:
            logger.info("the interfaces cannot be read: %s", error)
            return None
