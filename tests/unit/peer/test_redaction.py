"""core.redaction: nothing that tells where somebody is gets out, and equal things stay equal."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.redaction import Redactor


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("8.8.8.8:3478 and 8.8.8.8", "[public IPv4 1]:3478 and [public IPv4 1]"),
        ("192.168.1.1 is seen as 8.8.4.4:9", "[private IPv4 1] is seen as [public IPv4 1]:9"),
        (
            "100.64.0.9 and 127.0.0.1 and 169.254.1.1",
            "[carrier's IPv4 1] and [loopback IPv4 1] and [link-local IPv4 1]",
        ),
        ("[2606:4700::1]:53 and 2606:4700:0:0::1", "[[public IPv6 1]]:53 and [public IPv6 1]"),
        ("fe80::1 fd00::1 ::1", "[link-local IPv6 1] [private IPv6 1] [loopback IPv6 1]"),
        ("at 12:30:05, version 0.1.0, 1.2.3.4.5, 300.1.1.1", "at 12:30:05, version 0.1.0, 1.2.3.4.5, 300.1.1.1"),
    ],
)
def test_addresses_go_and_what_only_looks_like_one_stays(text: str, scrubbed: str) -> None:
    assert Redactor().scrub(text) == scrubbed


def test_hidden_names_go_everywhere() -> None:
    redactor = Redactor()
    redactor.hide_host("host.example")
    redactor.hide_host("8.8.8.8")
    value = {"host.example": ["ws://host.example/ws", 5, None, ("8.8.8.8",)]}
    assert redactor.scrub_all(value) == {"host.example": ["ws://[host 1]/ws", 5, None, ["[public IPv4 1]"]]}


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.sampled_from(["{}", "[{}]:80", "<{}>", "a {} b", "({},"])
)
def test_every_address_in_every_place_goes(address: ipaddress.IPv4Address | ipaddress.IPv6Address, place: str) -> None:
    for written in (str(address), address.exploded):
        assert written not in Redactor().scrub(place.format(written))
