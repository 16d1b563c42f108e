"""Where the relay is that a signaling server offers, and whether its word is enough to go there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from visavis_peer.ice import is_server_of
from visavis_peer.signaling.urls import relay_url
from visavis_shared.endpoints import native, parse_ip
from visavis_shared.errors import VisavisError
from visavis_shared.ids import printable
from visavis_shared.stun import Address

_PORTS: Final = {"ws": 80, "wss": 443}
_AMBIGUOUS: Final = frozenset("\\@#")
"""Characters that readers of URLs take in different ways, or that have no place in one of a server."""


class RelayNotUsed(VisavisError):
    """The relay that a server offers is not asked; the text says why."""


@dataclass(frozen=True, slots=True)
class RelayServer:
    """The WebSocket URL of a relay."""

    url: str
    teller: str | None = None
    """Address of the signaling server that has named it, empty where that is not known; None for one beside it."""

    def may_be_at(self, address: Address) -> bool:
        """Whether this agent connects to an address to which the name in `url` leads."""
        return self.teller is None or _may_be(address, self.teller)


def offered_relay(websocket: str, named: str | None, teller: str, *, proxied: bool) -> RelayServer:
    """Return the relay that the signaling server at `websocket` offers: beside that, where it has `named` none.

    `teller` is the server's address, empty where only a proxy knows it. A login in `websocket` goes to nobody but the
    proxy in front of that server. Raises RelayNotUsed: for what is no URL of a WebSocket, without TLS where the server
    has it, and for a place where it may send nobody (_may_be). Through a proxy, which looks names up itself, only the
    server's own name will do.
    """
    if named is None:
        return RelayServer(relay_url(websocket))
    there, here = _parsed(named), urlsplit(websocket)
    shown = printable(named)
    if there is None:
        raise RelayNotUsed(f"the server's relay is not used: {shown} is no URL of a WebSocket")
    if here.scheme == "wss" and there.scheme != "wss":
        raise RelayNotUsed(f"the server's relay is not used: {shown} is without TLS, which the server has")
    same_host = there.hostname == here.hostname
    if proxied and not same_host:
        raise RelayNotUsed(f"the server's relay is not used: {shown} is on another host, which a proxy would look up")
    port = there.port or _PORTS[there.scheme]
    if not proxied and _is_numeric(there.hostname or "") and not _may_be((there.hostname or "", port), teller):
        raise RelayNotUsed(f"the server's relay is not used: {shown} is on this machine or beside it, the server not")
    same_origin = same_host and (there.scheme, port) == (here.scheme, here.port or _PORTS[here.scheme])
    netloc = here.netloc if same_origin else there.netloc
    return RelayServer(urlunsplit((there.scheme, netloc, there.path, there.query, "")), None if proxied else teller)


def _parsed(named: str) -> SplitResult | None:
    if not named.isascii() or not named.isprintable() or " " in named or set(named) & _AMBIGUOUS:
        return None
    try:
        parts = urlsplit(named)
        valid = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if valid else None


def _is_numeric(host: str) -> bool:
    """Whether a host is an address; where a name leads shows when it is looked up."""
    try:
        parse_ip(host)
    except ValueError:
        return False
    return True


def _may_be(address: Address, teller: str) -> bool:
    """Whether a server at `teller` may send this agent there: where it may name STUN and TURN servers, and less.

    For devices of a home network act on what an HTTP request asks for: only a server in a private network, known to be
    there, names a relay in one.
    """
    ip = native(parse_ip(address[0].partition("%")[0]))
    if not is_server_of((str(ip), address[1]), teller):
        return False
    return ip.is_global or (bool(teller) and not native(parse_ip(teller)).is_global)
