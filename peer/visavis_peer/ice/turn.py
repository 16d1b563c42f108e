"""Relayed candidates: an address on a TURN server (RFC 8656) that stands in for ours, by aioice's client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Final, Literal

from aioice import stun, turn

from visavis_peer.ice.candidates import relayed_candidate
from visavis_peer.ice.socket import OPENER, IceSocket, SocketOwner
from visavis_shared.stun import Address

logger = logging.getLogger(__name__)

ALLOCATION_TIMEOUT: Final = 10.0
"""Seconds for an allocation: challenge and request, each repeated by aioice; nothing waits for it."""
ALLOCATION_PACKETS: Final = 7
"""Packets that an allocation sends to a server that does not answer (RFC 8489 section 6.2.1: Rc)."""
CLOSE_TIMEOUT: Final = 0.5
"""Seconds that a TURN server has to confirm the end of an allocation."""


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A TURN server and time-limited credentials for it."""

    address: Address
    """Numeric address and port."""
    username: str
    credential: str = field(repr=False)
    transport: Literal["udp", "tcp"] = "udp"
    """Between us and the server; it relays UDP in any case."""
    unproven: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)
    """Held by the one session that asks a server which has not answered yet: the packets to such a one are counted."""


class TurnSocket(IceSocket):
    """A relayed address; what is sent to a peer takes a permission and a channel on the TURN server."""

    def __init__(self, owner: SocketOwner) -> None:
        super().__init__(owner, None)

    def send_opener(self, addr: Address, ttl: int, data: bytes = OPENER) -> None:
        """Make the TURN server let the peer's checks through: it permits whom we have sent to."""
        self.transport.sendto(OPENER, addr)

    async def close(self) -> None:
        """Give the allocation back; a server that does not answer lets it expire."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await super().close()

    def error_received(self, exc: Exception) -> None:
        """Say why a datagram could not be relayed: a peer address that the TURN server forbids, mostly."""
        logger.info("the TURN server relays nothing there: %s", exc)


async def allocate(owner: SocketOwner, server: TurnServer) -> TurnSocket | None:
    """Return a socket with a relayed candidate, None where the server gives none in time."""
    try:
        async with asyncio.timeout(ALLOCATION_TIMEOUT):
            transport, sock = await turn.create_turn_endpoint(
                lambda: TurnSocket(owner),
                server_addr=server.address,
                username=server.username,
                password=server.credential,
                transport=server.transport,
            )
    except (OSError, TimeoutError, stun.TransactionError) as error:
        logger.info("no relayed candidate from %s port %d: %s", *server.address, str(error) or type(error).__name__)
        return None
    sock.local_candidate = relayed_candidate(
        transport.get_extra_info("sockname"), transport.get_extra_info("related_address")
    )
    return sock
