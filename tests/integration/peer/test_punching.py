"""punching: plans carried out on real sockets. Loopback has no NAT, so the reports make both sides look for ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.support.conditions import until
from tests.support.ice_sides import Side, sides
from tests.support.server_running import running_server
from visavis_peer.core.nat import strategy
from visavis_peer.ice import IceSession
from visavis_peer.nat.survey import survey_nat
from visavis_peer.peers.prober import Puncher
from visavis_server.app import SignalingServer
from visavis_shared.nat import Allocation, Filtering, Mapping, NatReport

SEEN: Final = "127.0.0.1"
CONE: Final = NatReport(
    udp=True, mapping=Mapping.ENDPOINT_INDEPENDENT, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT, probing=True
)
RANDOM: Final = NatReport(
    udp=True,
    mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT,
    filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT,
    allocation=Allocation.RANDOM,
    probing=True,
)
EPHEMERAL: Final = (32768, 60999)
"""Linux' range of ports for sockets that ask for any."""
BLOCK: Final = RANDOM.model_copy(update={"allocation": Allocation.BLOCK, "port_block": EPHEMERAL})
SEQUENTIAL: Final = RANDOM.model_copy(
    update={"allocation": Allocation.SEQUENTIAL, "allocation_step": 1, "foreign_rate": 0.0, "last_port": 40000}
)


@dataclass
class Owner:
    """A session as far as its puncher knows it."""

    told: NatReport
    session_id: str = "s"
    other: Puncher | None = None
    probing: int = 0
    reasons: list[str] = field(default_factory=list)
    reports: list[NatReport] = field(default_factory=list)

    def tell(self, report: NatReport) -> None:
        self.told = report
        self.reports.append(report)
        if self.other is not None:
            self.other.on_change(report)

    def on_probing(self) -> None:
        self.probing += 1

    def on_no_way(self, reason: str) -> None:
        self.reasons.append(reason)


@dataclass
class Half:
    """One side: its ICE session, which knows the peer's candidates, and its puncher."""

    ice: IceSession
    owner: Owner
    puncher: Puncher

    @property
    def found(self) -> list[str]:
        return [pair.method for pair in self.ice.agent.pairs if pair.method is not None]


@asynccontextmanager
async def punching(*reports: NatReport, stun: Any = (), seen: str | None = SEEN) -> AsyncIterator[tuple[Half, Half]]:
    """Two sides that have told each other these reports; ICE checks nothing."""
    async with sides() as pair:
        halves = []
        for index, (side, report) in enumerate(zip(pair, reports, strict=True)):
            other: Side = pair[1 - index]
            for candidate in other.ice.candidates:
                side.ice.add_candidate(candidate)
            if stun:
                side.ice.gather(stun)
            owner = Owner(report)
            pwd = other.ice.credentials.pwd
            turn = asyncio.Semaphore(1)
            puncher = Puncher(owner, side.ice, pwd, controlling=index == 0, failures=0, seen=seen, turn=turn)
            halves.append(Half(side.ice, owner, puncher))
        left, right = halves
        left.owner.other, right.owner.other = right.puncher, left.puncher
        if stun:
            await until(lambda: all(half.ice.answers for half in halves))
        left.puncher.start(reports[1])
        right.puncher.start(reports[0])
        try:
            yield left, right
        finally:
            for half in halves:
                await half.puncher.close()


def stun_of(server: SignalingServer) -> tuple[str, int]:
    assert server.stun_ports is not None
    return "127.0.0.1", server.stun_ports[0]


@pytest.mark.parametrize("reports", [(BLOCK, CONE), (CONE, BLOCK)], ids=["opening", "probing"])
async def test_a_hole_that_birthday_probing_finds_becomes_a_pair_of_both_sessions(
    reports: tuple[NatReport, ...],
) -> None:
    async with punching(*reports) as halves:
        await until(lambda: all(half.found for half in halves))
        assert {method for half in halves for method in half.found} == {"birthday"}
        assert [half.owner.probing for half in halves] == [1, 1]
        opener = halves[reports.index(BLOCK)]
        await until(lambda: not opener.puncher._sockets)
        assert len(opener.ice.sockets) == 2, "the one that was hit stays, the others are closed"
        assert opener.puncher.outcome is None


async def test_nothing_is_sent_to_an_address_that_the_server_has_not_seen() -> None:
    async with punching(BLOCK, CONE, seen="192.0.2.1") as halves:
        for half in halves:
            puncher = half.puncher
            await until(lambda: puncher.outcome)  # noqa: B023 -- used before the next one
            assert puncher.outcome is not None
            assert "has not seen the peer use 127.0.0.1" in puncher.outcome
            assert half.found == []


async def test_what_is_hopeless_is_said_at_once_and_a_better_report_begins_anew() -> None:
    async with punching(RANDOM, RANDOM) as (left, right):
        await until(lambda: left.owner.reasons and right.owner.reasons)
        assert "random port" in left.owner.reasons[0]
        assert left.puncher.outcome == left.owner.reasons[0]
        right.owner.tell(BLOCK)
        left.owner.tell(CONE)
        right.puncher.on_change()
        left.puncher.on_change()
        await until(lambda: left.found and right.found)


async def test_who_takes_no_part_is_left_alone() -> None:
    async with punching(BLOCK.model_copy(update={"probing": False}), CONE) as halves:
        await until(lambda: all(half.owner.reasons for half in halves))
        assert not any(half.owner.probing for half in halves)


async def test_a_sequential_side_is_met_by_prediction() -> None:
    """Openers arrive here, as they do not through a NAT, and are answered like probes."""
    async with running_server(stun=True) as server, punching(SEQUENTIAL, CONE, stun=[stun_of(server)]) as halves:
        await until(lambda: all(half.found for half in halves))
        assert {method for half in halves for method in half.found} == {"prediction"}


async def test_two_sequential_sides_meet_by_fresh_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy, "MEETING_DURATION", 0.1)
    async with running_server(stun=True) as server:
        stun = [stun_of(server)]
        async with punching(SEQUENTIAL, SEQUENTIAL, stun=stun) as halves:
            await until(lambda: all(half.found or (half.owner.told.attempt or 0) >= 3 for half in halves))
            await until(lambda: all(half.puncher._task is not None and half.puncher._task.done() for half in halves))
            for half in halves:
                assert half.found or "have found nothing" in (half.puncher.outcome or "")
                assert half.puncher._sockets == []


async def test_without_a_nat_nothing_is_sampled() -> None:
    async with running_server(stun=True) as server, sides() as (left, _):
        left.ice.gather([stun_of(server)])
        await until(lambda: left.ice.answers)
        survey = await survey_nat(left.ice, probing=True)
        assert (survey.samples, survey.hairpin, survey.probing) == ((), None, True)
