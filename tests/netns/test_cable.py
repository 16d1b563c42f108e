"""Impaired links: what a cable does to what it carries, while it carries."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.engine.impairment import Impairment
from tests.netns.lab import PERFECT, Lab, NotImpairable, Site
from tests.netns.lab.conditions import until
from tests.netns.lab.namespaces import names, remove_leftovers, run
from tests.netns.lab.probe import Reflectors, claim, external_endpoint, reflectors, survey

DELAY = 0.05
COUNT = 400
BURST = 100
"""Datagrams sent before any is read: a socket's usual receive buffer holds 300 small ones."""
ROOT = Path(__file__).parents[2]
OWNER = """
import time
from tests.netns.lab import Lab
with Lab() as lab:
    lab.site("a", "symmetric-open", cables=True)
    print("ready", flush=True)
    time.sleep(1000)
"""
"""A program that has a lab with a NAT and two cables in it and waits to be killed."""


@pytest.fixture
def probes(lab: Lab) -> Iterator[Reflectors]:
    with reflectors(lab) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Site:
    return lab.site("cabled", "symmetric-open", cables=True, ipv6=True)


@pytest.fixture
def site(lab: Lab, shared: Site) -> Iterator[Site]:
    yield shared
    for place in (shared, shared.clients[0]):
        lab.impair(place, PERFECT)


def _open(site: Site) -> socket.socket:
    return site.clients[0].namespace.udp_socket(site.clients[0].address)


@pytest.mark.parametrize("kind", ["public", "linux", "symmetric-sequential", "cgnat-hairpin"])
def test_a_site_on_cables_behaves_as_its_kind_claims(kind: str, lab: Lab, probes: Reflectors) -> None:
    site = lab.site(f"cabled-{kind}", kind, cables=True)
    assert survey(site.clients[0], probes) == claim(site)


def test_delays_of_both_links_and_directions_add_up(lab: Lab, site: Site, probes: Reflectors) -> None:
    with _open(site) as sock:
        external_endpoint(sock, probes)  # addresses are resolved now
        for place in (site, site.clients[0]):
            lab.impair(place, Impairment(delay=DELAY))
        started_at = time.monotonic()
        source = external_endpoint(sock, probes)
        assert time.monotonic() - started_at >= 2 * DELAY
        lab.impair(site.clients[0], PERFECT)
        lab.impair(site, PERFECT, "outward")
        started_at = time.monotonic()
        probes.sockets[probes.asked].sendto(b"back", source)
        assert sock.recv(64) == b"back"
        assert time.monotonic() - started_at >= DELAY


def test_loss_is_in_the_direction_that_was_asked_for(lab: Lab, site: Site, probes: Reflectors) -> None:
    with _open(site) as sock:
        source = external_endpoint(sock, probes)
        lab.impair(site, Impairment(loss=1.0), "inward")
        probes.sockets[probes.asked].sendto(b"lost", source)
        assert external_endpoint(sock, probes) == source
        lab.impair(site, PERFECT)
        probes.sockets[probes.asked].sendto(b"found", source)
        assert sock.recv(64) == b"found"
    assert site.uplink.counts()["inward"]["lost"] >= 1


def test_a_frame_held_back_is_overtaken_by_the_next(lab: Lab, site: Site, probes: Reflectors) -> None:
    reflector = probes.sockets[probes.asked]
    with _open(site) as sock:
        external_endpoint(sock, probes)
        lab.impair(site.clients[0], Impairment(reordering=1.0, held_back=0.3), "outward")
        sock.sendto(b"first", probes.asked)
        lab.impair(site.clients[0], PERFECT)
        sock.sendto(b"second", probes.asked)
        assert [reflector.recv(64), reflector.recv(64)] == [b"second", b"first"]


def test_a_slow_link_drops_what_its_queue_has_no_room_for(lab: Lab, site: Site, probes: Reflectors) -> None:
    reflector = probes.sockets[probes.asked]
    before = site.uplink.counts()["outward"]["overflowed"]
    with _open(site) as sock:
        external_endpoint(sock, probes)
        lab.impair(site, Impairment(rate=100_000, queue_size=20_000), "outward")
        for number in range(COUNT):
            sock.sendto(number.to_bytes(2, "big") + bytes(998), probes.asked)
        arrived = [int.from_bytes(reflector.recv(2048)[:2], "big") for _ in range(18)]
    assert arrived[:18] == list(range(18))
    assert site.uplink.counts()["outward"]["overflowed"] - before >= COUNT // 2


def test_a_perfect_cable_loses_nothing(lab: Lab, site: Site, probes: Reflectors) -> None:
    lost_before = [_lost(counts) for counts in site.uplink.counts().values()]
    reflector = probes.sockets[probes.other_both]
    with _open(site) as sock:
        external_endpoint(sock, probes)  # what waits for an address to be resolved may be overtaken
        for first in range(0, COUNT, BURST):
            sent = list(range(first, first + BURST))
            for number in sent:
                sock.sendto(number.to_bytes(2, "big"), probes.other_both)
            assert [int.from_bytes(reflector.recv(64), "big") for _ in sent] == sent
    assert [_lost(counts) for counts in site.uplink.counts().values()] == lost_before


def _lost(counts: dict[str, int]) -> int:
    return counts["lost"] + counts["overflowed"] + counts["cut"]


def test_ipv6_passes_a_cable_too(lab: Lab, site: Site) -> None:
    with reflectors(lab, ipv6=True) as six:
        assert survey(site.clients[0], six).public_addresses == frozenset([str(site.clients[0].address6)])


def test_an_impossible_impairment_is_refused_and_changes_nothing(lab: Lab, site: Site, probes: Reflectors) -> None:
    with pytest.raises(ValueError, match="loss is a probability"):
        lab.impair(site, Impairment(loss=2))
    with pytest.raises(NotImpairable, match="cables=True"):
        lab.impair(lab.site("plain", "public"), Impairment(loss=0.5))


def test_a_closed_lab_leaves_no_cable_and_no_nat_running() -> None:
    with Lab() as other:
        other.site("gone", "symmetric-open", cables=True)
        mine = [name for name in names() if name.startswith(other.core.name.removesuffix("core"))]
        engines = [pid for name in mine for pid in _pids(name)]
        assert len(engines) == 3
    assert not [pid for pid in engines if Path(f"/proc/{pid}").exists()]


def test_the_engines_of_a_killed_owner_end_by_themselves() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        mine = [name for name in names() if name.startswith(f"vv{owner.pid}-")]
        assert sum(len(_pids(name)) for name in mine) == 3
        owner.kill()
    until(lambda: not any(_pids(name) for name in mine))
    remove_leftovers()


def _pids(namespace: str) -> list[int]:
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]
