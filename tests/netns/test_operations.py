"""What happens to a running site: rebinding, new addresses, cut links, blocked UDP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.netns.lab import SIGNALING, Client, Lab, Site
from tests.netns.lab.conditions import until
from tests.netns.lab.probe import Reflectors, claim, external_endpoint, reach, reflectors, survey

TRANSLATING = [
    "full-cone",
    "address-restricted",
    "port-restricted",
    "symmetric",
    "linux",
    "linux-open",
    "cgnat",
    "symmetric-sequential",
    "symmetric-block",
    "port-block",
    "hairpin",
    "cgnat-hairpin",
]
PATIENCE = 10.0
"""Seconds for what takes a fraction of one on an idle machine."""


@pytest.fixture
def probes(lab: Lab) -> Iterator[Reflectors]:
    with reflectors(lab) as opened:
        yield opened


def _open(client: Client) -> socket.socket:
    return client.namespace.udp_socket(client.address)


@pytest.mark.parametrize("kind", TRANSLATING)
def test_a_rebound_mapping_has_another_port_and_the_old_one_leads_nowhere(
    kind: str, lab: Lab, probes: Reflectors
) -> None:
    site = lab.site(f"rebound-{kind}", kind)
    reflector = probes.sockets[probes.asked]
    with _open(site.clients[0]) as sock:
        ports = [external_endpoint(sock, probes)]
        for _ in range(3):
            lab.flush_nat(site)
            ports.append(external_endpoint(sock, probes))
            assert ports[-1] != ports[-2]
            reflector.sendto(b"to the old mapping", ports[-2])
            reflector.sendto(b"to the new mapping", ports[-1])
            assert sock.recv(64) == b"to the new mapping"
        if site.behaviour.mapping == "endpoint-independent":
            others = (probes.other_port, probes.other_address, probes.other_both)
            assert {reach(sock, other, probes.sockets[other]) for other in others} == {ports[-1]}
    assert survey(site.clients[0], probes) == claim(site)


@pytest.mark.parametrize("kind", ["full-cone", "hairpin"])
def test_a_rebound_cone_lets_strangers_in_by_the_new_port_only(kind: str, lab: Lab, probes: Reflectors) -> None:
    site = lab.site(f"cone-{kind}", kind)
    with _open(site.clients[0]) as sock:
        old = external_endpoint(sock, probes)
        lab.flush_nat(site)
        new = external_endpoint(sock, probes)
        stranger = probes.sockets[probes.other_both]
        stranger.sendto(b"old", old)
        stranger.sendto(b"new", new)
        assert sock.recv(64) == b"new"


@pytest.mark.parametrize("kind", ["linux", "port-block", "cgnat"])
def test_a_rebinding_leaves_tcp_alone(kind: str, lab: Lab) -> None:
    site = lab.site(f"tcp-{kind}", kind)
    with lab.signaling.entered():
        server = socket.create_server((SIGNALING[0], 0))
    with server, site.clients[0].namespace.entered():
        connection = socket.create_connection(server.getsockname(), timeout=PATIENCE)
        with connection, server.accept()[0] as accepted:
            accepted.settimeout(PATIENCE)
            lab.flush_nat(site)
            accepted.send(b"still there?")
            assert connection.recv(64) == b"still there?"
            connection.send(b"yes")
            assert accepted.recv(64) == b"yes"


@pytest.mark.parametrize("kind", ["public", "port-restricted", "symmetric-sequential"])
def test_a_client_with_another_address_is_reachable_by_it_and_no_longer_by_the_old(
    kind: str, lab: Lab, probes: Reflectors
) -> None:
    client = lab.site(f"client-{kind}", kind, ipv6=True).clients[0]
    for _ in range(2):
        before, before6 = client.address, client.address6
        lab.change_address(client)
        assert client.address != before
        assert client.address6 != before6
        with pytest.raises(OSError, match="Cannot assign requested address"):
            client.namespace.udp_socket(before)
        assert survey(client, probes) == claim(client.site)
        with reflectors(lab, ipv6=True) as six:
            assert survey(client, six).public_addresses == frozenset([str(client.address6)])


@pytest.mark.parametrize("kind", ["full-cone", "linux", "symmetric", "cgnat", "symmetric-open", "pooled"])
def test_a_site_with_another_public_address_has_forgotten_the_old_one(kind: str, lab: Lab, probes: Reflectors) -> None:
    site = lab.site(f"moved-{kind}", kind)
    reflector = probes.sockets[probes.asked]
    with _open(site.clients[0]) as sock:
        for _ in range(2):
            before = site.public_address
            old = external_endpoint(sock, probes)
            lab.change_address(site)
            assert site.public_address != before
            new = external_endpoint(sock, probes)
            assert new != old
            assert new[0] in site.public_addresses
            reflector.sendto(b"to the old mapping", old)
            reflector.sendto(b"to the new mapping", new)
            assert sock.recv(64) == b"to the new mapping"
    assert survey(site.clients[0], probes) == claim(site)


def test_a_site_without_a_nat_has_no_address_to_change(lab: Lab) -> None:
    with pytest.raises(ValueError, match="has no NAT"):
        lab.change_address(lab.site("natless", "firewall"))


@pytest.mark.parametrize("cables", [False, True], ids=["kernel", "cables"])
@pytest.mark.parametrize("where", ["host", "site"])
def test_what_is_sent_while_a_link_is_down_is_lost_and_mappings_survive(
    where: str, cables: bool, lab: Lab, probes: Reflectors
) -> None:
    site = lab.site(f"down-{where}-{cables}", "port-restricted", cables=cables)
    place: Site | Client = site if where == "site" else site.clients[0]
    reflector = probes.sockets[probes.asked]
    with _open(site.clients[0]) as sock:
        external = external_endpoint(sock, probes)
        reflector.sendto(b"addresses are resolved now", external)
        sock.recv(64)
        lab.link_down(place)
        passed = _passed(site, cables)
        reflector.sendto(b"into the void", external)
        if where == "host" and cables:
            until(lambda: _passed(site, cables) > passed)  # the site's own cable takes its time
        lab.link_up(place)
        _until_reachable(sock, probes)
        reflector.sendto(b"after the repair", external)
        assert sock.recv(64) == b"after the repair"
        assert external_endpoint(sock, probes) == external


def _passed(site: Site, cables: bool) -> int:
    return site.uplink.counts()["inward"]["delivered"] if cables else 0


def _until_reachable(sock: socket.socket, probes: Reflectors) -> None:
    """Send until something arrives: a carrier that has come back takes the kernel a moment to believe."""
    reflector = probes.sockets[probes.asked]
    reflector.settimeout(0.05)
    try:
        for _ in range(200):
            sock.sendto(b"anybody?", probes.asked)
            try:
                reflector.recv(64)
            except TimeoutError:
                continue
            return
        pytest.fail("the link did not come back")
    finally:
        reflector.settimeout(2)


@pytest.mark.parametrize("cables", [False, True], ids=["kernel", "cables"])
def test_a_host_sees_that_its_cable_is_unplugged(cables: bool, lab: Lab) -> None:
    client = lab.site(f"unplugged-{cables}", "public", cables=cables).clients[0]
    assert "LOWER_UP" in client.namespace.run("ip", "link", "show", "eth0")
    lab.link_down(client)
    lab.link_down(client)
    assert "LOWER_UP" not in client.namespace.run("ip", "link", "show", "eth0")
    lab.link_up(client)
    assert "LOWER_UP" in client.namespace.run("ip", "link", "show", "eth0")


@pytest.mark.parametrize("kind", ["public", "linux", "symmetric-open"])
def test_blocked_udp_is_blocked_while_tcp_passes_and_can_be_unblocked(kind: str, lab: Lab, probes: Reflectors) -> None:
    site = lab.site(f"blocked-{kind}", kind)
    with lab.signaling.entered():
        server = socket.create_server((SIGNALING[0], 0))
    with server, _open(site.clients[0]) as sock:
        external = external_endpoint(sock, probes)
        lab.block_udp(site)
        lab.block_udp(site)
        sock.sendto(b"out", probes.other_port)
        probes.sockets[probes.asked].sendto(b"in", external)
        with site.clients[0].namespace.entered():
            socket.create_connection(server.getsockname(), timeout=PATIENCE).close()
        lab.unblock_udp(site)
        sock.sendto(b"out again", probes.other_port)
        data, source = probes.sockets[probes.other_port].recvfrom(64)
        assert data == b"out again"
        probes.sockets[probes.other_port].sendto(b"in again", source)
        assert sock.recv(64) == b"in again"
