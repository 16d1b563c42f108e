"""A transfer runs while the network misbehaves: no byte is lost or doubled, and it goes on soon after."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.netns.lab import Client, Impairment, Lab, Site
from tests.netns.programs import URL, Program, Record, start_server
from tests.support.requirements import require
from visavis_shared.invite import encode_secret

STALL: Final = 10.0
"""Seconds after the network is back within which a transfer must go on: the promise."""
NOTICED: Final = 30.0
"""Seconds within which a peer that was killed must be noticed: the promise."""
FALLBACK: Final = 3.0
"""Seconds within which a link whose direct path has died must be back by the relay: the promise."""
PATIENCE: Final = 20.0
SECRET: Final = encode_secret(bytes(range(16)))


class Transfer:
    """Two machines behind NATs that exchange numbered bytes."""

    def __init__(self, lab: Lab, name: str, kinds: tuple[str, str], *more: str) -> None:
        self.sites: tuple[Site, Site] = (
            lab.site(f"{name}-l", kinds[0], cables=True),
            lab.site(f"{name}-r", kinds[1]),
        )
        invite = f"{URL}/r/{name}#{SECRET}"
        self.programs = [
            Program(
                site.clients[0].namespace.popen(
                    [sys.executable, "-m", "tests.netns.transfer", invite, side, *more],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            for site, side in zip(self.sites, ("left", "right"), strict=True)
        ]
        for program in self.programs:
            program.wait_for("received", PATIENCE, lambda record: record["size"] > 1_000_000)

    @property
    def clients(self) -> tuple[Client, Client]:
        return self.sites[0].clients[0], self.sites[1].clients[0]

    def settle(self, path: str) -> None:
        """Wait until both sides say that they use `path`."""
        for program in self.programs:
            program.wait_for("path", PATIENCE, lambda record: record["path"] == path, otherwise="link_up")

    def goes_on(self, within: float) -> float:
        """Wait until both directions carry bytes again; return the seconds that took."""
        began = time.time()
        for program in self.programs:
            self._next(program, began, within)
        return time.time() - began

    def _next(self, program: Program, began: float, within: float) -> Record:
        def news(record: Record) -> bool:
            if record["ts"] <= began:
                return False
            before = [each["size"] for each in program.records if each["event"] == "received" and each["ts"] <= began]
            return bool(record["size"] > max(before, default=0))

        return program.wait_for("received", within, news)

    def keeps_going(self, seconds: float, longest_gap: float) -> None:
        """Watch for some time: no direction stands still for longer than `longest_gap` seconds."""
        began = time.time()
        time.sleep(seconds)  # how long the network misbehaves is what the test is about
        self.goes_on(STALL)
        for program in self.programs:
            gaps = [
                record["gap"] for record in program.records if record["event"] == "received" and record["ts"] > began
            ]
            assert max(gaps) < longest_gap, program.transcript()

    def check(self) -> None:
        """See that nothing went wrong on either side, and that the link was never another one."""
        for program in self.programs:
            assert program.process.poll() is None, program.transcript()
            assert program.first("wrong") is None, program.transcript()
            assert program.first("link_down") is None, program.transcript()
            assert len([record for record in program.records if record["event"] == "started"]) == 1

    def kill(self) -> None:
        for program in self.programs:
            program.kill()


class World:
    """The lab with a server that can be killed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.server = start_server(lab)

    def restart_server(self, pause: float) -> None:
        self.server.kill()
        self.server.wait()
        time.sleep(pause)  # the outage is what the test is about
        self.server = start_server(self.lab)


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    require("netns")
    return World(lab)


@pytest.fixture
def transfer(world: World, request: pytest.FixtureRequest) -> Iterator[Transfer]:
    kinds, *more = getattr(request, "param", (("port-restricted", "port-restricted"),))
    made = Transfer(world.lab, f"pair-{len(world.lab.sites) // 2}", kinds, *more)
    try:
        yield made
    finally:
        made.kill()


RELAYED = pytest.mark.parametrize("transfer", [(("port-restricted", "symmetric"), "--relay", "only")], indirect=True)


@pytest.mark.timeout(120)
def test_the_nat_rebinds(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.flush_nat(transfer.sites[0])
    transfer.goes_on(STALL)
    transfer.check()


@pytest.mark.timeout(120)
def test_the_address_changes(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.change_address(transfer.clients[0])
    transfer.goes_on(STALL)
    transfer.check()


@pytest.mark.timeout(180)
def test_the_interface_is_down_for_a_while(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.link_down(transfer.clients[0])
    time.sleep(20)  # the outage is what the test is about
    world.lab.link_up(transfer.clients[0])
    transfer.goes_on(STALL)
    transfer.check()


@pytest.mark.timeout(120)
def test_datagrams_are_lost_and_overtake_each_other(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.impair(transfer.sites[0], Impairment(delay=0.01, loss=0.05, reordering=0.05))
    transfer.keeps_going(15, STALL)
    transfer.check()


@pytest.mark.timeout(120)
def test_round_trips_take_800_ms(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.impair(transfer.sites[0], Impairment(delay=0.4))
    transfer.keeps_going(20, STALL)
    transfer.check()


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_round_trips_take_800_ms_for_five_minutes(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.impair(transfer.sites[0], Impairment(delay=0.4, loss=0.005))
    transfer.keeps_going(300, STALL)
    transfer.check()


@pytest.mark.timeout(120)
def test_the_server_is_killed_and_comes_back(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.restart_server(2.0)
    assert transfer.goes_on(2.0) < 2.0
    for program in transfer.programs:
        program.wait_for("joined", PATIENCE, lambda record: record["ts"] > time.time() - PATIENCE)
    transfer.check()


@RELAYED
@pytest.mark.timeout(120)
def test_the_relay_is_killed_and_comes_back(world: World, transfer: Transfer) -> None:
    world.restart_server(1.0)
    transfer.goes_on(STALL)
    transfer.check()


@pytest.mark.timeout(120)
def test_the_direct_path_dies_and_the_relay_takes_over(world: World, transfer: Transfer) -> None:
    transfer.settle("direct")
    world.lab.block_udp(transfer.sites[0])
    began = time.time()
    assert transfer.goes_on(FALLBACK) < FALLBACK
    for program in transfer.programs:
        program.wait_for("path", PATIENCE, lambda record: record["ts"] > began and record["path"] == "relay")
    world.lab.unblock_udp(transfer.sites[0])
    for program in transfer.programs:
        program.wait_for("path", 2 * PATIENCE, lambda record: record["ts"] > began and record["path"] == "direct")
    transfer.check()


@pytest.mark.timeout(120)
def test_a_path_that_has_become_too_narrow_is_left_for_the_relay(transfer: Transfer) -> None:
    """A link's datagrams carry DF, and a router of the path says what it cannot forward."""
    transfer.settle("direct")
    began = time.time()
    transfer.sites[0].router.configure("link set wan mtu 1100")
    transfer.goes_on(STALL)
    program = transfer.programs[0]
    record = program.wait_for("path", PATIENCE, lambda each: each["ts"] > began and each["path"] == "relay")
    assert "datagrams of 978 bytes at most" in record["reason"]
    transfer.goes_on(STALL)
    transfer.check()


@pytest.mark.timeout(120)
def test_a_path_that_silently_carries_less_than_before_stays_in_use(world: World, transfer: Transfer) -> None:
    """A router drops what is too large for it and does not say so (RFC 8899 section 4.3), and there is no relay."""
    transfer.settle("direct")
    world.server.kill()
    world.server.wait()
    began = time.time()
    router = transfer.sites[0].router
    router.nft(
        "add table inet quiet\n"
        "add chain inet quiet out { type filter hook output priority filter; }\n"
        "add rule inet quiet out icmp type destination-unreachable counter drop\n"
    )
    router.configure("link set wan mtu 1400")
    try:
        transfer.keeps_going(10.0, STALL)
        assert "packets 0 " not in router.run("nft", "list", "table", "inet", "quiet")
        for program in transfer.programs:
            assert not [each for each in program.records if each["event"] == "path" and each["ts"] > began]
        transfer.check()
    finally:
        world.restart_server(0.0)


@pytest.mark.timeout(120)
def test_a_killed_agent_is_noticed(transfer: Transfer) -> None:
    transfer.settle("direct")
    killed, other = transfer.programs
    began = time.time()
    killed.kill()
    down = other.wait_for("link_down", NOTICED)
    assert down["ts"] - began < NOTICED
