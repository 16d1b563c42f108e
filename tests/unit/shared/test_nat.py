"""nat: the oracle against the measured table of nat-lab.md section 2, and the words for a failure."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from visavis_shared.nat import (
    Allocation,
    Filtering,
    Mapping,
    Method,
    NatBehaviour,
    NatReport,
    Side,
    Verdict,
    expected_method,
    explain_no_path,
    plain_ice_links,
    verdict,
)

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering

KINDS: Final = {
    "public": NatBehaviour(EIM, EIF),
    "fw": NatBehaviour(EIM, APDF),
    "full-cone": NatBehaviour(EIM, EIF),
    "addr-restricted": NatBehaviour(EIM, ADF),
    "port-restricted": NatBehaviour(EIM, APDF),
    "symmetric-ad": NatBehaviour(ADM, ADF),
    "symmetric-open": NatBehaviour(APDM, EIF),
    "symmetric": NatBehaviour(APDM, APDF),
}
CONNECTS: Final = {
    "public": "public fw full-cone addr-restricted port-restricted symmetric-ad symmetric-open symmetric",
    "fw": "fw full-cone addr-restricted port-restricted",
    "full-cone": "full-cone addr-restricted port-restricted symmetric-ad symmetric-open symmetric",
    "addr-restricted": "addr-restricted port-restricted symmetric-ad symmetric-open symmetric",
    "port-restricted": "port-restricted",
    "symmetric-ad": "symmetric-open",
    "symmetric-open": "",
    "symmetric": "",
}
"""nat-lab.md section 2, upper triangle: measured with aioice, three runs a cell."""

behaviours = st.builds(NatBehaviour, st.sampled_from(Mapping), st.sampled_from(Filtering), st.booleans())


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(KINDS, 2)))
def test_the_oracle_agrees_with_every_measured_cell(a: str, b: str) -> None:
    expected = b in CONNECTS[a].split()
    assert plain_ice_links(KINDS[a], KINDS[b]) is expected
    assert plain_ice_links(KINDS[b], KINDS[a]) is expected


@given(behaviours, behaviours)
def test_sides_may_be_swapped(a: NatBehaviour, b: NatBehaviour) -> None:
    assert plain_ice_links(a, b) is plain_ice_links(b, a)


@given(behaviours, behaviours, st.sampled_from(Filtering))
def test_a_laxer_filter_never_breaks_a_link(a: NatBehaviour, b: NatBehaviour, laxer: Filtering) -> None:
    order = list(Filtering)
    if plain_ice_links(a, b) and order.index(laxer) <= order.index(a.filtering):
        assert plain_ice_links(NatBehaviour(a.mapping, laxer, a.udp), b)


@given(behaviours)
def test_blocked_udp_links_with_nobody(other: NatBehaviour) -> None:
    assert not plain_ice_links(NatBehaviour(EIM, EIF, udp=False), other)


@given(behaviours, behaviours)
def test_a_nat_behind_a_nat_is_as_strict_as_the_stricter(inner: NatBehaviour, outer: NatBehaviour) -> None:
    both = inner.behind(outer)
    assert both == outer.behind(inner)
    assert list(Mapping).index(both.mapping) == max(map(list(Mapping).index, (inner.mapping, outer.mapping)))
    assert list(Filtering).index(both.filtering) == max(map(list(Filtering).index, (inner.filtering, outer.filtering)))
    assert both.udp is (inner.udp and outer.udp)


def test_a_home_behind_a_carriers_nat() -> None:
    """nat-lab.md: cgnat is a port-restricted home behind a full cone."""
    home, carrier = KINDS["port-restricted"], KINDS["full-cone"]
    assert home.behind(carrier) == home
    assert home.behind(KINDS["symmetric"]) == KINDS["symmetric"]


@pytest.mark.parametrize(
    ("local", "remote", "words"),
    [
        (NatReport(udp=False), NatReport(), "UDP seems blocked on this side"),
        (NatReport(), NatReport(udp=False), "UDP seems blocked on the peer's side"),
        (NatReport(mapping=APDM), NatReport(mapping=ADM), "both NATs use a different port for every destination"),
        (NatReport(mapping=APDM), NatReport(mapping=EIM), "this side's NAT uses a different port"),
        (NatReport(mapping=EIM), NatReport(mapping=APDM), "the peer's NAT uses a different port"),
        (NatReport(mapping=EIM), NatReport(mapping=EIM), "a firewall may drop UDP"),
        (NatReport(), None, "a firewall may drop UDP"),
    ],
)
def test_a_failure_is_explained_from_both_reports(local: NatReport, remote: NatReport | None, words: str) -> None:
    sentence = explain_no_path(local, remote)
    assert words in sentence
    assert "\n" not in sentence


def test_a_report_that_knows_nothing_says_so() -> None:
    assert NatReport().model_dump(exclude_none=True) == {"notes": ()}


RANDOM, SEQUENTIAL = Allocation.RANDOM, Allocation.SEQUENTIAL
EVERY = [
    NatBehaviour(mapping, filtering, allocation=allocation)
    for mapping in Mapping
    for filtering in Filtering
    for allocation in Allocation
] + [NatBehaviour(EIM, EIF, udp=False)]
EVERY_PAIR = list(itertools.product(EVERY, repeat=2))


def test_the_method_is_plain_ice_exactly_where_plain_ice_links() -> None:
    assert all((expected_method(a, b) is Method.PLAIN_ICE) is plain_ice_links(a, b) for a, b in EVERY_PAIR)


def test_both_sides_expect_the_same_method() -> None:
    assert all(expected_method(a, b) is expected_method(b, a) for a, b in EVERY_PAIR)
    for a, b in EVERY_PAIR:
        assert expected_method(a, b, local_mapped=True) is expected_method(b, a, remote_mapped=True)
        assert expected_method(a, b, one_outer_nat=True) is expected_method(b, a, one_outer_nat=True)


def test_a_prober_is_named_exactly_where_probes_are_sent() -> None:
    probed = (Method.PREDICTION, Method.BIRTHDAY)
    assert all((verdict(a, b).prober is not None) is (verdict(a, b).method in probed) for a, b in EVERY_PAIR)


def test_a_laxer_filter_never_costs_the_direct_path() -> None:
    order = list(Filtering)
    for a, b in EVERY_PAIR:
        if expected_method(a, b) is not Method.RELAY and a.filtering is not EIF:
            laxer = replace(a, filtering=order[order.index(a.filtering) - 1])
            assert expected_method(laxer, b) is not Method.RELAY


@pytest.mark.parametrize(
    ("a", "b", "method", "prober"),
    [
        (NatBehaviour(APDM, APDF), NatBehaviour(EIM, APDF), Method.BIRTHDAY, Side.REMOTE),
        (NatBehaviour(ADM, APDF), NatBehaviour(EIM, APDF), Method.BIRTHDAY, Side.REMOTE),
        (NatBehaviour(APDM, APDF, allocation=SEQUENTIAL), NatBehaviour(EIM, APDF), Method.PREDICTION, Side.REMOTE),
        (
            NatBehaviour(APDM, APDF, allocation=SEQUENTIAL),
            NatBehaviour(APDM, APDF, allocation=SEQUENTIAL),
            Method.PREDICTION,
            Side.BOTH,
        ),
        (NatBehaviour(APDM, APDF), NatBehaviour(APDM, APDF), Method.RELAY, None),
        (NatBehaviour(APDM, APDF), NatBehaviour(APDM, APDF, allocation=SEQUENTIAL), Method.RELAY, None),
        (NatBehaviour(APDM, APDF), NatBehaviour(ADM, APDF, allocation=SEQUENTIAL), Method.BIRTHDAY, Side.REMOTE),
        (NatBehaviour(ADM, ADF), NatBehaviour(APDM, APDF), Method.BIRTHDAY, Side.REMOTE),
        (NatBehaviour(ADM, ADF), NatBehaviour(ADM, ADF), Method.BIRTHDAY, Side.LOCAL),
        (NatBehaviour(ADM, ADF), NatBehaviour(ADM, ADF, allocation=SEQUENTIAL), Method.PREDICTION, Side.LOCAL),
        (NatBehaviour(APDM, EIF), NatBehaviour(APDM, EIF), Method.RELAY, None),
    ],
)
def test_who_probes_whom(a: NatBehaviour, b: NatBehaviour, method: Method, prober: Side | None) -> None:
    assert verdict(a, b) == Verdict(method, prober)


def test_a_mapped_port_helps_whatever_the_nats_do() -> None:
    strict = NatBehaviour(APDM, APDF)
    assert expected_method(strict, strict, local_mapped=True) is Method.PORT_MAPPING
    assert expected_method(KINDS["public"], strict, remote_mapped=True) is Method.PLAIN_ICE
    blocked = NatBehaviour(EIM, EIF, udp=False)
    assert expected_method(blocked, strict, remote_mapped=True) is Method.RELAY


def test_two_behind_one_outer_nat_need_its_hairpinning() -> None:
    plain, hairpinning = NatBehaviour(EIM, APDF), NatBehaviour(EIM, APDF, hairpinning=True)
    assert expected_method(plain, plain, one_outer_nat=True) is Method.RELAY
    assert expected_method(hairpinning, plain, one_outer_nat=True) is Method.RELAY
    assert expected_method(hairpinning, hairpinning, one_outer_nat=True) is Method.PLAIN_ICE


def test_the_outer_nat_gives_the_ports_unless_it_preserves_them() -> None:
    inner = NatBehaviour(APDM, APDF, allocation=SEQUENTIAL)
    assert inner.behind(NatBehaviour(EIM, EIF, allocation=Allocation.PRESERVING)).allocation is SEQUENTIAL
    assert inner.behind(NatBehaviour(EIM, EIF, allocation=RANDOM)).allocation is RANDOM
    assert inner.behind(NatBehaviour(EIM, EIF, hairpinning=True)).hairpinning


def test_a_report_becomes_the_strictest_nat_that_it_allows() -> None:
    assert NatReport().behaviour() is None
    assert NatReport(udp=True, mapping=APDM).behaviour() == NatBehaviour(APDM, APDF, allocation=RANDOM)
    blocked = NatReport(udp=False).behaviour()
    assert blocked is not None
    assert not blocked.udp
    full = NatReport(mapping=ADM, filtering=ADF, allocation=SEQUENTIAL, hairpinning=True)
    assert full.behaviour() == NatBehaviour(ADM, ADF, allocation=SEQUENTIAL, hairpinning=True)


@pytest.mark.parametrize(
    "members",
    [{"port_block": [2, 1]}, {"last_port": 0}, {"nat_count": -1}, {"foreign_rate": "NaN"}, {"lifetime_s": -1}],
)
def test_a_report_that_makes_no_sense_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(members))):
        NatReport.model_validate(members)


def test_a_report_of_an_older_agent_is_understood() -> None:
    report = NatReport.model_validate_json('{"udp":true,"mapping":"endpoint-independent","notes":["x"]}')
    assert (report.mapping, report.probing, report.allocation) == (EIM, None, None)
