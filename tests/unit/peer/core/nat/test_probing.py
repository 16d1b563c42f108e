"""core.birthday: schedules and their pace, answers and selection, and whole rounds between model NATs."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.nat_world import ModelNat
from tests.support.punching import KEY, LEFT, RIGHT, Punching, punch
from visavis_peer.core.counts import PROBE_BUDGET
from visavis_peer.core.nat.allocation import SAMPLE_COUNT, block_of
from visavis_peer.core.nat.probes import Kind, Probe, Seal
from visavis_peer.core.nat.probing import (
    ANSWER_COUNT,
    PAIR_COUNT,
    SELECT_COUNT,
    AddressNotSeen,
    Effect,
    NothingFound,
    PairFound,
    Probing,
    Send,
    Shot,
    shots,
)
from visavis_peer.core.nat.strategy import (
    DURATION,
    OPENER_SOCKETS,
    RATE,
    KnownPort,
    Plan,
    PortRange,
    Ports,
    Role,
)
from visavis_shared.nat import Allocation, Filtering, Mapping, Method, NatBehaviour, expected_method

EIM, _, APDM = Mapping
APDF: Final = Filtering.ADDRESS_AND_PORT_DEPENDENT
SYMMETRIC, PORT_RESTRICTED = NatBehaviour(APDM, APDF), NatBehaviour(EIM, APDF)
PEER: Final = (RIGHT, 5000)
OPENING: Final = Plan(
    Method.BIRTHDAY, Role.OPEN, "", OPENER_SOCKETS, KnownPort(), ttl=4, rate=RATE, budget=PROBE_BUDGET, duration=5.0
)
PROBING: Final = replace(OPENING, role=Role.PROBE, sockets=1, targets=PortRange(1024, 65535), ttl=None)
MEETING: Final = replace(OPENING, role=Role.MEET, sockets=25, targets=Ports((700,)))
EVERY_NAT: Final = [
    NatBehaviour(mapping, filtering, allocation=allocation)
    for mapping in Mapping
    for filtering in Filtering
    for allocation in (Allocation.SEQUENTIAL, Allocation.RANDOM)
]


def schedule_of(plan: Plan) -> tuple[Shot, ...]:
    return shots(plan, PEER, {RIGHT}, random.Random(1).sample)


def probing(plan: Plan = PROBING, *, controlling: bool = True) -> Probing:
    seal = Seal(KEY, "s", controlling=controlling)
    return Probing(schedule_of(plan), plan.duration, seal, controlling=controlling, now=0.0)


def signed(kind: Kind, *, by_controlling: bool, sequence: int = 7) -> bytes:
    return Seal(KEY, "s", controlling=by_controlling).encode(Probe(kind, sequence))


def kinds(effects: Sequence[Effect]) -> list[str]:
    seals = [Seal(KEY, "s", controlling=controlling) for controlling in (True, False)]
    names = []
    for effect in effects:
        if isinstance(effect, Send):
            probe = seals[0].decode(effect.data) or seals[1].decode(effect.data)
            assert probe is not None
            names.append(probe.kind.name)
        else:
            names.append(type(effect).__name__)
    return names


def busiest_second(times: Sequence[float]) -> int:
    """Return how many of `times`, in order, lie within one second at most."""
    most, first = 0, 0
    for last, time in enumerate(times):
        while times[first] <= time - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("plan", [OPENING, PROBING, MEETING], ids=lambda plan: plan.role)
def test_no_second_of_a_schedule_has_more_than_five_hundred_packets(plan: Plan) -> None:
    schedule = schedule_of(plan)
    assert 0 < len(schedule) <= PROBE_BUDGET
    assert schedule[-1].at < DURATION
    assert [shot.at for shot in schedule] == sorted(shot.at for shot in schedule)
    assert busiest_second([shot.at for shot in schedule]) <= 500


def test_probes_go_to_different_ports_of_the_range_from_one_socket() -> None:
    schedule = schedule_of(replace(PROBING, targets=PortRange(30000, 34000)))
    ports = [shot.destination[1] for shot in schedule]
    assert len(set(ports)) == len(ports) == PROBE_BUDGET
    assert min(ports) >= 30000
    assert max(ports) <= 34000
    assert {(shot.socket, shot.destination[0], shot.ttl) for shot in schedule} == {(0, RIGHT, None)}


def test_a_range_smaller_than_the_budget_is_probed_again_and_again() -> None:
    ports = [shot.destination[1] for shot in schedule_of(replace(PROBING, targets=PortRange(40000, 40099)))]
    assert all(sorted(ports[start : start + 100]) == list(range(40000, 40100)) for start in range(0, 2000, 100))


def test_likelier_ports_are_probed_first() -> None:
    ports = [shot.destination[1] for shot in schedule_of(replace(PROBING, targets=Ports((9, 8, 10))))]
    assert ports[:6] == [9, 8, 10, 9, 8, 10]


def test_every_opener_has_a_socket_of_its_own_and_a_low_ttl() -> None:
    schedule = schedule_of(OPENING)
    assert [shot.socket for shot in schedule[:OPENER_SOCKETS]] == list(range(OPENER_SOCKETS))
    assert {(shot.destination, shot.ttl) for shot in schedule} == {(PEER, 4)}


def test_openers_are_spread_over_the_ports_that_a_prober_may_have() -> None:
    schedule = schedule_of(replace(OPENING, targets=Ports((1, 2, 3))))
    assert {shot.destination[1] for shot in schedule[:3]} == {1, 2, 3}


def test_those_who_meet_open_every_mapping_before_anything_can_arrive() -> None:
    schedule = schedule_of(MEETING)
    assert [shot.ttl for shot in schedule[:25]] == [4] * 25
    assert {shot.ttl for shot in schedule[25:]} == {None}
    assert {shot.destination for shot in schedule} == {(RIGHT, 700)}


def test_nothing_is_sent_to_an_address_that_the_server_has_not_seen() -> None:
    with pytest.raises(AddressNotSeen, match=r"has not seen the peer use 13\.0\.0\.1:5000"):
        shots(PROBING, PEER, {"13.0.0.2"}, random.Random(1).sample)


@pytest.mark.parametrize("plan", [replace(PROBING, targets=None), replace(PROBING, targets=Ports(()))])
def test_a_plan_without_a_target_waits_for_the_next_report(plan: Plan) -> None:
    with pytest.raises(ValueError, match="plan again"):
        schedule_of(plan)


def test_a_plan_without_a_part_sends_nothing() -> None:
    with pytest.raises(ValueError, match="sends nothing"):
        schedule_of(replace(OPENING, role=Role.NONE))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.0, 0.8), min_size=1, max_size=60), st.booleans())
def test_however_late_the_timers_are_no_second_sees_more_than_five_hundred(delays: list[float], heard: bool) -> None:
    machine = probing()
    times: list[float] = []
    now = 0.0
    for turn in range(4000):
        due = machine.next_timer()
        if due is None:
            break
        now = max(now, due) + (delays[turn // 50 % len(delays)] if turn % 50 == 0 else 0.0)
        effects = machine.handle_timer(now)
        if heard and turn % 5 == 0:
            effects += machine.receive_datagram(turn, signed(Kind.PROBE, by_controlling=False), (RIGHT, 1 + turn), now)
        times += [now] * sum(isinstance(effect, Send) for effect in effects)
    assert times
    assert busiest_second(times) <= 500


def test_an_engine_that_hears_nothing_stops_by_itself() -> None:
    machine = probing()
    sent: list[Effect] = []
    while (due := machine.next_timer()) is not None:
        sent += machine.handle_timer(due)
    assert sent[-1] == NothingFound(PROBE_BUDGET)
    assert kinds(sent) == ["PROBE"] * PROBE_BUDGET + ["NothingFound"]
    assert machine.handle_timer(99.0) == []
    assert machine.receive_datagram(0, signed(Kind.ANSWER, by_controlling=False), PEER, 99.0) == []
    assert repr(machine) == "<Probing over, 2048 of 2048 sent, 0 pairs>"


def test_a_controlling_side_selects_the_pair_that_it_has_an_answer_on() -> None:
    machine = probing()
    effects = machine.receive_datagram(3, signed(Kind.ANSWER, by_controlling=False), PEER, 1.0)
    assert kinds(effects) == ["SELECT", "PairFound"]
    assert effects[1] == PairFound(3, PEER, 0, 1.0)
    assert repr(machine) == "<Probing selected, 0 of 2048 sent, 0 pairs>"


def test_select_is_repeated_by_time_and_when_the_peer_still_answers_but_not_for_ever() -> None:
    machine = probing()
    sent = machine.receive_datagram(3, signed(Kind.ANSWER, by_controlling=False), PEER, 1.0)
    sent += machine.receive_datagram(3, signed(Kind.ANSWER, by_controlling=False), PEER, 1.0)
    sent += machine.receive_datagram(4, signed(Kind.ANSWER, by_controlling=False), PEER, 1.0)
    while (due := machine.next_timer()) is not None:
        sent += machine.handle_timer(due)
    assert kinds(sent).count("SELECT") == SELECT_COUNT
    assert machine.receive_datagram(3, signed(Kind.ANSWER, by_controlling=False), PEER, 9.0) == []
    assert machine.handle_timer(9.0) == []


def test_a_controlled_side_answers_and_waits_to_be_told() -> None:
    machine = probing(OPENING, controlling=False)
    assert kinds(machine.receive_datagram(3, signed(Kind.ANSWER, by_controlling=True), PEER, 1.0)) == ["ANSWER"]
    effects = machine.receive_datagram(9, signed(Kind.SELECT, by_controlling=True), PEER, 1.1)
    assert effects == [PairFound(9, PEER, 0, 1.1)]
    assert machine.next_timer() is None


def test_a_controlling_side_is_not_told_what_to_select() -> None:
    assert probing().receive_datagram(0, signed(Kind.SELECT, by_controlling=False), PEER, 1.0) == []


def test_an_answer_that_may_be_lost_is_sent_again() -> None:
    machine = probing(OPENING, controlling=False)
    sent = machine.receive_datagram(3, signed(Kind.PROBE, by_controlling=True), PEER, 0.0)
    assert machine.receive_datagram(3, signed(Kind.PROBE, by_controlling=True), PEER, 0.0) == []
    while (due := machine.next_timer()) is not None:
        sent += machine.handle_timer(due)
    assert kinds(sent).count("ANSWER") == ANSWER_COUNT


def test_only_the_first_pairs_are_remembered_and_the_rest_answered_once() -> None:
    machine = probing(OPENING, controlling=False)
    for port in range(1, 40):
        effects = machine.receive_datagram(0, signed(Kind.PROBE, by_controlling=True), (RIGHT, port), 0.0)
        assert kinds(effects) == ["ANSWER"]
    assert repr(machine) == f"<Probing probing, 0 of 1280 sent, {PAIR_COUNT} pairs>"


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (b"", PEER),
        (signed(Kind.ANSWER, by_controlling=True), PEER),
        (bytes((Kind.ANSWER,)) + bytes(20), PEER),
        (signed(Kind.ANSWER, by_controlling=False), ("66.6.6.6", 5000)),
    ],
    ids=["empty", "our own, sent back", "unsigned", "another host"],
)
def test_a_stranger_changes_nothing(data: bytes, source: tuple[str, int]) -> None:
    machine = probing()
    assert machine.receive_datagram(0, data, source, 1.0) == []
    assert "0 pairs" in repr(machine)


def birthday_round(
    seed: int, ports: range = range(1024, 65536), *, loss: float = 0.0, delay: float = 0.02
) -> tuple[float, int] | None:
    """Play random ports against address-and-port-dependent filtering; return seconds and probes, None for nothing."""
    rng = random.Random(seed)
    block = block_of(rng.sample(ports, SAMPLE_COUNT))
    members: dict[str, object] = {"allocation": Allocation.BLOCK, "port_block": block} if block else {}
    left, right = ModelNat(LEFT, SYMMETRIC, rng, ports), ModelNat(RIGHT, PORT_RESTRICTED, rng)
    game = Punching(left, right, rng, delay=delay, loss=loss, members=members)
    started_at = game.world.now
    if not game.run():
        return None
    found = game.world.hosts[1].found
    assert found is not None
    return max(host.found_at for host in game.world.hosts) - started_at - 0.05, found.probe_count


def test_random_ports_are_hit_within_three_seconds_99_times_in_100() -> None:
    rounds = [birthday_round(seed) for seed in range(300)]
    seconds = sorted(outcome[0] for outcome in rounds if outcome is not None)
    assert sum(second <= 3.0 for second in seconds) >= 297
    assert statistics.median(seconds) <= 0.5
    print(f"\n64,512 ports: p50 {seconds[150]:.2f} s, p99 {seconds[296]:.2f} s")


def test_a_block_of_ports_is_hit_many_times_faster() -> None:
    rounds = [birthday_round(seed, range(40000, 42048)) for seed in range(100)]
    assert None not in rounds
    seconds = sorted(outcome[0] for outcome in rounds if outcome is not None)
    probes = sorted(outcome[1] for outcome in rounds if outcome is not None)
    assert seconds[98] <= 0.5
    assert statistics.median(probes) <= 100
    print(f"\nblock of 2,048: p50 {seconds[50]:.2f} s, p99 {seconds[98]:.2f} s, p50 {probes[50]} probes")


def test_a_tenth_of_all_packets_lost_costs_time_only() -> None:
    rounds = [birthday_round(seed, loss=0.1, delay=0.05) for seed in range(50)]
    assert sum(outcome is not None for outcome in rounds) >= 49


PROMISED: Final = [
    (a, b) for a in EVERY_NAT for b in EVERY_NAT if expected_method(a, b) in (Method.PREDICTION, Method.BIRTHDAY)
]


@pytest.mark.parametrize("seed", range(2))
def test_every_pair_that_the_oracle_promises_finds_a_path(seed: int) -> None:
    failed = [(a, b) for a, b in PROMISED if not punch(a, b, seed)]
    assert len(PROMISED) > 100
    assert failed == []


def test_openers_are_few_where_a_quota_is_small() -> None:
    rng = random.Random(1)
    nat = ModelNat(LEFT, SYMMETRIC, rng, range(40000, 42048))
    members = {"allocation": Allocation.BLOCK, "port_block": (40000, 42047)}
    assert Punching(nat, ModelNat(RIGHT, PORT_RESTRICTED, rng), rng, members=members).run()
    openers = {socket for socket, *destination in nat.mappings if destination[0] == RIGHT}
    assert len(openers) == 64


def sequential_rounds(other: NatBehaviour, foreign_rate: float) -> int:
    """Return in how many of 60 rounds a NAT with sequential ports and others behind it meets another NAT."""
    sequential = NatBehaviour(APDM, APDF, allocation=Allocation.SEQUENTIAL)
    games = []
    for seed in range(60):
        rng = random.Random(seed)
        left, right = ModelNat(LEFT, sequential, rng), ModelNat(RIGHT, other, rng)
        games.append(Punching(left, right, rng, foreign_rate=foreign_rate))
    return sum(game.run() for game in games)


@pytest.mark.parametrize("foreign_rate", [0.0, 100.0, 400.0])
def test_traffic_of_others_does_not_get_into_a_bracket(foreign_rate: float) -> None:
    assert sequential_rounds(PORT_RESTRICTED, foreign_rate) == 60


def test_two_sequences_meet_the_less_often_the_more_others_allocate() -> None:
    sequential = NatBehaviour(APDM, APDF, allocation=Allocation.SEQUENTIAL)
    quiet, home, busy = (sequential_rounds(sequential, rate) for rate in (0.0, 50.0, 400.0))
    assert quiet == 60
    assert home >= 57
    assert 20 <= busy < home
