"""Proof that a site is what its kind claims, by plain sockets and without any code of the product.

Nothing waits for silence: packets on one path keep their order, so a marker that arrives shows that what was sent
before it has been filtered out.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.netns.lab.topology import SIGNALING, SIGNALING_V6, Client, Lab, Site
from visavis_shared.nat import Filtering, Mapping

Address = tuple[str, int]
_PORTS: Final = (7001, 7002)
_MARKER: Final = b"marker"
_USUAL_HOP_LIMIT: Final = 64


@dataclass(frozen=True, slots=True)
class Findings:
    """What the probe saw of a client's site; everything but `udp` is None where UDP is blocked."""

    udp: bool
    mapping: Mapping | None = None
    filtering: Filtering | None = None
    port_preserved: bool | None = None
    public_address: str | None = None


class Reflectors:
    """Four sockets on the signaling host, two addresses by two ports, all of one family."""

    def __init__(self, lab: Lab, *, ipv6: bool) -> None:
        self.ipv6 = ipv6
        addresses = SIGNALING_V6 if ipv6 else SIGNALING
        self.sockets = {(ip, port): lab.signaling.udp_socket(ip, port) for ip in addresses for port in _PORTS}
        self.asked, self.other_port, self.other_address, self.other_both = self.sockets

    def socket_of(self, client: Client) -> socket.socket:
        """Return a fresh socket on `client` that can talk to the reflectors."""
        address = client.address6 if self.ipv6 else client.address
        assert address is not None, f"{client.site.name} has no IPv6"
        return client.namespace.udp_socket(address)

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


@contextlib.contextmanager
def reflectors(lab: Lab, *, ipv6: bool = False) -> Iterator[Reflectors]:
    """Open the reflectors for a while."""
    with contextlib.closing(Reflectors(lab, ipv6=ipv6)) as opened:
        yield opened


def claim(site: Site) -> Findings:
    """Return what `survey` must find of a site's clients, by the word of its kind."""
    behaviour = site.kind.behaviour
    if not behaviour.udp:
        return Findings(udp=False)
    return Findings(
        udp=True,
        mapping=behaviour.mapping,
        filtering=behaviour.filtering,
        port_preserved=site.kind.port_preserved,
        public_address=site.clients[0].public_address,
    )


def survey(client: Client, reflectors: Reflectors) -> Findings:
    """Probe the site of `client`."""
    with reflectors.socket_of(client) as sock:
        seen = {}
        for address, reflector in reflectors.sockets.items():
            source = _pass(sock, address, reflector)
            if source is None:
                return Findings(udp=False)
            seen[address] = source
        return Findings(
            udp=True,
            mapping=_mapping(seen),
            filtering=_filtering(client, reflectors),
            port_preserved=seen[reflectors.asked][1] == sock.getsockname()[1],
            public_address=seen[reflectors.asked][0],
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
    by_ip: dict[str, set[Address]] = {}
    for (ip, _), source in seen.items():
        by_ip.setdefault(ip, set()).add(source)
    return (
        Mapping.ADDRESS_DEPENDENT
        if all(len(each) == 1 for each in by_ip.values())
        else Mapping.ADDRESS_AND_PORT_DEPENDENT
    )


def _filtering(client: Client, reflectors: Reflectors) -> Filtering:
    """Contact one reflector from a fresh socket and see which of the others get in before it does."""
    sockets, asked = reflectors.sockets, reflectors.asked
    with reflectors.socket_of(client) as sock:
        source = _pass(sock, asked, sockets[asked])
        assert source is not None
        for other in (reflectors.other_port, reflectors.other_address, reflectors.other_both):
            sockets[other].sendto(b"stranger", source)
        sockets[asked].sendto(_MARKER, source)
        arrived = {address[:2] for _, address in _until_marker(sock)}
    if reflectors.other_both in arrived and reflectors.other_address in arrived:
        return Filtering.ENDPOINT_INDEPENDENT
    assert not {reflectors.other_both, reflectors.other_address} & arrived, "a filter of no known kind"
    return Filtering.ADDRESS_DEPENDENT if reflectors.other_port in arrived else Filtering.ADDRESS_AND_PORT_DEPENDENT


def _until_marker(sock: socket.socket) -> list[tuple[bytes, Any]]:
    """Return the datagrams, and their sources, that come before the marker does.

    Raises TimeoutError when it does not come.
    """
    arrived = []
    while (received := sock.recvfrom(64))[0] != _MARKER:
        arrived.append(received)
    return arrived


def is_poisoned(client: Client, outsider: Client, reflectors: Reflectors) -> bool:
    """Whether a packet of `outsider` (public) that comes before any to it changes the client's mapping."""
    asked = reflectors.asked
    with reflectors.socket_of(client) as inside, reflectors.socket_of(outsider) as outside:
        usual = _pass(inside, asked, reflectors.sockets[asked])
        assert usual is not None
        outside.sendto(b"early", usual)
        # the marker takes the same way into the client's router, so the early packet has been dealt with when it is in
        reflectors.sockets[asked].sendto(_MARKER, usual)
        _until_marker(inside)
        return _pass(inside, outside.getsockname(), outside) != usual


def arrives_at_router(client: Client, target: Site, hop_limit: int) -> bool:
    """Whether a datagram of `client` that may make `hop_limit` hops reaches the router of `target`, a public site."""
    with (
        client.namespace.udp_socket(client.address) as sock,
        target.router.udp_socket(target.public_address) as receiver,
    ):
        for hops, datagram in ((hop_limit, b"opener"), (_USUAL_HOP_LIMIT, _MARKER)):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            sock.sendto(datagram, receiver.getsockname())
        return any(datagram == b"opener" for datagram, _ in _until_marker(receiver))
