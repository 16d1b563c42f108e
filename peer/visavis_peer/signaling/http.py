"""HTTP sessions of this agent: through a proxy where one is set, never redirected elsewhere; failures in words."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from visavis_peer.core.signaling.answers import shown_location, stays_at_home
from visavis_peer.core.signaling.proxies import Proxy
from visavis_shared.errors import VisavisError
from visavis_shared.ids import printable
from visavis_shared.threads import look_up

if TYPE_CHECKING:  # it brings aioice, which nobody needs before there is a peer
    from visavis_shared.stun import Address

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for TCP, TLS, an upgrade and the welcome: six round trips even where one takes a second."""
_CERTIFICATE: Final = {
    9: "its certificate is not valid yet, or this machine's clock is wrong: it says {now}",
    10: "its certificate has expired, or this machine's clock is wrong: it says {now}",
    18: "its certificate is self-signed, so anybody could have made it; SSL_CERT_FILE=FILE trusts one of your own",
    19: "its certificate was not issued by an authority this machine trusts; SSL_CERT_FILE=FILE trusts one of your own",
    20: "its certificate was not issued by an authority this machine trusts; SSL_CERT_FILE=FILE trusts one of your own",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
"""By OpenSSL's X509_V_ERR numbers (x509_vfy.h)."""
_WHOSE_PORT: Final = "is that visavis-server's port?"
_CUT: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_TLS_ALERT: Final = re.compile(r"b['\"]\\x15\\x03")
"""The first bytes of an alert (RFC 8446 section 5.1), in what aiohttp says of a line that it cannot read."""


class ProxyRefused(VisavisError, OSError):
    """The proxy makes no connection; the text says why."""


class RedirectedElsewhere(VisavisError, OSError):
    """The answer is a redirect to another origin, which nobody follows."""


class _Resolver(AbstractResolver):
    """Looks names up so that one which gets no answer keeps nothing from ending; `may_ask` says where one may lead."""

    def __init__(self, may_ask: Callable[[Address], bool]) -> None:
        self._may_ask = may_ask

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See AbstractResolver."""
        flags = getattr(socket, "AI_ADDRCONFIG", 0)
        found = await look_up(host, port, kind=socket.SOCK_STREAM, family=family, flags=flags)
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        results = [
            ResolveResult(
                hostname=host, host=_numeric_host(address), port=port, family=each, proto=proto, flags=numeric
            )
            for each, _, proto, _, address in found
        ]
        allowed = [each for each in results if self._may_ask((each["host"], port))]
        if results and not allowed:
            raise OSError(errno.EACCES, "it leads to this machine or beside it, and the server that names it is not")
        return allowed

    async def close(self) -> None:
        """See AbstractResolver."""


def _numeric_host(address: tuple[Any, ...]) -> str:
    """Return the host of a socket address, with the interface of a link-local one."""
    host, scope = str(address[0]), address[3] if len(address) > 3 else 0
    return host if not scope or "%" in host else f"{host}%{scope}"


def open_http(
    proxy: Proxy | None,
    on_sent: Callable[[], None] | None = None,
    may_ask: Callable[[Address], bool] = lambda _: True,
) -> aiohttp.ClientSession:
    """Return a session; through `proxy`, whose library is not imported without one.

    `on_sent` is called when the head of a request has been sent. Without a proxy, `may_ask` says to which of the
    addresses of a name requests may go.

    Requests raise what aiohttp raises, ProxyRefused, RedirectedElsewhere, and ValueError for an impossible URL.
    """
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_check_redirect)
    if on_sent is not None:

        async def tell(*_: object) -> None:
            on_sent()

        tracing.on_request_headers_sent.append(tell)
    connector = aiohttp.TCPConnector(resolver=_Resolver(may_ask)) if proxy is None else _connector(proxy)
    return aiohttp.ClientSession(connector=connector, trace_configs=[tracing])


async def _check_redirect(
    _: aiohttp.ClientSession, __: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    url, headers = str(redirect.url), redirect.response.headers
    location = headers.get("Location") or headers.get("URI") or ""
    if not stays_at_home(url, location):
        redirect.response.close()
        raise RedirectedElsewhere(
            f"the answer redirects to {shown_location(url, location)}, which is not followed: use that address if it"
            " is the right one, or log in to this network if you do not know it"
        )


def _connector(proxy: Proxy) -> aiohttp.TCPConnector:
    # where there is a proxy only
    from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType

    class Connector(ProxyConnector):
        """Raises what the callers of aiohttp expect."""

        async def connect(self, *arguments: Any, **more: Any) -> Any:
            # its library asks the loop's resolver, which answers at once what has just been asked, or at all
            for host in (proxy.host, *([] if proxy.resolves_names else [arguments[0].url.host])):
                await look_up(host, 0, kind=socket.SOCK_STREAM)
            try:
                return await super().connect(*arguments, **more)
            except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
                raise ProxyRefused(_refusal(proxy, error)) from error

    kind = {"http": ProxyType.HTTP, "https": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}
    return Connector(
        proxy.host,
        proxy.port,
        kind[proxy.scheme],
        proxy.user,
        proxy.password,
        rdns=proxy.resolves_names,
        proxy_ssl=ssl.create_default_context() if proxy.scheme == "https" else None,
    )


def _refusal(proxy: Proxy, error: Exception) -> str:
    if error.__cause__ is not None and isinstance(error.__cause__.__cause__, OSError):
        return f"the proxy itself cannot be reached ({_strerror(error.__cause__.__cause__)})"
    code = getattr(error, "error_code", None)
    said = printable(str(error)) or "no reason given"
    if proxy.scheme.startswith("http") and code in (401, 407):  # tinyproxy says 401
        said += ": it asks for a user name and a password (http://USER:PASSWORD@HOST:PORT)"
    elif proxy.scheme.startswith("http") and code == 403:
        said += ": it does not allow this host or port"
    return f"the proxy refuses the connection ({said})"


def describe_opening(error: BaseException) -> str:
    """Return in words why a request has got no answer: somebody else may listen there."""
    if isinstance(error, aiohttp.ClientResponseError):  # what came could not be read as HTTP
        if _TLS_ALERT.search(error.message):
            return "it answers with TLS: should its address be https:// and not http://?"
        return f"what listens there does not speak HTTP: {_WHOSE_PORT}"
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ConnectionResetError | BrokenPipeError) or getattr(cause, "errno", None) in _CUT:
        # also what aiohttp says when a greeting has come before its request was sent
        return f"what listens there does not speak HTTP, or something on the way cuts the connection: {_WHOSE_PORT}"
    return describe(error)


def describe(error: BaseException) -> str:
    """Return in words why a connection did not come about."""
    certificate = getattr(error, "certificate_error", error)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        known = _CERTIFICATE.get(certificate.verify_code)
        text = known or f"its certificate is not accepted: {certificate.verify_message}"
        return text.format(now=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        if "WRONG_VERSION_NUMBER" in str(error) or "HTTP_REQUEST" in str(error):
            return f"it answers, but without TLS: should its address be http:// and not https://, and {_WHOSE_PORT}"
        return f"the TLS handshake failed: {printable(str(error))}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"its name cannot be looked up ({_strerror(error.os_error)}): no network, or a mistake in the name"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ProxyRefused | RedirectedElsewhere):
        return str(error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return (
            "the connection was closed without an answer: perhaps a firewall cuts it, or the address should be https://,"
            f" or it is another service: {_WHOSE_PORT}"
        )
    if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
        return "nothing listens there (connection refused): is the server running, and on this port?"
    if isinstance(error, OSError):
        return _strerror(error)
    return printable(str(error)) or type(error).__name__


def _strerror(error: OSError) -> str:
    if error.errno is not None and (error.strerror or "").startswith("Connect call failed"):
        return os.strerror(error.errno)  # asyncio has put the address in the place of the reason
    return printable(error.strerror or str(error) or type(error).__name__)
