"""core.ice: two agents over paths that lose, delay, reorder and repeat, behind pairs of NATs, as the oracle says."""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import cast

import pytest

from tests.support.ice_agents import Network, Node, carried, introduce, tell
from tests.support.nat_world import ModelNat
from visavis_peer.core.ice import CandidateFound, Lost, Resumed, Suspended, Valid
from visavis_peer.core.ice.consent import EXPIRY, REVIVAL
from visavis_peer.core.nat.destinations import SESSION_COUNT
from visavis_shared.nat import Filtering, Mapping, NatBehaviour
from visavis_shared.nat.oracle import plain_ice_links

BEHAVIOURS = [NatBehaviour(mapping, filtering) for mapping in Mapping for filtering in Filtering]
PAIRS = list(itertools.combinations_with_replacement(BEHAVIOURS, 2))
RUNS = 45
"""Runs of each of the 45 pairs: 2,025, and 11,250 with --campaign."""
LEFT, RIGHT = "12.0.0.1", "13.0.0.1"


def behind_nats(seed: int, left: NatBehaviour, right: NatBehaviour, **options: object) -> tuple[Network, Node, Node]:
    """Two agents that know each other's credentials, each with a socket behind its NAT."""
    rng = random.Random(seed)
    network = Network(rng, **options)  # type: ignore[arg-type]
    nodes = [
        network.add(name, [(f"10.{number}.0.2", 5000)], ModelNat(host, behaviour, rng))
        for number, (name, host, behaviour) in enumerate((("left", LEFT, left), ("right", RIGHT, right)))
    ]
    introduce(*nodes, controlling=rng.choice(nodes))
    return network, nodes[0], nodes[1]


def in_public(seed: int, *, sockets: int = 1, **options: object) -> tuple[Network, Node, Node]:
    """Two agents without NATs."""
    network = Network(random.Random(seed), **options)  # type: ignore[arg-type]
    left = network.add("left", [(f"192.0.2.{number + 1}", 5000) for number in range(sockets)])
    right = network.add("right", [(f"198.51.100.{number + 1}", 6000) for number in range(sockets)])
    introduce(left, right)
    return network, left, right


def begin(network: Network, node: Node) -> None:
    network.perform(node, node.agent.open_holes(network.now))
    network.perform(node, node.agent.start(network.now))


def trickle(network: Network, node: Node, other: Node, rng: random.Random) -> None:
    """Tell each candidate of the other at a moment of its own, before or after the node's checks begin."""
    for candidate in other.candidates:
        network.at(network.now + rng.uniform(0, 0.3), partial(tell, network, node, other, [candidate]))
    network.at(network.now + 0.3, node.agent.end_remote)
    network.at(network.now + rng.uniform(0, 0.3), lambda: begin(network, node))


def selected(*nodes: Node) -> bool:
    return all(node.agent.selected is not None for node in nodes)


def run(seed: int, pair: tuple[NatBehaviour, NatBehaviour], *, links: bool) -> None:
    """Run two agents behind two NATs once, on a path as bad as the seed makes it."""
    rng = random.Random(seed)
    network, left, right = behind_nats(
        seed, *rng.sample(pair, 2), loss=rng.choice((0.0, 0.1, 0.25)), delay=(0.005, 0.12), repeat=0.1
    )
    trickle(network, left, right, rng)
    trickle(network, right, left, rng)
    assert network.run(12.0 if links else 3.0, lambda: selected(left, right)) is links, seed
    if links:
        network.run(1.0)
        assert carried(network, left, right), seed
    for node in (left, right):
        # what comes in is answered, and earns a check
        assert node.sent_count <= SESSION_COUNT + 2 * node.received_count
        assert not node.of(Lost)
        assert not node.of(Suspended)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(f"{nat.mapping}/{nat.filtering}" for nat in pair))
def test_agents_link_behind_those_nats_behind_which_the_oracle_says_so(pair: tuple[NatBehaviour, NatBehaviour]) -> None:
    links = plain_ice_links(*pair)
    for seed in range(RUNS):
        run(seed, pair, links=links)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(f"{nat.mapping}/{nat.filtering}" for nat in pair))
def test_they_do_so_over_many_seeds(pair: tuple[NatBehaviour, NatBehaviour]) -> None:
    links = plain_ice_links(*pair)
    for seed in range(RUNS, 250):
        run(seed, pair, links=links)


@pytest.mark.parametrize("seed", range(100))
def test_both_agents_end_on_the_same_pair_and_the_best_one(seed: int) -> None:
    rng = random.Random(seed)
    network, left, right = in_public(seed, sockets=3, loss=rng.choice((0.0, 0.2)), delay=(0.001, 0.2), repeat=0.1)
    trickle(network, left, right, rng)
    trickle(network, right, left, rng)
    best = ("192.0.2.1", 5000), ("198.51.100.1", 6000)

    def ends() -> list[tuple[object, ...]]:
        pairs = [node.agent.selected for node in (left, right)]
        return [(pair.local.address, pair.remote.address) for pair in pairs if pair is not None]

    # by losses a pair may fall silent and make way, until it answers
    assert network.run(60.0, lambda: ends() == [best, best[::-1]])


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_a_role_conflict_ends_with_one_controlling_side(seed: int, both: bool) -> None:
    network, left, right = in_public(seed, loss=0.1, delay=(0.005, 0.05))
    for node in (left, right):
        node.agent.set_role(controlling=both)
        tell(network, node, right if node is left else left)
        begin(network, node)
    assert network.run(10.0, lambda: selected(left, right))
    network.run(1.0)
    assert left.agent.controlling is not right.agent.controlling
    assert carried(network, left, right)


@pytest.mark.parametrize("seed", range(10))
def test_an_agent_that_nobody_has_told_anything_finds_its_peer_by_the_checks_that_come(seed: int) -> None:
    network, left, right = in_public(seed, loss=0.2, delay=(0.005, 0.05))
    left.agent.end_remote()
    begin(network, left)
    tell(network, right, left)
    begin(network, right)
    assert network.run(10.0, lambda: selected(left, right))
    assert cast("Valid", left.of(Valid)[0]).path.kind == "host-prflx"
    assert cast("Valid", right.of(Valid)[0]).path.kind == "host-host"


def linked(seed: int, **options: object) -> tuple[Network, Node, Node]:
    """A pair behind cones that is linked."""
    cone = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)
    network, left, right = behind_nats(seed, cone, cone, **options)
    for node, other in ((left, right), (right, left)):
        tell(network, node, other)
        begin(network, node)
    assert network.run(10.0, lambda: selected(left, right))
    network.run(1.0)
    return network, left, right


@pytest.mark.parametrize("seed", range(5))
def test_a_link_stands_for_an_hour_of_loss(seed: int) -> None:
    network, left, right = linked(seed, loss=0.15, delay=(0.02, 0.4), repeat=0.05)
    network.run(3600.0)
    for node in (left, right):
        assert not node.of(Lost)
        assert len(node.of(Resumed)) == len(node.of(Suspended))
    assert carried(network, left, right)


@pytest.mark.parametrize("outage", [EXPIRY + 5, EXPIRY + REVIVAL - 10])
def test_an_outage_suspends_and_its_end_resumes(outage: float) -> None:
    network, left, right = linked(1)
    network.cut = lambda source, destination: True
    network.run(outage)
    assert not carried(network, left, right)
    network.cut = lambda source, destination: False
    network.run(3.0)
    for node in (left, right):
        assert [type(event) for _, event in node.events if isinstance(event, Suspended | Resumed | Lost)] == [
            Suspended,
            Resumed,
        ]
    assert carried(network, left, right)


def test_an_outage_that_does_not_end_loses_the_path() -> None:
    network, left, right = linked(1)
    network.cut = lambda source, destination: True
    network.run(EXPIRY + REVIVAL + 10)
    for node in (left, right):
        assert [type(event) for _, event in node.events if isinstance(event, Suspended | Resumed | Lost)] == [
            Suspended,
            Lost,
        ]
        sent = node.sent_count
        network.run(600.0)
        assert node.sent_count == sent


@pytest.mark.parametrize("seed", range(20))
def test_a_nat_that_forgets_its_mappings_heals_by_a_check_from_within(seed: int) -> None:
    open_cone = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT)
    network, left, right = behind_nats(seed, open_cone, open_cone, loss=0.1, delay=(0.01, 0.05))
    for node, other in ((left, right), (right, left)):
        tell(network, node, other)
        begin(network, node)
    assert network.run(10.0, lambda: selected(left, right))
    for _ in range(5):
        assert left.nat is not None
        left.nat.close()
        network.run(12.0)
        assert carried(network, left, right)
    assert not left.of(Suspended)
    assert not right.of(Suspended)
    network.run(2 * REVIVAL)
    assert len(right.agent.remote_candidates) <= 4, "what the NAT had made before is forgotten"


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        network, left, right = linked(7, loss=0.2, delay=(0.01, 0.3))
        network.run(100.0)
        runs.append((left.sent_count, right.sent_count, left.events, right.events))
    assert runs[0] == runs[1]
    assert not any(isinstance(event, CandidateFound) for _, event in runs[0][2])
