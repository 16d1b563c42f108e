"""core.proxies: which proxy, if any, leads to a server."""

from __future__ import annotations

import pytest

from visavis_peer.core.signaling.proxies import InvalidProxy, is_exempt, parse_proxy, proxy_of_environment


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://user:pass@proxy.example", "http://proxy.example:80"),
        ("https://proxy.example", "https://proxy.example:443"),
        ("SOCKS5H://192.0.2.1", "socks5://192.0.2.1:1080"),
        ("socks5://u:p@[2001:db8::1]:9", "socks5://[2001:db8::1]:9"),
    ],
)
def test_a_proxy_is_read_as_curl_reads_it_and_shown_without_its_password(text: str, shown: str) -> None:
    proxy = parse_proxy(text)
    assert str(proxy) == shown
    assert "pass" not in repr(proxy)
    assert proxy.resolves_names


def test_a_login_is_decoded() -> None:
    proxy = parse_proxy("http://us%40er:p%3Aw@h:1")
    assert (proxy.user, proxy.password) == ("us@er", "p:w")
    assert parse_proxy("socks4://h").resolves_names is False


@pytest.mark.parametrize(
    "text", ["ftp://secret@h", "http://", "http://h:0", "http://h:99999", "http://[::1", "secret h:1", "h:secret"]
)
def test_what_is_no_proxy_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidProxy) as caught:
        parse_proxy(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "environment", "value"),
    [
        ("http://h", {"HTTP_PROXY": "a", "HTTPS_PROXY": "b"}, "a"),
        ("wss://h", {"HTTP_PROXY": "a", "HTTPS_PROXY": "b"}, "b"),
        ("ws://h", {"ALL_PROXY": "c", "HTTPS_PROXY": "b"}, "c"),
        ("192.168.1.2:8080", {"http_proxy": "d", "HTTP_PROXY": "a"}, "d"),
        ("h:8080", {"https_proxy": "a", "http_proxy": "b"}, "a"),
        ("http://h", {"http_proxy": "", "HTTP_PROXY": "a"}, None),
        ("http://h", {"HTTP_PROXY": "a", "REQUEST_METHOD": "GET"}, None),
        ("http://h.example", {"HTTP_PROXY": "a", "NO_PROXY": "example"}, None),
        ("http://h", {}, None),
    ],
)
def test_the_environment_names_a_proxy_by_scheme(server: str, environment: dict[str, str], value: str | None) -> None:
    found = proxy_of_environment(server, environment)
    assert (found[1] if found else None) == value


@pytest.mark.parametrize(
    ("host", "no_proxy", "exempt"),
    [
        ("a.example.org", "example.org", True),
        ("a.example.org", ".example.org", True),
        ("example.org", ".example.org", True),
        ("a.example.org", "*.example.org", True),
        ("anexample.org", "example.org", False),
        ("a.example.org", "x, EXAMPLE.org:80", True),
        ("a.example.org", "example.org:81", False),
        ("anything", "*", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3:80", True),
        ("10.1.2.3", "2.3", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "[2001:db8::1]:80", True),
        ("2001:db8::1", "[2001:db8::1]:81", False),
        ("h", "", False),
    ],
)
def test_no_proxy_takes_names_suffixes_addresses_and_networks(host: str, no_proxy: str, exempt: bool) -> None:
    assert is_exempt(host, 80, no_proxy) is exempt
