"""Every kind of site is what it claims to be, by the lab's own probe."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.netns.lab import KINDS, Lab, Site
from tests.netns.lab.namespaces import run
from tests.netns.lab.probe import Reflectors, is_poisoned, opener_arrives, reflectors, survey
from tests.netns.lab.topology import SIGNALING


@pytest.fixture(scope="module")
def sites(lab: Lab) -> dict[str, Site]:
    return {kind: lab.site(kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def probes(lab: Lab) -> Iterator[Reflectors]:
    with reflectors(lab) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_behaves_as_its_kind_claims(kind: str, sites: dict[str, Site], probes: Reflectors) -> None:
    site = sites[kind]
    site.flush()
    findings = survey(site.clients[0], probes)
    claim = site.kind.behaviour
    assert findings.udp is claim.udp
    if claim.udp:
        assert (findings.mapping, findings.filtering) == (claim.mapping, claim.filtering)
        assert findings.port_preserved is site.kind.port_preserved
        expected = site.public_address if site.kind.translates else site.clients[0].address
        assert findings.public_address == expected


@pytest.mark.parametrize("kind", ["port-restricted", "linux", "linux-open"])
def test_only_a_router_without_an_input_drop_is_poisoned_by_an_early_packet(
    kind: str, sites: dict[str, Site], probes: Reflectors
) -> None:
    site = sites[kind]
    site.flush()
    assert is_poisoned(site.clients[0], sites["public"].clients[0], probes) is site.kind.poisonable


def test_an_opener_dies_between_two_sites_and_a_usual_datagram_does_not(
    sites: dict[str, Site], probes: Reflectors
) -> None:
    sender, target = sites["port-restricted"].clients[0], sites["public"].clients[0]
    assert not opener_arrives(sender, target, 4, probes)
    assert opener_arrives(sender, target, 64, probes)


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_reaches_the_signaling_host_from_every_kind(kind: str, lab: Lab, sites: dict[str, Site]) -> None:
    with lab.signaling.entered():
        server = socket.create_server((SIGNALING[0], 0))
    with server:
        client = sites[kind].clients[0]
        with client.namespace.entered():
            connection = socket.create_connection(server.getsockname(), timeout=5)
        connection.close()


def test_two_clients_of_one_site_meet_on_their_lan(lab: Lab) -> None:
    first, second = lab.site("shared", "port-restricted", clients=2).clients
    with first.namespace.udp_socket(first.address) as one, second.namespace.udp_socket(second.address) as two:
        one.sendto(b"hello", two.getsockname())
        assert two.recvfrom(64) == (b"hello", one.getsockname())


def test_a_closed_lab_leaves_no_namespace() -> None:
    with Lab() as other:
        other.core.popen(["sleep", "1000"])
        # the module's lab has the same owner: only what this one adds may be counted
        name = other.site("gone", "symmetric").clients[0].namespace.name
        assert name in run("ip", "netns", "list")
    assert name not in run("ip", "netns", "list")
