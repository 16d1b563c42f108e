"""The URLs of a signaling server: as people give them, as they are asked, and as they may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from visavis_peer.core.signaling.proxies import InvalidProxy, Proxy, parse_proxy
from visavis_peer.core.signaling.schemes import with_scheme
from visavis_peer.errors import UsageError
from visavis_shared import headers


def websocket_url(server: str) -> str:
    """Return the WebSocket URL of a server given as http(s) or ws(s) URL, with a path prefix if need be.

    Without a scheme `with_scheme` says which is meant.

    Raises UsageError.
    """
    try:
        parts = urlsplit(with_scheme(server))
        scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
        valid = scheme is not None and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        shown = without_login(server)
        raise UsageError(f"server {shown!r} is not a URL such as https://host.example or http://192.0.2.1:8080")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme or "", parts.netloc, path if path.endswith("/ws") else f"{path}/ws", parts.query, ""))


def base_url(websocket: str) -> str:
    """Return the URL that people know a server by, for an invite: http(s), without `/ws`, user and password."""
    parts = urlsplit(websocket)
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    return urlunsplit((scheme, parts.netloc.rpartition("@")[2], parts.path.removesuffix("/ws"), "", ""))


def without_login(url: str) -> str:
    """Return a URL, or what was meant to be one, without a user name and a password: what may be shown."""
    scheme, slashes, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


def relay_url(websocket: str) -> str:
    """Return the URL of the relay that stands beside a server's WebSocket URL."""
    parts = urlsplit(websocket)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix("/ws") + "/relay", parts.query, ""))


def chosen_proxy(text: str | None) -> Proxy | None:
    """Return the proxy of a setting.

    Raises UsageError, without repeating the setting: it may hold a password.
    """
    if text is None:
        return None
    try:
        return parse_proxy(text)
    except InvalidProxy as error:
        raise UsageError(f"proxy: {error}") from None


def token_headers(url: str, token: str | None) -> dict[str, str]:
    """Return the headers that show `token` to the server, beside the login that `url` may have."""
    if token is None:
        return {}
    return {headers.TOKEN: token} if "@" in urlsplit(url).netloc else {"Authorization": f"Bearer {token}"}
