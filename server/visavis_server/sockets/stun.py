"""The STUN responder's sockets: one for each address and port, read whenever the event loop says so."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from visavis_server.core.stun import Answer, StunLimiter, StunService
from visavis_shared.stun import Address

logger = logging.getLogger(__name__)

DATAGRAM_SIZE: Final = 548
"""Bytes read of a datagram: what RFC 8489 section 6.1 lets a client send without knowing the path's MTU. A longer one
is cut, so its length is wrong and it is dropped."""
BATCH: Final = 64
"""Datagrams handled in one turn of the loop, so that a flood does not hold up the WebSockets."""
PICK_ATTEMPTS: Final = 20
"""Tries to find ports that are free on every address, when the operating system may choose."""

_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # named in socket from Python 3.12 on
_IN_PKTINFO: Final = struct.Struct("=I4s4s")
"""struct in_pktinfo: interface, the local address, the header's destination (ip(7))."""
_IN6_PKTINFO: Final = struct.Struct("=16sI")
"""struct in6_pktinfo (RFC 3542 section 6.1)."""
_PKTINFO_WORKS: Final = sys.platform == "linux"
_CONTROL_SIZE: Final = 64
"""Bytes of control data: one of the two structures above and its header."""


class StunResponder:
    """A running STUN service."""

    def __init__(
        self, service: StunService, sockets: list[socket.socket], is_known: Callable[[str], bool] = lambda _: False
    ) -> None:
        """`is_known` tells whether an address has a connection to this server."""
        self.service = service
        self._loop = asyncio.get_running_loop()
        self.answered = 0
        """Datagrams answered so far."""
        self.ignored = 0
        """Datagrams that were no requests, or beyond the rate of their source, or of all strangers together."""
        self._limiter = StunLimiter(is_known)
        self._sockets: dict[Address, socket.socket] = {}
        for each in sockets:
            host, port = each.getsockname()[:2]
            self._sockets[host, port] = each
            self._loop.add_reader(each, self._on_readable, each, (host, port))

    @property
    def refused_count(self) -> int:
        """Requests that were beyond the rate of their source, or of all strangers together."""
        return self._limiter.refused_count

    @property
    def addresses(self) -> list[Address]:
        """The addresses and ports of the sockets, main port first; a wildcard stands as bound."""
        return sorted(self._sockets, key=lambda address: self.service.ports.index(address[1]))

    def close(self) -> None:
        """Close every socket. Idempotent."""
        for each in self._sockets.values():
            self._loop.remove_reader(each)
            each.close()
        self._sockets.clear()

    def _on_readable(self, sock: socket.socket, bound: Address) -> None:
        for _ in range(BATCH):
            try:
                data, control, _, source = sock.recvmsg(DATAGRAM_SIZE, _CONTROL_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # an ICMP error of an answer sent earlier
                logger.debug("STUN socket %s: %s", bound, error)
                continue
            local_ip = _destination(control) if _is_wildcard(bound[0]) else bound[0]
            client = (str(source[0]).partition("%")[0], source[1])
            answer = self.service.answer(data, client, (local_ip, bound[1]), self._limiter, self._loop.time())
            if answer is None:
                self.ignored += 1
            else:
                self.answered += 1
                self._send(answer, source if answer.port is None else (source[0], answer.port, *source[2:]))

    def _send(self, answer: Answer, destination: tuple[Any, ...]) -> None:
        """Send from the address and port that the answer wants; drop it where the network does not take it."""
        ip, port = answer.origin
        sock = self._sockets.get((ip, port))
        control: list[tuple[int, int, bytes]] = []
        if sock is None:
            sock = self._sockets["::" if len(destination) > 2 else "0.0.0.0", port]  # noqa: S104 -- a key, not a bind
            control = _source(ip)
        try:
            sock.sendmsg([answer.data], control, 0, destination)
        except OSError as error:
            logger.debug("STUN answer not sent: %s", error)


def open_sockets(
    hosts: list[str], port: int, alternate_port: int, *, shared: bool = False
) -> tuple[list[socket.socket], tuple[int, int]]:
    """Bind the two ports on every host address and return the sockets with the ports; 0 lets the system choose.

    `shared` lets another process of the same user bind them, too. Raises OSError, with nothing left open.
    """
    attempts = PICK_ATTEMPTS if 0 in (port, alternate_port) else 1
    while True:
        opened: list[socket.socket] = []
        try:
            first, second = port, alternate_port
            for host in hosts:
                opened.append(_bind(host, first, shared=shared))
                first = opened[-1].getsockname()[1]
                opened.append(_bind(host, second, shared=shared))
                second = opened[-1].getsockname()[1]
        except OSError:
            for each in opened:
                each.close()
            attempts -= 1
            if not attempts:
                raise
        else:
            return opened, (first, second)


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if _PKTINFO_WORKS and _is_wildcard(host):
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 -- a comparison


def _destination(control: list[tuple[int, int, bytes]]) -> str:
    """Return the local address that a datagram was sent to, empty where the system does not say."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _IN_PKTINFO.size:
            return str(ipaddress.IPv4Address(_IN_PKTINFO.unpack_from(data)[2]))
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= _IN6_PKTINFO.size:
            return str(ipaddress.IPv6Address(_IN6_PKTINFO.unpack_from(data)[0]))
    return ""


def _source(ip: str) -> list[tuple[int, int, bytes]]:
    """Return the control data that makes a wildcard socket send from `ip`, none where `ip` is unknown."""
    if not ip:
        return []
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address):
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(address.packed, 0))]
    return [(socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO.pack(0, address.packed, b"\0\0\0\0"))]
