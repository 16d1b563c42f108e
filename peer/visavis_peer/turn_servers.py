"""The TURN servers that the signaling server gives credentials for, resolved, and asked for again in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

from visavis_peer.net.ice import TurnServer
from visavis_peer.net.names import resolve
from visavis_shared.endpoints import parse_host_port
from visavis_shared.messages import IceServer

TURN_PORT: Final = 3478
"""RFC 8656 section 3.1."""


class TurnServers:
    """What is known of TURN servers at the moment."""

    def __init__(self, use: Callable[[Sequence[TurnServer]], None], ask: Callable[[], None]) -> None:
        """`use` gets the servers whenever they change, `ask` makes the signaling server list them again."""
        self._use = use
        self._ask = ask
        self._task: asyncio.Task[None] | None = None

    def put(self, listed: Sequence[IceServer]) -> None:
        """Take what the signaling server has listed."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._run(listed)) if listed else None

    async def close(self) -> None:
        """Forget everything. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self, listed: Sequence[IceServer]) -> None:
        servers: list[TurnServer] = []
        for each in listed:
            for url in each.urls:
                servers += await _resolved(url, each)
        self._use(servers)
        await asyncio.sleep(min(each.ttl for each in listed) / 2)
        self._ask()


async def _resolved(url: str, server: IceServer) -> list[TurnServer]:
    """Return a TURN server for each address family of a `turn:` URL (RFC 7065); none for another kind of URL."""
    parts = urlsplit(url)
    transport: Literal["udp", "tcp"] = "tcp" if parse_qs(parts.query).get("transport") == ["tcp"] else "udp"
    try:
        host, port = parse_host_port(parts.path, TURN_PORT)
    except ValueError:
        return []
    if parts.scheme != "turn":
        return []
    addresses = await resolve([(host, port)])
    return [TurnServer(address, server.username, server.credential, transport) for address in addresses]
