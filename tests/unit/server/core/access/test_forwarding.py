"""core.access.forwarding: headers lie."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.access.forwarding import client_address, is_host_allowed, is_origin_allowed

PROXIES = tuple(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"))


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        # nobody whom we trust is in between: the header is the client's own invention
        ("198.51.100.1", ["192.0.2.1"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        # what the client itself had put in stands to the left
        ("10.0.0.1", ["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.9", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("2001:db8:1::5", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        # all are ours: the leftmost is the client
        ("10.0.0.1", ["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        ("10.0.0.1", ["192.0.2.1:evil"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711:evil"], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1" + ", 10.0.0.2" * 15], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1" + ", 10.0.0.2" * 16], "10.0.0.2"),
        ("not an address", ["192.0.2.1"], "not an address"),
    ],
)
def test_the_rightmost_hop_that_is_not_ours_is_the_client(peer: str, header: list[str], expected: str) -> None:
    assert client_address(peer, header, PROXIES) == expected


@given(st.lists(st.text(max_size=60), max_size=4))
def test_whatever_a_stranger_writes_it_stays_itself(header: list[str]) -> None:
    assert client_address("198.51.100.1", header, PROXIES) == "198.51.100.1"


@given(st.lists(st.text(max_size=60), max_size=4))
def test_no_header_makes_it_fail(header: list[str]) -> None:
    client_address("10.0.0.1", header, PROXIES)


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("anything", [], True),
        ("signal.example.org", ["signal.example.org"], True),
        ("SIGNAL.example.org:8080", ["signal.example.org"], True),
        ("signal.example.org.", ["signal.example.org"], True),
        ("evil.example", ["signal.example.org"], False),
        ("a.example.org", ["*.example.org"], True),
        ("example.org", ["*.example.org"], False),
        (".example.org", ["*.example.org"], False),
        ("evilexample.org", ["*.example.org"], False),
        ("192.0.2.1:80", ["192.0.2.1"], True),
        ("[2001:db8::1]:80", ["[2001:db8::1]"], True),
        ("[2001:db8::1]", ["2001:db8::1"], True),
        ("", ["a"], False),
        ("[", ["a"], False),
        ("a:80:evil", ["a"], False),
        ("a:x", ["a"], False),
        ("a:65536", ["a"], False),
        ("a:", ["a"], True),
        ("a..", ["a"], False),
        ("a/evil", ["a"], False),
        ("a?evil", ["a"], False),
        ("a#evil", ["a"], False),
        ("evil@a", ["a"], False),
        ("a\t", ["a"], False),
        ("a, evil", ["a"], False),
        ("[2001:db8::1]evil", ["2001:db8::1"], False),
        ("[2001:db8::1", ["2001:db8::1"], False),
        ("a:\u0661", ["a"], False),
        ("a@signal.example.org", ["a"], False),
    ],
)
def test_hosts(host: str, allowed: list[str], expected: bool) -> None:
    assert is_host_allowed(host, allowed) is expected


@pytest.mark.parametrize(
    ("origin", "allowed", "expected"),
    [
        (None, ["https://app.example.org"], True),
        ("https://evil.example", [], True),
        ("https://app.example.org", ["https://app.example.org"], True),
        ("https://APP.example.org", ["https://app.example.org/"], True),
        ("http://app.example.org", ["https://app.example.org"], False),
        ("https://app.example.org:444", ["https://app.example.org"], False),
        ("https://app.example.org.evil.example", ["https://app.example.org"], False),
        ("null", ["https://app.example.org"], False),
        ("", ["https://app.example.org"], False),
        ("https://evil.example", ["https://a.example", "*"], True),
    ],
)
def test_origins(origin: str | None, allowed: list[str], expected: bool) -> None:
    assert is_origin_allowed(origin, allowed) is expected
