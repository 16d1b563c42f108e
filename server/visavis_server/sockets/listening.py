"""The sockets that the server listens on, and why it cannot."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from typing import Final

from visavis_server.core.errors import ServerError
from visavis_server.core.signaling.tickets import KEY_SIZE
from visavis_server.core.stun import StunService
from visavis_server.setup.settings import Settings, alternate_port
from visavis_server.sockets.stun import StunResponder, open_sockets
from visavis_shared.endpoints import is_numeric
from visavis_shared.messages import StunServer

BACKLOG: Final = 4096
"""Connections that the kernel may keep waiting: as many clients may come back at once after a restart."""


class CannotListen(ServerError):
    """An address or port cannot be used."""


async def resolve(host: str) -> str:
    """Return `host` as an address.

    Raises CannotListen.
    """
    if is_numeric(host):
        return host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"cannot resolve host {host!r}: {error.strerror}") from error
    return str(found[0][4][0])


def has_ipv6() -> bool:
    """Whether this machine can listen by IPv6: some kernels come without."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def listen(address: str, settings: Settings) -> socket.socket:
    """Return the listener of the TCP port.

    Raises CannotListen.
    """
    version6 = ":" in address
    try:
        return socket.create_server(
            (address, settings.port),
            family=socket.AF_INET6 if version6 else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=address == "::" and socket.has_dualstack_ipv6(),
            reuse_port=settings.reuse_port,
        )
    except OSError as error:
        where = f"[{address}]:{settings.port}" if version6 else f"{address}:{settings.port}"
        raise CannotListen(f"cannot listen on http://{where}: {reason(error)} (see --host, --port)") from error


def open_stun(address: str, settings: Settings, is_known: Callable[[str], bool]) -> StunResponder:
    """Answer STUN from now on; `is_known` tells whether somebody is connected from an address.

    Raises CannotListen.
    """
    hosts = list(settings.stun_address) or [address]
    if hosts == ["::"] and socket.has_dualstack_ipv6():
        hosts.append("0.0.0.0")  # noqa: S104 -- the operator asked for every address
    alternate = alternate_port(settings)
    try:
        sockets, ports = open_sockets(hosts, settings.stun_port, alternate, shared=settings.reuse_port)
    except OSError as error:
        where = f"{', '.join(hosts)} udp/{settings.stun_port} and udp/{alternate}"
        raise CannotListen(f"cannot answer STUN on {where}: {reason(error)} (see --stun-port, --stun off)") from error
    configured = tuple(host for host in hosts if not ipaddress.ip_address(host).is_unspecified)
    service = StunService(ports, configured, secrets.token_bytes(KEY_SIZE))
    return StunResponder(service, sockets, is_known)


def offered_stun(stun: StunResponder, settings: Settings) -> tuple[StunServer, ...]:
    """Return the STUN servers that clients are told; without a host where they reach it by the one they came by."""
    offered: list[StunServer] = []
    for ip, port in stun.addresses:
        alone = stun.service.other_address(ip) is None
        host = ip if settings.stun_address and not ipaddress.ip_address(ip).is_unspecified else None
        server = StunServer(host=settings.public_host or host if alone else ip, port=port)
        if server not in offered:
            offered.append(server)
    return tuple(offered)


def reason(error: OSError) -> str:
    """Return the system's words; `socket` appends the address to them."""
    return os.strerror(error.errno) if error.errno else str(error)
