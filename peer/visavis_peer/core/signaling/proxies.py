"""Which proxy leads to a server: what `--proxy` and the environment say, as curl reads them.

HTTP and HTTPS proxies are asked for a tunnel by CONNECT (RFC 9110 section 9.3.6), which carries `ws` as well as `wss`
(RFC 6455 section 4.1); SOCKS5 is RFC 1928 with the login of RFC 1929. Only TCP passes: no STUN, no direct path.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from visavis_peer.core.signaling.schemes import with_scheme
from visavis_shared.errors import VisavisError

PORTS: Final[dict[str, int]] = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}
"""Ports by scheme where a proxy's URL has none, curl's; RFC 1928 section 3 has that of SOCKS."""
Scheme = Literal["http", "https", "socks4", "socks5"]
_KINDS: Final[dict[str, Scheme]] = {
    "http": "http",
    "https": "https",
    "socks4": "socks4",
    "socks4a": "socks4",
    "socks5": "socks5",
    "socks5h": "socks5",
}
NO_PROXY_AT_ALL: Final = "none"
"""What `--proxy` takes to leave the environment's proxies alone."""


class InvalidProxy(VisavisError):
    """A text that names no proxy; the message never repeats it, for it may hold a password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; printing it shows neither user nor password."""

    scheme: Scheme
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    resolves_names: bool = True
    """Whether the proxy is told names; else this machine looks them up (`socks4`)."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """Read a proxy's URL: `[SCHEME://][USER:PASSWORD@]HOST[:PORT]`, by default HTTP.

    A SOCKS5 proxy is always told the name, not the address: behind a proxy there is often nobody else who knows it.
    Raises InvalidProxy.
    """
    text = text.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidProxy("it is not a URL such as http://proxy.example:3128 or socks5h://192.0.2.1:1080") from None
    default = PORTS.get(parts.scheme)
    if default is None:
        raise InvalidProxy(f"its scheme must be one of {', '.join(PORTS)}")
    if not host or port == 0 or any(not each.isprintable() or each.isspace() for each in text):
        raise InvalidProxy("it is not a URL such as http://proxy.example:3128 or socks5h://192.0.2.1:1080")
    scheme = _KINDS[parts.scheme]
    user = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "") if user is not None else None
    return Proxy(scheme, host, port or default, user, password, resolves_names=parts.scheme != "socks4")


def proxy_of_environment(server: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that names a proxy for the URL `server`, and its value; None where none is to be used.

    HTTPS_PROXY is for https and wss, HTTP_PROXY for http and ws, ALL_PROXY for both; small letters count before capital
    ones, and NO_PROXY before all.
    """
    try:
        parts = urlsplit(with_scheme(server))
    except ValueError:
        return None  # no URL: whoever uses it says so
    secure = parts.scheme in ("https", "wss")
    if _is_exempt(parts, _first(environment, "no_proxy") or ("", "")):
        return None
    own = "https_proxy" if secure else "http_proxy"
    if own == "http_proxy" and "REQUEST_METHOD" in environment:
        # in a CGI program that is what a client has sent as a header `Proxy` (CVE-2016-5385)
        environment = {name: value for name, value in environment.items() if name != "HTTP_PROXY"}
    return _first(environment, own) or _first(environment, "all_proxy")


def _first(environment: Mapping[str, str], name: str) -> tuple[str, str] | None:
    for each in (name, name.upper()):
        if each in environment:  # an empty one of small letters hides that of capital ones, as in curl
            return (each, environment[each]) if environment[each].strip() else None
    return None


def _is_exempt(server: SplitResult, no_proxy: tuple[str, str]) -> bool:
    try:
        host, port = (server.hostname or "").rstrip("."), server.port
    except ValueError:
        return False  # no URL: whoever uses it says so
    return is_exempt(host, port or (443 if server.scheme in ("https", "wss") else 80), no_proxy[1])


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Return whether a NO_PROXY list names a host: `*`, names, `.suffixes`, addresses, CIDR; each with `:port` or not.

    A name stands for what is below it, too.
    """
    address = _address(host)
    for entry, entry_port in _entries(no_proxy):
        if entry_port not in (None, port):
            continue
        if entry == "*":
            return True
        network = _network(entry)
        if address is not None and network is not None and address.version == network.version and address in network:
            return True
        suffix = entry.removeprefix("*").strip(".")
        if address is None and suffix and (host == suffix or host.endswith(f".{suffix}")):
            return True
    return False


def _entries(no_proxy: str) -> Iterator[tuple[str, int | None]]:
    for text in no_proxy.lower().replace(",", " ").split():
        entry, colon, port = text.rpartition(":")
        if colon and port.isdecimal() and (":" not in entry or entry.endswith("]")):
            yield entry.strip("[]"), int(port)
        else:
            yield text.strip("[]"), None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
