"""HTTP to the home gateway and to nobody else, whatever its UPnP descriptions say: it may be hostile, or taken over."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Final

import aiohttp
from async_upnp_client.client import UpnpRequester
from async_upnp_client.const import HttpRequest, HttpResponse
from async_upnp_client.exceptions import UpnpError

from visavis_shared.errors import VisavisError

ANSWER_SIZE: Final = 64 << 10
"""Bytes of one answer at most: descriptions of real gateways have 2 to 20 KiB."""
REQUEST_COUNT: Final = 16
"""Requests for one purpose at most: a description, that of each of its few services, and four for a mapping."""
_CHUNK: Final = 8 << 10


class GatewayMisbehaves(VisavisError, UpnpError):
    """The gateway does what no gateway has to do; the text says what."""


class GatewayRequester(UpnpRequester):
    """Makes the requests of async-upnp-client, if they go to the gateway's own address by plain HTTP.

    No redirects, no decompression, no proxy, no cookies; an answer of ANSWER_SIZE at most, within `timeout` seconds.
    """

    def __init__(self, gateway: str, timeout: float) -> None:
        """`gateway` is a numeric IPv4 address."""
        self.left = REQUEST_COUNT
        """Requests that may still be made; whoever begins something new sets it."""
        self._own = re.compile(rf"http://{re.escape(gateway)}(?::[0-9]{{1,5}})?(?:/[!-~]*)?")
        self._timeout = timeout

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        """Make a request.

        Raises GatewayMisbehaves, or UpnpError where there is no answer.
        """
        url = http_request.url
        if not self._own.fullmatch(url) or "\\" in url:
            raise GatewayMisbehaves("it gives an address other than its own, which is not used")
        if self.left <= 0:
            raise GatewayMisbehaves(f"it describes more than {REQUEST_COUNT} things")
        self.left -= 1
        try:
            async with asyncio.timeout(self._timeout), self._session() as session:
                return await self._exchange(session, http_request)
        except TimeoutError:
            raise UpnpError(f"no answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpnpError(f"no valid HTTP answer ({type(error).__name__})") from error

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())

    async def _exchange(self, session: aiohttp.ClientSession, request: HttpRequest) -> HttpResponse:
        headers = {**request.headers, "Accept-Encoding": "identity"}
        async with session.request(
            request.method, request.url, headers=headers, data=request.body, allow_redirects=False
        ) as response:
            if 300 <= response.status < 400:
                raise GatewayMisbehaves(f"it redirects (HTTP {response.status}): not followed")
            if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
                raise GatewayMisbehaves("it compresses an answer without being asked to")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > ANSWER_SIZE:
                    raise GatewayMisbehaves(f"it answers with more than {ANSWER_SIZE >> 10} KiB")
            text = body.decode(errors="replace")
            if response.status == HTTPStatus.OK and ("<!DOCTYPE" in text or "<!ENTITY" in text):
                raise GatewayMisbehaves("it sends XML with a document type, which may hold entities")
            return HttpResponse(response.status, response.headers, text)
