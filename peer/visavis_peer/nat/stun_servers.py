"""STUN servers by name, and whose word it is that they are to be asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from visavis_peer.host.names import resolve
from visavis_peer.ice import is_server_of
from visavis_peer.settings import STUN_PORT
from visavis_peer.signaling.connection import SignalingClient
from visavis_shared.endpoints import parse_host_port
from visavis_shared.stun import Address


@dataclass(frozen=True, slots=True)
class StunServers:
    """Hosts and ports, as they were named."""

    hosts: tuple[tuple[str, int], ...]
    teller: str | None = None
    """Address of the signaling server that has named them, empty where that is not known; None for the user."""

    @classmethod
    def chosen(cls, texts: Iterable[str]) -> Self:
        """Return those that the user has named as `host[:port]`.

        Raises ValueError.
        """
        return cls(tuple(parse_host_port(text, STUN_PORT) for text in texts))

    @classmethod
    def offered(cls, client: SignalingClient) -> Self:
        """Return those that a connected server offers."""
        assert client.welcome is not None
        here = client.server_address or urlsplit(client.url).hostname or ""
        named = ((server.host or here, server.port) for server in client.welcome.stun)
        return cls(tuple((host, port) for host, port in named if host), client.server_address)

    async def addresses(self) -> list[Address]:
        """Return the addresses that may be asked; names that do not resolve are left out."""
        found = await resolve(self.hosts)
        return [each for each in found if self.teller is None or is_server_of(each, self.teller)]
