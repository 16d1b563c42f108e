"""core.strategy: the plan for every pair of NATs, the same on both sides."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.shared.strategies import nat_reports
from visavis_peer.core.counts import PROBE_BUDGET
from visavis_peer.core.nat.allocation import FIRST_PORT, LAST_PORT
from visavis_peer.core.nat.strategy import (
    OPENER_SOCKETS,
    OPENER_TTLS,
    PREDICTED_OPENERS,
    RATE,
    KnownPort,
    Plan,
    PortRange,
    Ports,
    Role,
    Situation,
    plan,
)
from visavis_shared.nat import Allocation, Filtering, Mapping, Method, NatReport

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering


def report(mapping: Mapping | None, filtering: Filtering | None = APDF, **members: Any) -> NatReport:
    return NatReport(udp=True, mapping=mapping, filtering=filtering, probing=True, **members)


SEQUENTIAL: Final[dict[str, Any]] = {"allocation": Allocation.SEQUENTIAL, "allocation_step": 1, "foreign_rate": 0.0}
REPORTS: Final = {
    "full-cone": report(EIM, EIF),
    "address-restricted": report(EIM, ADF),
    "port-restricted": report(EIM),
    "filter-unknown": report(EIM, None),
    "symmetric": report(APDM, allocation=Allocation.RANDOM),
    "symmetric-block": report(APDM, allocation=Allocation.BLOCK, port_block=(40000, 42047)),
    "symmetric-seq": report(APDM, last_port=20000, **SEQUENTIAL),
    "symmetric-ad": report(ADM, ADF, allocation=Allocation.RANDOM),
    "symmetric-ad-seq": report(ADM, last_port=30000, **SEQUENTIAL),
    "symmetric-unknown": report(APDM),
    "udp-blocked": NatReport(udp=False, probing=True),
    "unknown": NatReport(udp=True, probing=True),
}
ICE, PREDICT, BIRTHDAY, RELAY = Method.PLAIN_ICE, Method.PREDICTION, Method.BIRTHDAY, Method.RELAY
NONE, OPEN, PROBE, MEET = Role.NONE, Role.OPEN, Role.PROBE, Role.MEET
TABLE: Final[dict[tuple[str, str], tuple[Method, Role]]] = {
    ("full-cone", "full-cone"): (ICE, NONE),
    ("full-cone", "address-restricted"): (ICE, NONE),
    ("full-cone", "port-restricted"): (ICE, NONE),
    ("full-cone", "filter-unknown"): (ICE, NONE),
    ("full-cone", "symmetric"): (ICE, NONE),
    ("full-cone", "symmetric-block"): (ICE, NONE),
    ("full-cone", "symmetric-seq"): (ICE, NONE),
    ("full-cone", "symmetric-ad"): (ICE, NONE),
    ("full-cone", "symmetric-ad-seq"): (ICE, NONE),
    ("full-cone", "symmetric-unknown"): (ICE, NONE),
    ("address-restricted", "address-restricted"): (ICE, NONE),
    ("address-restricted", "port-restricted"): (ICE, NONE),
    ("address-restricted", "filter-unknown"): (ICE, NONE),
    ("address-restricted", "symmetric"): (ICE, NONE),
    ("address-restricted", "symmetric-block"): (ICE, NONE),
    ("address-restricted", "symmetric-seq"): (ICE, NONE),
    ("address-restricted", "symmetric-ad"): (ICE, NONE),
    ("address-restricted", "symmetric-ad-seq"): (ICE, NONE),
    ("address-restricted", "symmetric-unknown"): (ICE, NONE),
    ("port-restricted", "port-restricted"): (ICE, NONE),
    ("port-restricted", "filter-unknown"): (ICE, NONE),
    ("port-restricted", "symmetric"): (BIRTHDAY, PROBE),
    ("port-restricted", "symmetric-block"): (BIRTHDAY, PROBE),
    ("port-restricted", "symmetric-seq"): (PREDICT, PROBE),
    ("port-restricted", "symmetric-ad"): (BIRTHDAY, PROBE),
    ("port-restricted", "symmetric-ad-seq"): (PREDICT, PROBE),
    ("port-restricted", "symmetric-unknown"): (BIRTHDAY, PROBE),
    ("filter-unknown", "filter-unknown"): (ICE, NONE),
    ("filter-unknown", "symmetric"): (BIRTHDAY, PROBE),
    ("filter-unknown", "symmetric-block"): (BIRTHDAY, PROBE),
    ("filter-unknown", "symmetric-seq"): (PREDICT, PROBE),
    ("filter-unknown", "symmetric-ad"): (BIRTHDAY, PROBE),
    ("filter-unknown", "symmetric-ad-seq"): (PREDICT, PROBE),
    ("filter-unknown", "symmetric-unknown"): (BIRTHDAY, PROBE),
    ("symmetric", "symmetric"): (RELAY, NONE),
    ("symmetric", "symmetric-block"): (RELAY, NONE),
    ("symmetric", "symmetric-seq"): (RELAY, NONE),
    ("symmetric", "symmetric-ad"): (BIRTHDAY, PROBE),
    ("symmetric", "symmetric-ad-seq"): (BIRTHDAY, OPEN),
    ("symmetric", "symmetric-unknown"): (RELAY, NONE),
    ("symmetric-block", "symmetric-block"): (RELAY, NONE),
    ("symmetric-block", "symmetric-seq"): (RELAY, NONE),
    ("symmetric-block", "symmetric-ad"): (BIRTHDAY, PROBE),
    ("symmetric-block", "symmetric-ad-seq"): (BIRTHDAY, OPEN),
    ("symmetric-block", "symmetric-unknown"): (RELAY, NONE),
    ("symmetric-seq", "symmetric-seq"): (PREDICT, MEET),
    ("symmetric-seq", "symmetric-ad"): (BIRTHDAY, PROBE),
    ("symmetric-seq", "symmetric-ad-seq"): (PREDICT, MEET),
    ("symmetric-seq", "symmetric-unknown"): (RELAY, NONE),
    ("symmetric-ad", "symmetric-ad"): (BIRTHDAY, PROBE),
    ("symmetric-ad", "symmetric-ad-seq"): (BIRTHDAY, OPEN),
    ("symmetric-ad", "symmetric-unknown"): (BIRTHDAY, OPEN),
    ("symmetric-ad-seq", "symmetric-ad-seq"): (PREDICT, MEET),
    ("symmetric-ad-seq", "symmetric-unknown"): (BIRTHDAY, PROBE),
    ("symmetric-unknown", "symmetric-unknown"): (RELAY, NONE),
    **{(kind, "udp-blocked"): (RELAY, NONE) for kind in REPORTS},
    **{(kind, "unknown"): (ICE, NONE) for kind in REPORTS if kind != "udp-blocked"},
    ("udp-blocked", "unknown"): (RELAY, NONE),
}
"""The left side's part, when it is controlling."""
ALONE: Final = Situation()
COUNTERPART: Final = {NONE: NONE, OPEN: PROBE, PROBE: OPEN, MEET: MEET}
PAIRS: Final = list(itertools.combinations_with_replacement(REPORTS, 2))


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_every_pair_has_its_plan(left: str, right: str) -> None:
    expected = TABLE.get((left, right)) or TABLE[right, left]
    made = plan(REPORTS[left], REPORTS[right], True)
    assert (made.method, made.role) == expected


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_both_sides_make_the_same_plan(left: str, right: str) -> None:
    agree(REPORTS[left], REPORTS[right], Situation())


@given(nat_reports, nat_reports, st.booleans(), st.booleans(), st.integers(0, 9))
def test_any_two_reports_lead_to_the_same_plan_on_both_sides(
    left: NatReport, right: NatReport, same_address: bool, mapped: bool, round_number: int
) -> None:
    agree(left, right, Situation(same_public_address=same_address, local_mapped=mapped, round=round_number))


def agree(left: NatReport, right: NatReport, situation: Situation) -> None:
    mirrored = Situation(
        situation.same_public_address,
        situation.families,
        situation.remote_mapped,
        situation.local_mapped,
        situation.round,
    )
    for controlling in (True, False):
        ours, theirs = plan(left, right, controlling, situation), plan(right, left, not controlling, mirrored)
        assert ours.method is theirs.method
        assert theirs.role is COUNTERPART[ours.role]
        for made in (ours, theirs):
            assert made.reason
            assert made.sockets <= OPENER_SOCKETS
            assert made.budget <= PROBE_BUDGET
            assert made.rate <= 500
            assert (made.role is NONE) is (made.sockets == 0)


def test_birthday_has_many_mappings_here_and_one_socket_there() -> None:
    opening = plan(REPORTS["symmetric"], REPORTS["port-restricted"], True)
    assert (opening.sockets, opening.targets, opening.ttl) == (OPENER_SOCKETS, KnownPort(), OPENER_TTLS[0])
    assert not opening.bracket
    probing = plan(REPORTS["port-restricted"], REPORTS["symmetric"], False)
    assert (probing.sockets, probing.targets, probing.ttl) == (1, PortRange(FIRST_PORT, LAST_PORT), None)
    assert (probing.rate, probing.budget) == (RATE, PROBE_BUDGET)
    assert "until it hits one" in probing.reason


def test_a_block_needs_fewer_mappings_and_is_named() -> None:
    opening = plan(REPORTS["symmetric-block"], REPORTS["port-restricted"], True)
    assert opening.sockets == 64
    assert "40000 to 42047" in opening.reason
    probing = plan(REPORTS["port-restricted"], REPORTS["symmetric-block"], False)
    assert probing.targets == PortRange(40000, 42047)


def test_prediction_needs_a_few_mappings_and_two_samples_around_them() -> None:
    opening = plan(REPORTS["symmetric-seq"], REPORTS["port-restricted"], True)
    assert (opening.sockets, opening.targets, opening.bracket) == (PREDICTED_OPENERS, KnownPort(), True)
    probing = plan(REPORTS["port-restricted"], REPORTS["symmetric-seq"], False)
    assert isinstance(probing.targets, Ports)
    assert 20001 in probing.targets.ports
    assert not probing.bracket


def test_a_bracket_makes_the_prediction_exact_and_is_made_once() -> None:
    told = REPORTS["symmetric-seq"].model_copy(update={"port_bracket": (20010, 20014)})
    assert plan(REPORTS["port-restricted"], told, False).targets == Ports((20011, 20012, 20013))
    assert not plan(told, REPORTS["port-restricted"], True).bracket


def test_without_a_sample_the_other_side_waits_for_one() -> None:
    silent = REPORTS["symmetric-seq"].model_copy(update={"last_port": None})
    assert plan(REPORTS["port-restricted"], silent, True).targets is None
    assert plan(REPORTS["symmetric-seq"], silent, True).targets is None


def test_a_prober_whose_own_port_is_predicted_tells_it_to_the_opener() -> None:
    prober, opener = REPORTS["symmetric-ad-seq"], REPORTS["symmetric"]
    assert plan(prober, opener, True).bracket
    told = prober.model_copy(update={"port_bracket": (30001, 30003)})
    assert plan(opener, told, False).targets == Ports((30002,))
    assert not plan(told, opener, True).bracket


def test_those_who_meet_aim_at_what_the_other_promises() -> None:
    left, right = REPORTS["symmetric-seq"], REPORTS["symmetric-ad-seq"]
    ours, theirs = plan(left, right, True), plan(right, left, False)
    assert ours.targets == Ports((theirs.meeting_port or 0,))
    assert theirs.targets == Ports((ours.meeting_port or 0,))
    assert (ours.meeting_port, ours.sockets) == (20020, 25)


def test_openers_go_farther_from_round_to_round() -> None:
    ttls = [
        plan(REPORTS["symmetric"], REPORTS["port-restricted"], True, Situation(round=number)).ttl for number in range(5)
    ]
    assert ttls == [4, 6, 64, 64, 64]


def planned(left: str, right: str, situation: Situation = ALONE, **changed: Any) -> Plan:
    return plan(REPORTS[left], REPORTS[right].model_copy(update=changed), True, situation)


@pytest.mark.parametrize("left_probing", [True, False, None])
def test_who_takes_no_part_in_probing_is_not_probed(left_probing: bool | None) -> None:
    made = planned("port-restricted", "symmetric", probing=left_probing)
    assert (made.role is PROBE) is (left_probing is True)
    if not left_probing:
        assert made.method is RELAY
        assert "the peer takes no part" in made.reason
        other = plan(REPORTS["symmetric"].model_copy(update={"probing": None}), REPORTS["port-restricted"], True)
        assert "this side takes no part" in other.reason


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("symmetric", "symmetric", "both NATs give every destination another random port"),
        ("symmetric", "symmetric-seq", "this side's NAT gives every destination a random port"),
        ("symmetric-seq", "symmetric", "the peer's NAT gives every destination a random port"),
        ("udp-blocked", "full-cone", "UDP seems blocked on this side"),
        ("full-cone", "udp-blocked", "UDP seems blocked on the peer's side"),
        ("unknown", "full-cone", "this side's NAT is not known"),
        ("full-cone", "unknown", "the peer's NAT is not known"),
        ("full-cone", "symmetric", "checks suffice"),
        ("symmetric", "port-restricted", "this side's NAT gives out random ports"),
        ("port-restricted", "symmetric", "the peer's NAT gives out random ports"),
        ("symmetric-seq", "port-restricted", "this side's NAT gives out ports in sequence"),
        ("symmetric-seq", "symmetric-seq", "both NATs give out ports in sequence"),
    ],
)
def test_the_reason_is_a_sentence_from_this_sides_view(left: str, right: str, words: str) -> None:
    assert words in planned(left, right).reason


def test_families_that_never_meet_are_relayed() -> None:
    made = planned("full-cone", "full-cone", Situation(families=frozenset()))
    assert (made.method, made.role) == (RELAY, NONE)
    assert "only IPv6" in made.reason


def test_ipv6_on_both_sides_needs_no_probing_until_it_has_failed() -> None:
    both = frozenset({4, 6})
    assert planned("symmetric", "symmetric", Situation(families=both)).method is ICE
    assert planned("symmetric", "port-restricted", Situation(families=both, round=1)).method is BIRTHDAY
    assert planned("symmetric", "symmetric", Situation(families=frozenset({6}), round=1)).method is ICE


def test_one_public_address_is_left_to_checks_unless_both_see_hairpinning() -> None:
    same = Situation(same_public_address=True)
    made = planned("symmetric", "port-restricted", same)
    assert (made.method, made.role) == (ICE, NONE)
    assert "same public address" in made.reason
    assert planned("symmetric", "port-restricted", same, hairpinning=True).method is ICE
    hairpinning = {"hairpinning": True}
    left = REPORTS["symmetric"].model_copy(update=hairpinning)
    right = REPORTS["port-restricted"].model_copy(update=hairpinning)
    assert plan(left, right, True, same).method is BIRTHDAY


@pytest.mark.parametrize(
    "situation", [Situation(local_mapped=True), Situation(remote_mapped=True)], ids=["here", "there"]
)
def test_a_mapped_port_makes_checks_suffice(situation: Situation) -> None:
    made = planned("symmetric", "symmetric", situation)
    assert (made.method, made.role) == (Method.PORT_MAPPING, NONE)
