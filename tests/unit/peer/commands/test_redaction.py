"""core.redaction: nothing that tells where somebody is gets out, and equal things stay equal."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.commands.redaction import Redactor


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("8.8.8.8:3478 and 8.8.8.8", "[public IPv4 1]:3478 and [public IPv4 1]"),
        ("192.168.1.1 is seen as 8.8.4.4:9", "[private IPv4 1] is seen as [public IPv4 1]:9"),
        (
            "100.64.0.9 and 127.0.0.1 and 169.254.1.1",
            "[carrier's IPv4 1] and [loopback IPv4 1] and [link-local IPv4 1]",
        ),
        ("[2606:4700::1]:53 and 2606:4700:0:0::1", "[public IPv6 1]:53 and [public IPv6 1]"),
        ("fe80::1 fd00::1 ::1", "[link-local IPv6 1] [private IPv6 1] [loopback IPv6 1]"),
        ("skipped eth0 fe80::fc:ff:fe00:1: link-local", "skipped eth0 [link-local IPv6 1]: link-local"),
        (
            "[fe80::1%eth0]:80, fe80::1%25eth0 and fe80::1%wlan0.",
            "[link-local IPv6 1]:80, [link-local IPv6 1] and [link-local IPv6 1]",
        ),
        ("::ffff:8.8.8.8 is 8.8.8.8. Not ::ffff:a00:1", "[public IPv4 1] is [public IPv4 1]. Not [private IPv4 1]"),
        ("to:8.8.8.8, by:::1, from:fe80::1", "to:[public IPv4 1], by:[loopback IPv6 1], from:[link-local IPv6 1]"),
        ("010.000.0.01 or 10.0.0.1", "[private IPv4 1] or [private IPv4 1]"),
        ("02:42:AC:11:00:02 is 02-42-ac-11-00-02: 0242.ac11.0002", "[MAC 1] is [MAC 2]: [MAC 3]"),
        ("02:42:ac:ff:fe:11:00:02 on enx0242ac110002 and wlx0242AC110003", "[MAC 1] on enx[MAC 2] and wlx[MAC 3]"),
        ("http://eve:pass@host/ and //a@b", "http://[user]@host/ and //a@b"),
        ("std::cafe at 10:20 to 11:30, face: none", "std::cafe at 10:20 to 11:30, face: none"),
        (f"{':' * 4000}8.8.8.8 is too much", "[something long] is too much"),
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
    assert redactor.scrub("HOST.example. of ghost.example") == "[host 1]. of ghost.example"


def test_names_of_a_machine_and_its_user_go_as_words() -> None:
    redactor = Redactor()
    for host in ("attic", "attic.example", ""):
        redactor.hide_host(host)
    redactor.hide_user("ann")
    assert (
        redactor.scrub("Attic.example: /home/ann/x of ATTIC, not annual")
        == "[host 2]: /home/[user 1]/x of [host 1], not annual"
    )


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.sampled_from(
        [
            "{}",
            "[{}]:80",
            "<{}>",
            "a {} b",
            "({},",
            "{}: link-local",
            "at {}.",
            "to:{}",
            "{}%eth0",
            "[{}%25e-0]:8",
            "x={};",
            "{}/64",
        ]
    ),
)
def test_every_address_in_every_place_goes(address: ipaddress.IPv4Address | ipaddress.IPv6Address, place: str) -> None:
    for written in (str(address), address.exploded):
        scrubbed = Redactor().scrub(place.format(written))
        assert written not in scrubbed
        assert scrubbed.count("IPv") == 1
