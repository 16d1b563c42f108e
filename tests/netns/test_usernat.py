"""The NAT in user space in its router: every combination by the probe, and what else passes through it."""

from __future__ import annotations

import itertools
import select
import socket
from collections.abc import Iterator

import pytest

from tests.netns.lab import KINDS, SIGNALING, Client, Lab, NatSettings, Site, user_kind
from tests.netns.lab.probe import Reflectors, arrives_at_router, claim, external_endpoint, reflectors, survey
from visavis_shared.nat import Allocation, Filtering, Mapping

PATIENCE = 10.0
"""Seconds for what takes a fraction of one on an idle machine."""
IP_RECVERR = 11  # linux/in.h
MSG_ERRQUEUE = 0x2000


@pytest.fixture
def probes(lab: Lab) -> Iterator[Reflectors]:
    with reflectors(lab) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(lab: Lab) -> Site:
    """A site with a NAT as strict as they come, and two hosts."""
    return lab.site("home", "symmetric-sequential", clients=2)


@pytest.mark.parametrize(("mapping", "filtering"), list(itertools.product(Mapping, Filtering)))
def test_every_combination_of_mapping_and_filtering_is_what_it_says(
    mapping: Mapping, filtering: Filtering, lab: Lab, probes: Reflectors
) -> None:
    name = f"{list(Mapping).index(mapping)}{list(Filtering).index(filtering)}"
    site = lab.site(name, user_kind(name, NatSettings(mapping, filtering, Allocation.RANDOM)))
    assert survey(site.clients[0], probes) == claim(site)


@pytest.mark.parametrize("allocation", Allocation)
def test_every_allocation_is_what_it_says(allocation: Allocation, lab: Lab, probes: Reflectors) -> None:
    settings = NatSettings(Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT, allocation, step=3)
    site = lab.site(f"a-{allocation}", user_kind(allocation, settings))
    assert survey(site.clients[0], probes) == claim(site)


@pytest.mark.parametrize(("hop_limit", "arrives"), [(4, False), (5, True)])
def test_the_program_costs_a_packet_no_hop(hop_limit: int, arrives: bool, lab: Lab, home: Site) -> None:
    target = lab.site(f"target-{hop_limit}", "public")
    assert arrives_at_router(home.clients[0], target, hop_limit) is arrives


def test_a_closed_port_outside_is_reported_to_the_sender(home: Site) -> None:
    client = home.clients[0]
    with client.namespace.udp_socket(client.address) as sock:
        sock.connect((SIGNALING[0], 9))
        sock.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(64)


def test_the_router_on_which_a_packet_dies_is_reported_to_the_sender(home: Site) -> None:
    client = home.clients[0]
    with client.namespace.udp_socket(client.address) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
        sock.sendto(b"opener", (SIGNALING[0], 7001))
        poll = select.poll()
        poll.register(sock, select.POLLERR)
        assert poll.poll(PATIENCE * 1000)
        _, ancillary, _, destination = sock.recvmsg(64, 512, MSG_ERRQUEUE)
    assert destination == (SIGNALING[0], 7001)
    extended_error = ancillary[0][2]
    assert (extended_error[4], extended_error[5]) == (2, 11), "not an ICMP time exceeded"


def test_a_datagram_in_fragments_arrives_whole_both_ways(home: Site, probes: Reflectors) -> None:
    client, large = home.clients[0], bytes(range(250)) * 16
    with client.namespace.udp_socket(client.address) as sock:
        sock.sendto(large, probes.asked)
        reflector = probes.sockets[probes.asked]
        data, source = reflector.recvfrom(8192)
        assert data == large
        reflector.sendto(large, source)
        assert sock.recv(8192) == large


def test_a_megabyte_over_tcp_arrives_whole_both_ways(lab: Lab, home: Site) -> None:
    with lab.signaling.entered():
        server = socket.create_server((SIGNALING[0], 0))
    with server, home.clients[0].namespace.entered():
        connection = socket.create_connection(server.getsockname(), timeout=PATIENCE)
        with connection, server.accept()[0] as accepted:
            accepted.settimeout(PATIENCE)
            for sender, receiver in ((connection, accepted), (accepted, connection)):
                assert _transfer(sender, receiver, 1 << 20) == 1 << 20


def _transfer(sender: socket.socket, receiver: socket.socket, size: int) -> int:
    """Send `size` bytes in turns with reading them, and return how many came."""
    sent = received = 0
    while received < size:
        if sent < size:
            sent += sender.send(bytes(min(16_384, size - sent)))
        received += len(receiver.recv(65_536))
    return received


def test_two_hosts_share_a_nat_and_its_allocations_follow_each_other(home: Site, probes: Reflectors) -> None:
    ports = []
    for client in home.clients:
        with client.namespace.udp_socket(client.address, 5000) as sock:
            ports.append(external_endpoint(sock, probes)[1])
    assert ports[1] == ports[0] + 1


def test_a_pool_with_arbitrary_pooling_has_several_addresses_even_for_one_host(lab: Lab, probes: Reflectors) -> None:
    site = lab.site("pool", "pooled")
    assert len(site.public_addresses) == 4
    assert survey(site.clients[0], probes).public_addresses == frozenset(site.public_addresses)


def test_the_nat_counts_what_it_does(lab: Lab, probes: Reflectors) -> None:
    site = lab.site("counting", "symmetric-open")
    with site.clients[0].namespace.udp_socket(site.clients[0].address) as sock:
        source = external_endpoint(sock, probes)
        probes.sockets[probes.other_both].sendto(b"in", source)
        assert sock.recv(64) == b"in"
    counts = site.counts()
    assert (counts["outbound"], counts["inbound"]) == (1, 1)
    with pytest.raises(ValueError, match="does not count"):
        lab.site("silent", "linux").counts()


@pytest.mark.parametrize(("kind", "meets"), [("cgnat-hairpin", True), ("cgnat", False), ("cgnat-block", False)])
def test_two_homes_behind_one_carrier_meet_only_by_its_hairpinning(
    kind: str, meets: bool, lab: Lab, probes: Reflectors
) -> None:
    first = lab.site(f"first-{kind}", kind)
    second = lab.site(f"second-{kind}", "port-restricted", behind=first)
    assert first.public_address == second.public_address
    assert survey(second.clients[0], probes) == claim(second)
    with _open(first.clients[0]) as one, _open(second.clients[0]) as two:
        external = [external_endpoint(sock, probes) for sock in (one, two)]
        one.sendto(b"opener", external[1])
        two.sendto(b"hello neighbour", external[0])
        external_endpoint(two, probes)  # by now the carrier has dealt with the one before
        probes.sockets[probes.asked].sendto(b"marker", external[0])
        received = one.recvfrom(64)
    assert received == ((b"hello neighbour", external[1]) if meets else (b"marker", probes.asked))


def test_a_site_cannot_be_behind_one_without_a_carrier(lab: Lab, home: Site) -> None:
    with pytest.raises(ValueError, match="cannot be behind"):
        lab.site("lost", "port-restricted", behind=home)
    carried = lab.site("carried", "cgnat")
    with pytest.raises(ValueError, match="cannot be behind"):
        lab.site("routed", "public", behind=carried)
    with pytest.raises(ValueError, match="has no IPv6"):
        lab.site("six", "port-restricted", behind=carried, ipv6=True)


def test_two_ipv6_firewalls_let_in_only_whom_their_own_host_has_sent_to(lab: Lab) -> None:
    left, right = (lab.site(f"v6-{side}", "firewall", ipv6=True).clients[0] for side in ("left", "right"))
    assert left.address6 is not None
    assert right.address6 is not None
    with (
        left.namespace.udp_socket(left.address6) as one,
        right.namespace.udp_socket(right.address6) as two,
    ):
        one.sendto(b"too early", two.getsockname())
        two.sendto(b"through the hole", one.getsockname())
        assert one.recv(64) == b"through the hole"
        one.sendto(b"now open", two.getsockname())
        assert two.recv(64) == b"now open"


def test_every_kind_with_a_program_says_so_in_its_claim() -> None:
    for kind in KINDS.values():
        if kind.engine is not None:
            assert (kind.claim.mapping, kind.claim.filtering) == (kind.engine.mapping, kind.engine.filtering)


def _open(client: Client) -> socket.socket:
    return client.namespace.udp_socket(client.address)
