"""ICE sessions made ahead of need."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Literal

from visavis_peer.core.nat.addresses import AddressChoice, choose_addresses
from visavis_peer.core.nat.destinations import Allowance, Destinations
from visavis_peer.host.interfaces import list_interfaces
from visavis_peer.host.portmap import PortMapper
from visavis_peer.ice import IceSession, TurnServer
from visavis_peer.settings import AgentSettings, udp_ports
from visavis_shared.stun import Address
from visavis_shared.tasks import own

logger = logging.getLogger(__name__)


class SessionPool:
    """Keeps one ICE session bound and gathered, so that an OFFER or ANSWER leaves at once."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._servers: Sequence[Address] = ()
        self._mapper = PortMapper() if settings.port_mapping == "auto" else None
        self._spare: IceSession | None = None
        self._stale = False
        """Whether the spare session was made for addresses of before."""
        self._lock = asyncio.Lock()
        self._refill: asyncio.Task[None] | None = None
        self.relay_only = settings.relay == "only"
        """Whether sessions offer and use relayed candidates only."""
        self.loopback = False
        """Whether the signaling server is reached by loopback, so that peers may be, too."""
        self._destinations = Destinations()
        self._asking = Allowance(self._destinations, sys.maxsize)
        """What may go to the STUN and TURN servers of the latest signaling connection."""
        self._turn: asyncio.Task[list[TurnServer]] | None = None
        self.choice = AddressChoice((), ())
        """Which addresses the latest session uses and which not."""

    async def start(self, servers: Sequence[Address]) -> IceSession:
        """Make the first session, which asks the STUN `servers`, and return it without taking it."""
        await self.close()
        self._servers = servers
        self._asking = Allowance(self._destinations, sys.maxsize)
        self._spare = await self._make()
        return self._spare

    def use_turn(self, servers: asyncio.Task[list[TurnServer]] | None) -> None:
        """Give TURN `servers`, perhaps not resolved yet, to the sessions that are taken from now on."""
        self._turn = servers

    async def take(self) -> IceSession:
        """Return the spare session and begin to make the next."""
        async with self._lock:
            await self._drop_stale()
            session, self._spare = self._spare, None
            if session is None:
                session = await self._make()
        self._begin_refill()
        session.loopback = self.loopback
        if self._turn is not None:
            session.use_turn(self._turn)
        return session

    def _begin_refill(self) -> None:
        if self._refill is None or self._refill.done():
            self._refill = own(self._fill(), bears=(OSError,))

    def renew(self) -> None:
        """Make a new spare session: this machine's addresses have changed. Those taken belong to who took them."""
        self._stale = True
        self._destinations.clear()
        self._begin_refill()

    async def close(self) -> None:
        """Close the spare session; those taken belong to who took them."""
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.wait([self._refill])
            self._refill = None
        if self._spare is not None:
            await self._spare.close()
            self._spare = None

    async def _fill(self) -> None:
        async with self._lock:
            await self._drop_stale()
            if self._spare is None:
                self._spare = await self._make()

    async def _drop_stale(self) -> None:
        stale, self._stale = self._stale, False
        if stale and self._spare is not None:
            session, self._spare = self._spare, None
            await session.close()

    async def _make(self) -> IceSession:
        loop = asyncio.get_running_loop()
        # reading the interfaces takes system calls and on Linux a few small files
        interfaces = await loop.run_in_executor(None, list_interfaces)
        self.choice = choose_addresses(interfaces, self._settings.interfaces)
        policy: Literal["auto", "relay"] = "relay" if self.relay_only else "auto"
        session = IceSession(policy=policy, destinations=self._destinations, servers=self._asking)
        try:
            for problem in await session.bind(self.choice.used, udp_ports(self._settings)):
                logger.info("address left out: %s", problem)
            session.gather(self._servers)
            if self._mapper is not None:
                session.map_ports(self._mapper)
        except BaseException:
            await session.close()
            raise
        return session
