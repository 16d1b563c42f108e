"""Who has made a request: the other end of its connection, or whom a proxy names there."""

from __future__ import annotations

import ipaddress
import logging
from typing import Final

from aiohttp import web

from visavis_server.core.access.buckets import counted_source
from visavis_server.core.access.forwarding import IpNetwork, client_address
from visavis_server.setup.logs import ShowAddress
from visavis_server.sockets.acceptor import Visitor
from visavis_server.sockets.guarded_server import GuardedServer
from visavis_server.sockets.websocket import observed_address
from visavis_shared.stun import Address

logger = logging.getLogger(__name__)

NEARLY_ALL: Final = 0.9
"""Part of all connections that comes from one address only where a proxy stands in front, or nobody else is there."""


class Origins:
    """Tells clients by their addresses, and the operator when these are the ones of a proxy."""

    def __init__(self, trusted_proxy: tuple[str, ...], show_address: ShowAddress) -> None:
        """`trusted_proxy` are networks; `show_address` makes addresses fit for the log."""
        self.proxies: tuple[IpNetwork, ...] = tuple(ipaddress.ip_network(text) for text in trusted_proxy)
        self.door: GuardedServer | None = None
        """What knows whose connection a request has come by; None on somebody else's listener."""
        self.show = show_address
        self._said: set[str] = set()
        """What the operator has been told once: of a closed set of subjects."""

    def visitor_of(self, request: web.BaseRequest) -> Visitor | None:
        """Return whose connection a request has come by, None where that is not known."""
        return None if self.door is None else self.door.visitor_of(request)

    def observed(self, request: web.BaseRequest) -> Address | None:
        """Return whom the door knows at the other end; somebody else's listener has no door."""
        visitor = self.visitor_of(request)
        if visitor is not None:
            return visitor.client
        return observed_address(request.transport) if request.transport is not None else None

    def client_address(self, request: web.BaseRequest) -> str:
        """Return who has made a request: whom a PROXY header names, or X-Forwarded-For of a trusted proxy."""
        visitor, observed = self.visitor_of(request), self.observed(request)
        if observed is None:
            return ""
        if visitor is not None and visitor.is_named:
            return observed[0]
        # aiohttp gives a plain dict, an empty one, to what it could not parse
        forwarded_for = request.headers.getall("X-Forwarded-For", []) if request.headers else []
        if forwarded_for and not self.proxies and not counted_source(observed[0]):
            self._warn_once(
                "X-Forwarded-For",
                "requests come from this host with X-Forwarded-For: behind a proxy set --trusted-proxy to its address, "
                "or nobody is limited by address",
            )
        return client_address(observed[0], forwarded_for, self.proxies)

    def on_too_many(self, share: float, address: str) -> None:
        """Say once that what is refused may be everybody, behind a proxy that was not named.

        `share` is the part of all connections that comes from this address, 0.0 to 1.0.
        """
        if share >= NEARLY_ALL:
            self._warn_once(
                "one address",
                "all connections come from one address, %s, and more are refused (--address-limit): if it is a proxy, "
                "set --trusted-proxy to it, and --proxy-protocol on where it does not speak HTTP",
                self.show(address),
            )

    def _warn_once(self, subject: str, text: str, *arguments: object) -> None:
        if subject not in self._said:
            self._said.add(subject)
            logger.warning(text, *arguments)
