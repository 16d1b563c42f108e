"""What an agent says of its NAT, on every kind of the lab."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.netns.lab import KINDS, SIGNALING, Client, Lab, NatSettings, user_kind
from tests.netns.programs import start, start_server
from tests.support.requirements import require
from visavis_peer.nat.lifetime import measure_silences
from visavis_shared.nat import Allocation, Filtering, Mapping, NatReport

CONCURRENT = 6
"""Kinds at a time: a run mostly waits for what does not come."""
LIFETIME = 6.0
"""Seconds of a silent mapping, where it is measured."""
TRIALS = 20
"""Runs of each kind in the campaign; all must be right."""
EXACT_ALLOCATION = frozenset({Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT})
"""Mapping behaviour that makes an agent take enough samples to tell a block from the whole range."""


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Client]]:
    require("netns")
    with Lab() as lab:
        start_server(lab)
        yield {name: lab.site(name, name).clients[0] for name in KINDS}


def report(client: Client) -> NatReport:
    """Run `visavis discover` on a host and return what it says of the NAT."""
    program = start(client, "discover", "--stun", f"{SIGNALING[0]}:3478")
    program.finish(20)
    record = program.first("endpoint")
    assert record is not None, program.transcript()
    return NatReport.model_validate(record["nat"], strict=False)


def check(name: str, found: NatReport) -> None:
    kind = KINDS[name]
    claim = kind.behaviour
    assert found.udp is claim.udp
    if not claim.udp:
        return
    assert found.mapping is claim.mapping, found
    assert found.filtering is claim.filtering, found
    assert found.nat is kind.translates
    if claim.mapping is Mapping.ENDPOINT_INDEPENDENT:
        assert found.poisonable is kind.poisonable, found
    if not kind.translates:
        return
    assert found.hairpinning is claim.hairpinning or claim.mapping is not Mapping.ENDPOINT_INDEPENDENT, found
    if claim.mapping in EXACT_ALLOCATION or claim.allocation is Allocation.PRESERVING:
        assert found.allocation is claim.allocation, found
    if found.allocation is Allocation.SEQUENTIAL and kind.engine is not None:
        assert found.allocation_step == kind.engine.step


@pytest.mark.parametrize("name", KINDS)
def test_a_report_is_right(name: str, sites: dict[str, Client]) -> None:
    check(name, report(sites[name]))


@pytest.mark.parametrize("name", ["port-restricted", "symmetric", "user"])
def test_a_lifetime_is_measured(name: str) -> None:
    """The kernel's NATs and the program's, each told to forget a silent mapping after six seconds."""
    require("netns")
    behaviour = NatSettings(
        Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT, Allocation.SEQUENTIAL, lifetime=LIFETIME
    )
    with Lab() as lab:
        start_server(lab)
        site = lab.site("short", user_kind("short-lived", behaviour) if name == "user" else name)
        if name != "user":
            for timeout in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
                site.router.run("sysctl", "-qw", f"net.netfilter.{timeout}={LIFETIME:.0f}")
        client = site.clients[0]
        with client.namespace.entered():
            silences = asyncio.run(measure_silences(client.address, (SIGNALING[0], 3478), (2.0, 4.0, 9.0, 12.0)))
    assert silences == [(2.0, True), (4.0, True), (9.0, False), (12.0, False)]


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_report_is_right_every_time(sites: dict[str, Client]) -> None:
    def play(name: str) -> None:
        for _ in range(TRIALS):
            check(name, report(sites[name]))

    with ThreadPoolExecutor(CONCURRENT) as pool:
        list(pool.map(play, KINDS))
