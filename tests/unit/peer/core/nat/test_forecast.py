"""core.forecast: what one report lets expect of the usual partners."""

from __future__ import annotations

import pytest

from visavis_peer.core.nat.forecast import IN_WORDS, PARTNERS, conclusion, forecast
from visavis_peer.core.nat.observations import NOBODY_ASKED, ONE_ADDRESS
from visavis_shared.nat import Allocation, Filtering, Mapping, Method, NatReport

HOME = NatReport(
    udp=True, mapping=Mapping.ENDPOINT_INDEPENDENT, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT, probing=True
)


def dependent(allocation: Allocation, *, probing: bool = True) -> NatReport:
    mapping = Mapping.ADDRESS_AND_PORT_DEPENDENT
    return NatReport(udp=True, mapping=mapping, allocation=allocation, allocation_step=1, probing=probing)


@pytest.mark.parametrize(
    ("report", "methods"),
    [
        (HOME, "plain_ice plain_ice prediction birthday relay"),
        (dependent(Allocation.RANDOM), "plain_ice birthday relay relay relay"),
        (dependent(Allocation.SEQUENTIAL), "plain_ice prediction prediction relay relay"),
        (dependent(Allocation.SEQUENTIAL, probing=False), "plain_ice relay relay relay relay"),
        (NatReport(udp=False), "relay relay relay relay relay"),
    ],
)
def test_each_partner_has_its_method(report: NatReport, methods: str) -> None:
    expected = forecast(report)
    assert expected is not None
    assert list(expected) == list(PARTNERS)
    assert list(expected.values()) == methods.split()
    assert all(IN_WORDS[method] for method in expected.values())


def test_nothing_is_forecast_of_an_unknown_nat() -> None:
    assert forecast(NatReport()) is None
    assert "too little" in conclusion(NatReport())
    assert "no STUN server to ask" in conclusion(NatReport(notes=(NOBODY_ASKED,)))


def test_one_server_address_and_no_nat_are_enough_to_draw_a_conclusion() -> None:
    seen_by_one = NatReport(udp=True, nat=True, notes=(ONE_ADDRESS,))
    assert (forecast(seen_by_one) or {})["a home router or firewall"] is Method.PLAIN_ICE
    assert conclusion(seen_by_one).startswith("as far as one server address can tell, direct links to most peers")
    public = NatReport(udp=True, nat=False, notes=(ONE_ADDRESS,))
    assert conclusion(public).startswith("direct links to")
    assert conclusion(public, inside=True).startswith("the server is in this machine's own network")


def test_the_conclusion_names_whom_only_the_relay_reaches() -> None:
    assert Method.RELAY not in list((forecast(HOME) or {}).values())[:-1]
    assert conclusion(HOME) == "direct links to every peer whose network lets UDP through"
    assert conclusion(dependent(Allocation.RANDOM)).endswith("sequential ports or a NAT with random ports")
    assert "UDP does not get out" in conclusion(NatReport(udp=False))
