"""Proof that a site is what its kind claims, by plain sockets and without any code of the product.

Nothing waits for silence: packets on one path keep their order, so a marker that arrives shows that what was sent
before it has been filtered out.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.netns.lab.site import Client, Site
from tests.netns.lab.topology import SIGNALING, SIGNALING_V6, Lab
from visavis_shared.nat import Allocation, Filtering, Mapping

Address = tuple[str, int]
_PORTS: Final = (7001, 7002)
_MARKER: Final = b"marker"
_USUAL_HOP_LIMIT: Final = 64
_STEP_MAX: Final = 16
_BLOCK_MAX: Final = 4096
"""Ports: more than any block of the lab's, and 64 random ports of 60,000 never lie within so many."""


_PROBES: Final = itertools.count()
_SOURCE_PORTS: Final = itertools.cycle(range(12_000, 32_000))
"""Every socket has a port that no mapping remembers; of 64 that the kernel chooses, two are the same one time in 14."""
_ALLOCATION_SOCKETS: Final = 64
"""Fresh sockets to learn the allocation from, each with as many mappings as it can have. One of four addresses of a
pool is missed by so many with a chance of 4 in 10 to the 8."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the probe saw of a client's site; everything but `udp` is None where UDP is blocked."""

    udp: bool
    mapping: Mapping | None = None
    filtering: Filtering | None = None
    allocation: Allocation | None = None
    step: int | None = None
    """From one allocation to the next, where they are sequential and nobody else is behind the NAT."""
    hairpinning: bool | None = None
    """None without a NAT, and where its mapping is dependent: nobody inside can know which external port to send to."""
    public_addresses: frozenset[str] | None = None


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
        return client.namespace.udp_socket(address, next(_SOURCE_PORTS))

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
    behaviour = site.behaviour
    if not behaviour.udp:
        return Findings(udp=False)
    mapping, translates = behaviour.mapping, site.kind.translates
    engine = site.outermost.kind.engine
    sequential = engine is not None and behaviour.allocation is Allocation.SEQUENTIAL
    return Findings(
        udp=True,
        mapping=mapping,
        filtering=behaviour.filtering,
        allocation=behaviour.allocation,
        step=engine.step if engine and sequential and not engine.foreign_max else None,
        hairpinning=behaviour.hairpinning if translates and mapping is Mapping.ENDPOINT_INDEPENDENT else None,
        public_addresses=frozenset(site.clients[0].public_addresses),
    )


def survey(client: Client, reflectors: Reflectors) -> Findings:
    """Probe the site of `client`."""
    with reflectors.socket_of(client) as sock:
        seen = {}
        for address, reflector in reflectors.sockets.items():
            source = reach(sock, address, reflector)
            if source is None:
                return Findings(udp=False)
            seen[address] = source
    mapping = _mapping(seen)
    flows = [flow for _ in range(_ALLOCATION_SOCKETS) for flow in _new_mappings(client, mapping, reflectors)]
    allocation, step = _allocation(flows)
    translated = seen[reflectors.asked][0] not in (client.address, client.address6)
    return Findings(
        udp=True,
        mapping=mapping,
        filtering=_filtering(client, reflectors),
        allocation=allocation,
        step=step,
        hairpinning=_hairpins(client, reflectors) if translated and mapping is Mapping.ENDPOINT_INDEPENDENT else None,
        public_addresses=frozenset(external[0] for _, external in flows),
    )


def _new_mappings(client: Client, mapping: Mapping, reflectors: Reflectors) -> list[tuple[int, Address]]:
    """Open the mappings that a fresh socket can have and return its port with the external endpoint of each."""
    new = {
        Mapping.ENDPOINT_INDEPENDENT: [reflectors.asked],
        Mapping.ADDRESS_DEPENDENT: [reflectors.asked, reflectors.other_address],
        Mapping.ADDRESS_AND_PORT_DEPENDENT: list(reflectors.sockets),
    }[mapping]
    with reflectors.socket_of(client) as sock:
        sources = [reach(sock, address, reflectors.sockets[address]) for address in new]
        return [(sock.getsockname()[1], source) for source in sources if source is not None]


def _allocation(flows: list[tuple[int, Address]]) -> tuple[Allocation, int | None]:
    """Return how ports are allocated, and the step if it is always the same.

    Preserving is what keeps the port of most sockets' first mappings: now and then one is taken by an older mapping.
    A step of up to `_STEP_MAX`, always in one direction, is sequential; ports that keep within a block are the
    subscriber's.
    """
    ports = [external[1] for _, external in flows]
    first: dict[int, int] = {}
    for internal, external in flows:
        first.setdefault(internal, external[1])
    if sum(internal == external for internal, external in first.items()) > len(first) / 2:
        return Allocation.PRESERVING, None
    steps = [later - earlier for earlier, later in itertools.pairwise(ports)]
    # a range has an end: once, the next port is at its other one
    usual = [step for step in steps if abs(step) <= _STEP_MAX]
    if len(usual) >= len(steps) - 1 and len({step > 0 for step in usual}) == 1:
        return Allocation.SEQUENTIAL, usual[0] if len(set(usual)) == 1 else None
    return Allocation.BLOCK if max(ports) - min(ports) < _BLOCK_MAX else Allocation.RANDOM, None


def _hairpins(client: Client, reflectors: Reflectors) -> bool:
    """Whether two sockets inside reach each other by their external endpoints, both having sent."""
    asked = reflectors.asked
    with reflectors.socket_of(client) as one, reflectors.socket_of(client) as two:
        sources = [external_endpoint(sock, reflectors) for sock in (one, two)]
        one.sendto(b"opener", sources[1])
        two.sendto(b"hairpin", sources[0])
        external_endpoint(two, reflectors)  # by now the NAT has dealt with the one before
        reflectors.sockets[asked].sendto(_MARKER, sources[0])
        return (b"hairpin", sources[1]) in _until_marker(one)


def external_endpoint(sock: socket.socket, reflectors: Reflectors) -> Address:
    """Return where what `sock` sends to the first reflector comes from.

    Raises AssertionError when it does not arrive.
    """
    source = reach(sock, reflectors.asked, reflectors.sockets[reflectors.asked])
    assert source is not None, "nothing arrived"
    return source


def reach(sock: socket.socket, destination: Address, receiver: socket.socket) -> Address | None:
    """Send from `sock` to `destination` and return the source that `receiver` there sees, or None."""
    probe = b"probe %d" % next(_PROBES)
    sock.sendto(probe, destination)
    try:
        # what an earlier probe has given up waiting for may come first
        while (received := receiver.recvfrom(64))[0] != probe:
            pass
    except TimeoutError:
        return None
    source: Address = received[1][:2]
    return source


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
        source = reach(sock, asked, sockets[asked])
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
        usual = reach(inside, asked, reflectors.sockets[asked])
        assert usual is not None
        outside.sendto(b"early", usual)
        # the marker takes the same way into the client's router, so the early packet has been dealt with when it is in
        reflectors.sockets[asked].sendto(_MARKER, usual)
        _until_marker(inside)
        return reach(inside, outside.getsockname(), outside) != usual


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
