"""nat: the oracle against the measured table of nat-lab.md section 2, and the words for a failure."""

from __future__ import annotations

import itertools
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_shared.nat import Filtering, Mapping, NatBehaviour, NatReport, explain_no_path, plain_ice_links

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
        (NatReport(mapping=APDM), NatReport(mapping=ADM), "both NATs map every destination to a port of its own"),
        (NatReport(mapping=APDM), NatReport(mapping=EIM), "this side's NAT maps every destination"),
        (NatReport(mapping=EIM), NatReport(mapping=APDM), "the peer's NAT maps every destination"),
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
