"""core.signaling.schemes: http for this machine and private addresses, https for the rest."""

from __future__ import annotations

import pytest

from visavis_peer.core.signaling.schemes import with_scheme


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("host.example", "https://host.example"),
        ("host.example:8080/a", "https://host.example:8080/a"),
        ("//host.example", "https://host.example"),
        ("203.0.113.7:8080", "https://203.0.113.7:8080"),
        ("[2001:db8::1]:8080", "https://[2001:db8::1]:8080"),
        ("localhost", "http://localhost"),
        ("LOCALHOST.:1", "http://LOCALHOST.:1"),
        ("app.localhost", "http://app.localhost"),
        ("notlocalhost", "https://notlocalhost"),
        ("127.3.2.1", "http://127.3.2.1"),
        ("192.168.1.4:80", "http://192.168.1.4:80"),
        ("172.31.255.1", "http://172.31.255.1"),
        ("172.32.0.1", "https://172.32.0.1"),
        ("[::1]:80", "http://[::1]:80"),
        ("[fe80::1]", "http://[fe80::1]"),
        ("[fd00::1]", "http://[fd00::1]"),
        ("[broken", "https://[broken"),
        ("", "https://"),
        ("ws://192.0.2.1", "ws://192.0.2.1"),
        ("http://host.example", "http://host.example"),
    ],
)
def test_a_server_without_a_scheme(server: str, url: str) -> None:
    assert with_scheme(server) == url
