"""Proof that a site is what its kind claims, by plain sockets and without any code of the product.

Nothing waits for silence: packets on one path keep their order, so a marker that arrives shows that what was sent
before it has been filtered out.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.netns.lab.topology import SIGNALING, Client, Lab
from visavis_shared.nat import Filtering, Mapping

Address = tuple[str, int]
_PORTS: Final = (7001, 7002)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the probe saw of a client's site; everything but `udp` is None where UDP is blocked."""

    udp: bool
    mapping: Mapping | None = None
    filtering: Filtering | None = None
    port_preserved: bool | None = None
    public_address: str | None = None


class Reflectors:
    """Four sockets on the signaling host: two addresses by two ports."""

    def __init__(self, lab: Lab) -> None:
        self.sockets = {(ip, port): lab.signaling.udp_socket(ip, port) for ip in SIGNALING for port in _PORTS}

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


@contextlib.contextmanager
def reflectors(lab: Lab) -> Iterator[Reflectors]:
    """Open the reflectors for a while."""
    opened = Reflectors(lab)
    try:
        yield opened
    finally:
        opened.close()


def survey(client: Client, reflectors: Reflectors) -> Findings:
    """Probe the site of `client`."""
    with contextlib.closing(client.namespace.udp_socket(client.address)) as sock:
        seen = {}
        for address, reflector in reflectors.sockets.items():
            source = _pass(sock, address, reflector)
            if source is None:
                return Findings(udp=False)
            seen[address] = source
        first = seen[(SIGNALING[0], _PORTS[0])]
        return Findings(
            udp=True,
            mapping=_mapping(seen),
            filtering=_filtering(client, reflectors),
            port_preserved=first[1] == sock.getsockname()[1],
            public_address=first[0],
        )


def _pass(sock: socket.socket, destination: Address, receiver: socket.socket) -> Address | None:
    """Send from `sock` to `destination` and return the source that `receiver` there sees, or None."""
    sock.sendto(b"probe", destination)
    try:
        data, source = receiver.recvfrom(64)
    except TimeoutError:
        return None
    assert data == b"probe"
    return source[0], source[1]


def _mapping(seen: dict[Address, Address]) -> Mapping:
    if len(set(seen.values())) == 1:
        return Mapping.ENDPOINT_INDEPENDENT
    by_ip = [{seen[(ip, port)] for port in _PORTS} for ip in SIGNALING]
    return Mapping.ADDRESS_DEPENDENT if all(len(each) == 1 for each in by_ip) else Mapping.ADDRESS_AND_PORT_DEPENDENT


def _filtering(client: Client, reflectors: Reflectors) -> Filtering:
    """Contact one reflector from a fresh socket and see which of the others get in before it does."""
    asked = (SIGNALING[0], _PORTS[0])
    with contextlib.closing(client.namespace.udp_socket(client.address)) as sock:
        source = _pass(sock, asked, reflectors.sockets[asked])
        assert source is not None
        reflectors.sockets[(SIGNALING[1], _PORTS[1])].sendto(b"other address", source)
        reflectors.sockets[(SIGNALING[0], _PORTS[1])].sendto(b"other port", source)
        reflectors.sockets[asked].sendto(b"marker", source)
        arrived = set()
        while (data := sock.recv(64)) != b"marker":
            arrived.add(data)
    if b"other address" in arrived:
        return Filtering.ENDPOINT_INDEPENDENT
    return Filtering.ADDRESS_DEPENDENT if b"other port" in arrived else Filtering.ADDRESS_AND_PORT_DEPENDENT


def is_poisoned(client: Client, outsider: Client, reflectors: Reflectors) -> bool:
    """Whether a packet of `outsider` (public) that comes before any to it changes the client's mapping."""
    asked = (SIGNALING[0], _PORTS[0])
    with (
        contextlib.closing(client.namespace.udp_socket(client.address)) as inside,
        contextlib.closing(outsider.namespace.udp_socket(outsider.address)) as outside,
    ):
        usual = _pass(inside, asked, reflectors.sockets[asked])
        assert usual is not None
        outside.sendto(b"early", usual)
        # the marker takes the same way into the client's router, so the early packet has been dealt with when it is in
        reflectors.sockets[asked].sendto(b"marker", usual)
        while inside.recv(64) != b"marker":
            pass
        return _pass(inside, outside.getsockname(), outside) != usual


def opener_arrives(client: Client, target: Client, ttl: int, reflectors: Reflectors) -> bool:
    """Whether a datagram with `ttl` hops from `client` reaches `target` (public)."""
    with (
        contextlib.closing(client.namespace.udp_socket(client.address)) as sock,
        contextlib.closing(target.namespace.udp_socket(target.address)) as receiver,
    ):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sock.sendto(b"opener", receiver.getsockname())
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        sock.sendto(b"marker", receiver.getsockname())
        arrived = set()
        while (data := receiver.recv(64)) != b"marker":
            arrived.add(data)
    return b"opener" in arrived
