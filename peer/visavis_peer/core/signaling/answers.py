"""What an HTTP answer means that came in the place of an open WebSocket: the likely cause, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

from visavis_shared.ids import printable

LOCATION_LENGTH: Final = 200
"""Characters of a redirect's target that are shown."""
_PORTS: Final = {"http": 80, "https": 443}
_AMBIGUOUS: Final = frozenset("\\@ ")
"""Characters that readers of URLs take in different ways; whoever follows the redirect may not read it as we do."""
_GATEWAY: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT, 520, 521, 522, 523, 524, 530})
"""What a proxy in front says of a server that it does not reach; from 520 Cloudflare's own."""
_NO_UPGRADE: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UPGRADE_REQUIRED, HTTPStatus.NOT_IMPLEMENTED})


def likely_cause(status: int, headers: Mapping[str, str], *, login: bool, token: bool) -> str:
    """Return why there is no WebSocket, as the end of a sentence; empty where the number says all there is.

    `headers` are looked up by their usual spelling, `login` tells whether a user name and a password have been shown,
    `token` whether a token has.
    """
    is_page = headers.get("Content-Type", "").strip().lower().startswith("text/html")
    if status == HTTPStatus.UNAUTHORIZED:
        return _who_asks(headers.get("WWW-Authenticate", ""), login=login, token=token)
    if 200 <= status < 300:
        what = "a web page" if is_page else "something"
        return (
            f"{what} of somebody else's: a network that wants a log-in first (open any page in a browser), or an"
            " address that is not that of a visavis server"
        )
    if status in _NO_UPGRADE:
        # ours says which version of WebSocket it takes (RFC 6455 section 4.4), whatever stripped the rest
        return "a proxy on the way, or in front of the server, seems not to pass the WebSocket upgrade"
    if status in _GATEWAY:
        return "a proxy in front does not reach the server, which may be down or starting"
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE):
        return "there is no visavis server under this path; does its address have a path prefix?"
    if status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED:
        return "this network wants a log-in first (open any page in a browser)"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "a proxy on the way asks for a user name and a password (--proxy http://USER:PASSWORD@HOST:PORT)"
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        return "a proxy on the way has damaged the WebSocket upgrade"
    return ""


def _who_asks(challenge: str, *, login: bool, token: bool) -> str:
    if challenge.strip().lower().startswith("bearer"):
        return "the token is not valid" if token else "it asks for a token (--token)"
    if login:
        return "a proxy in front of the server does not take this user name and password"
    return "a proxy in front of the server asks for a user name and a password (--server https://USER:PASSWORD@HOST)"


def stays_at_home(url: str, location: str) -> bool:
    """Return whether a redirect from `url` leads to the same origin, or to the same host by https on its usual port."""
    location = location.strip()
    if not location.isprintable() or set(location) & _AMBIGUOUS:
        return False
    try:
        here, there = _origin(url), _origin(urljoin(_as_http(url), location))
    except ValueError:
        return False
    if here is None or there is None:
        return False
    return there == here or (here[0] == "http" and there == ("https", here[1], 443))


def shown_location(url: str, location: str) -> str:
    """Return where a redirect points, for a message: host and path only, what is behind them may be secret."""
    try:
        parts = urlsplit(urljoin(_as_http(url), location.strip()))
        text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        text = location
    return printable(text[:LOCATION_LENGTH])


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(_as_http(url))
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname.rstrip("."), port) if parts.hostname and port else None


def _as_http(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    return {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme.lower()) + colon + rest
