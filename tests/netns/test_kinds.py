"""Every kind of site is what it claims to be, by the lab's own probe."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import KINDS, SIGNALING, SIGNALING_V6, Lab, Site
from tests.netns.lab.conditions import until
from tests.netns.lab.namespaces import names, remove_leftovers
from tests.netns.lab.probe import Findings, Reflectors, arrives_at_router, claim, is_poisoned, reflectors, survey
from visavis_shared.nat import Allocation, Filtering, Mapping

OWNER = """
import signal, sys, time
from tests.netns.lab import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
with Lab() as lab:
    client = lab.site("a", "cgnat").clients[0]
    print(client.namespace.popen(["sleep", "1000"]).pid, flush=True)
    time.sleep(1000)
"""
"""A program that has a lab with a process in it and waits to be ended."""
PATIENCE = 10.0
"""Seconds for what takes a fraction of one on an idle machine."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sites(lab: Lab) -> dict[str, Site]:
    return {kind: lab.site(kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def probes(lab: Lab) -> Iterator[Reflectors]:
    with reflectors(lab) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_behaves_as_its_kind_claims(kind: str, sites: dict[str, Site], probes: Reflectors) -> None:
    assert survey(sites[kind].clients[0], probes) == claim(sites[kind])


@pytest.mark.parametrize("kind", ["full-cone", "address-restricted", "port-restricted", "linux", "linux-open", "cgnat"])
def test_only_a_router_without_an_input_drop_is_poisoned_by_an_early_packet(
    kind: str, sites: dict[str, Site], probes: Reflectors
) -> None:
    site = sites[kind]
    assert is_poisoned(site.clients[0], sites["public"].clients[0], probes) is site.kind.poisonable


@pytest.mark.parametrize("kind", ["full-cone", "address-restricted", "linux-open"])
def test_a_flushed_site_has_forgotten_whom_it_lets_in(kind: str, lab: Lab, probes: Reflectors) -> None:
    site = lab.site(f"forgetful-{kind}", kind)
    with site.clients[0].namespace.udp_socket(site.clients[0].address) as sock:
        sock.sendto(b"hello", probes.asked)
        source = probes.sockets[probes.asked].recvfrom(64)[1]
        site.flush()
        # let in before, and kept out now: the answer that comes first is to what was sent after the flush
        probes.sockets[probes.asked].sendto(b"to the old mapping", source)
        sock.sendto(b"again", probes.other_port)
        reflector = probes.sockets[probes.other_port]
        reflector.sendto(b"to the new mapping", reflector.recvfrom(64)[1])
        assert sock.recv(64) == b"to the new mapping"


@pytest.mark.parametrize(("hop_limit", "arrives"), [(4, False), (5, True), (64, True)])
def test_an_opener_of_four_hops_dies_before_the_peers_router(
    hop_limit: int, arrives: bool, sites: dict[str, Site]
) -> None:
    assert arrives_at_router(sites["port-restricted"].clients[0], sites["public"], hop_limit) is arrives


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_reaches_the_signaling_host_from_every_kind(kind: str, lab: Lab, sites: dict[str, Site]) -> None:
    with lab.signaling.entered():
        server = socket.create_server((SIGNALING[0], 0))
    with server:
        client = sites[kind].clients[0]
        with client.namespace.entered():
            connection = socket.create_connection(server.getsockname(), timeout=PATIENCE)
        with connection, server.accept()[0] as accepted:
            assert accepted.getpeername()[0] in client.public_addresses


def test_two_clients_of_one_site_meet_on_their_lan_and_share_its_public_address(lab: Lab, probes: Reflectors) -> None:
    first, second = lab.site("shared", "port-restricted", clients=2).clients
    with first.namespace.udp_socket(first.address) as one, second.namespace.udp_socket(second.address) as two:
        one.sendto(b"hello", two.getsockname())
        assert two.recvfrom(64) == (b"hello", one.getsockname())
    assert {survey(each, probes).public_addresses for each in (first, second)} == {frozenset([first.public_address])}


def test_two_sites_may_have_the_same_lan(lab: Lab, probes: Reflectors) -> None:
    left, right = (lab.site(f"alike-{side}", "port-restricted", lan=250) for side in ("left", "right"))
    assert left.clients[0].address == right.clients[0].address == "192.168.250.1"
    assert survey(left.clients[0], probes) == claim(left)
    assert survey(right.clients[0], probes) == claim(right)


@pytest.mark.parametrize("kind", ["firewall", "symmetric", "cgnat"])
def test_ipv6_is_routed_behind_a_stateful_firewall_whatever_the_nat(kind: str, lab: Lab) -> None:
    client = lab.site(f"six-{kind}", kind, ipv6=True).clients[0]
    with reflectors(lab, ipv6=True) as probes:
        assert survey(client, probes) == Findings(
            udp=True,
            mapping=Mapping.ENDPOINT_INDEPENDENT,
            filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT,
            allocation=Allocation.PRESERVING,
            public_addresses=frozenset([str(client.address6)]),
        )


def test_a_site_that_blocks_udp_blocks_it_over_ipv6_too(lab: Lab) -> None:
    client = lab.site("six-blocked", "udp-blocked", ipv6=True).clients[0]
    with reflectors(lab, ipv6=True) as probes:
        assert survey(client, probes) == Findings(udp=False)
    with lab.signaling.entered():
        server = socket.create_server((SIGNALING_V6[0], 0), family=socket.AF_INET6)
    with server, client.namespace.entered():
        socket.create_connection(server.getsockname()[:2], timeout=PATIENCE).close()


def test_a_site_without_ipv6_has_not_even_a_link_local_address(sites: dict[str, Site]) -> None:
    assert "inet6" not in sites["linux"].clients[0].namespace.run("ip", "address")


def test_a_closed_lab_leaves_no_process_and_no_namespace(lab: Lab) -> None:
    before = set(names())
    with Lab() as other:
        process = other.site("gone", "symmetric").clients[0].namespace.popen(["sleep", "1000"])
        mine = [name for name in names() if name.startswith(other.core.name.removesuffix("core"))]
        assert len(mine) == 5
    assert process.poll() == -signal.SIGKILL
    assert not set(mine) & set(names())
    assert lab.core.name in before & set(names())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_its_owner_takes_the_lab_away(lab: Lab, number: signal.Signals) -> None:
    with _owner() as (owner, inner):
        assert len(_namespaces_of(owner)) == 6
        owner.send_signal(number)
        owner.wait(PATIENCE)
        assert not _namespaces_of(owner)
        assert not _runs(inner)


def test_what_a_killed_owner_leaves_is_collected_by_the_next_lab(lab: Lab) -> None:
    with _owner() as (owner, inner):
        owner.kill()
        owner.wait(PATIENCE)
        assert _runs(inner)
        remove_leftovers()
        # another lab that starts at this moment may have been quicker, and be still about it
        until(lambda: not _namespaces_of(owner) and not _runs(inner))


@contextlib.contextmanager
def _owner() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run OWNER, and tell the process and the one in its lab."""
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        try:
            assert owner.stdout is not None
            yield owner, int(owner.stdout.readline())
        finally:
            owner.kill()


def _namespaces_of(owner: subprocess.Popen[str]) -> list[str]:
    return [name for name in names() if name.startswith(f"vv{owner.pid}-")]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
