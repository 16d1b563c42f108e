"""The TURN servers that the signaling server gives credentials for, resolved, and asked for again in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

from visavis_peer.host.names import resolve
from visavis_peer.ice import TurnServer, is_server_of
from visavis_shared.endpoints import parse_host_port
from visavis_shared.messages import IceServer
from visavis_shared.tasks import own

TURN_PORT: Final = 3478
"""RFC 8656 section 3.1."""
TTL_MAX: Final = 86_400
"""Seconds for which credentials are believed: they are asked for again sooner than the server thinks, never later."""


class TurnServers:
    """What is known of TURN servers at the moment."""

    def __init__(self, use: Callable[[asyncio.Task[list[TurnServer]] | None], None], ask: Callable[[], None]) -> None:
        """`use` gets the servers, or None, whenever they change; `ask` makes the signaling server list them again."""
        self._use = use
        self._ask = ask
        self._resolving: asyncio.Task[list[TurnServer]] | None = None
        self._renewal: asyncio.TimerHandle | None = None

    def put(self, listed: Sequence[IceServer], teller: str) -> None:
        """Take what the signaling server, which is at the address `teller`, has listed."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._resolving is not None:
            self._resolving.cancel()
        if listed:
            self._resolving = own(_resolved(listed, teller), bears=(OSError,))
            ttl = min(TTL_MAX, *(each.ttl for each in listed))
            self._renewal = asyncio.get_running_loop().call_later(ttl / 2, self._ask)
        self._use(self._resolving if listed else None)

    async def close(self) -> None:
        """Forget everything. Idempotent."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.wait([self._resolving])


async def _resolved(listed: Sequence[IceServer], teller: str) -> list[TurnServer]:
    """Return the servers that may be asked, by their addresses."""
    found = await asyncio.gather(*(_servers(url, each) for each in listed for url in each.urls))
    return [server for servers in found for server in servers if is_server_of(server.address, teller)]


async def _servers(url: str, server: IceServer) -> list[TurnServer]:
    """Return a TURN server for each address family of a `turn:` URL (RFC 7065); none for another kind of URL."""
    try:
        parts = urlsplit(url)
        transport: Literal["udp", "tcp"] = "tcp" if parse_qs(parts.query).get("transport") == ["tcp"] else "udp"
        host, port = parse_host_port(parts.path, TURN_PORT)
    except ValueError:
        return []
    if parts.scheme != "turn":
        return []
    addresses = await resolve([(host, port)])
    return [TurnServer(address, server.username, server.credential, transport) for address in addresses]
