"""HTTP connections whose clients' faults are answered and counted, and never fill the log.

aiohttp writes a traceback, with the client's address, for every request that it cannot parse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from aiohttp import http_exceptions as faults
from aiohttp import web

from visavis_server.sockets.answers import LargeAnswer
from visavis_server.sockets.rest import refusal


class Fault(StrEnum):
    """What is wrong with what a client has sent, as the log names it."""

    REQUEST_LINE = "no request line of HTTP"
    TARGET = "a request target that is no URL"
    SIZE = "a request line, or headers, beyond what is read"
    BODY = "a body that is not what its headers say"
    HEADER = "malformed headers"
    UNREAD = "an answer that nobody reads"


ANSWER_TIMEOUT: Final = 20.0
"""Seconds in which a client has to read an answer: 6 MB, the list of 10,000 rooms, at 2.4 Mbit/s."""
OnFault = Callable[[web.BaseRequest, Fault], None]
"""Told of each malformed request. The request itself is made up: only its connection is known."""
OnBug = Callable[[BaseException | None], None]
"""Told of each error that is ours."""

_FAULTS: Final[tuple[tuple[type[BaseException], Fault], ...]] = (
    (faults.InvalidURLError, Fault.TARGET),
    (faults.BadStatusLine, Fault.REQUEST_LINE),
    (faults.LineTooLong, Fault.SIZE),
    (faults.PayloadEncodingError, Fault.BODY),
    (web.RequestPayloadError, Fault.BODY),
    (faults.HttpProcessingError, Fault.HEADER),
)
"""In the order in which they are tried: a kind before the wider one that it belongs to."""


def fault_of(error: BaseException | None) -> Fault | None:
    """Return what a client has done to cause this error of aiohttp's, None for an error of ours."""
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), None)


class HttpHandler(web.RequestHandler):
    """One connection."""

    __slots__ = ("_answer_timeout", "_on_bug", "_on_fault", "_stuck")

    def __init__(
        self,
        server: web.Server,
        *,
        on_fault: OnFault,
        on_bug: OnBug,
        answer_timeout: float = ANSWER_TIMEOUT,
        **options: Any,
    ) -> None:
        # a body is read as it came: decompressing would let a client make 1,000 bytes of each that it sends
        super().__init__(server, auto_decompress=False, **options)
        self._on_fault = on_fault
        self._on_bug = on_bug
        self._answer_timeout = answer_timeout
        self._stuck: asyncio.TimerHandle | None = None
        """When to look whether what is left of an answer has been read."""

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """See web.RequestHandler: writes an answer, in time or not at all."""
        large = resp if isinstance(resp, LargeAnswer) else None  # those see to it themselves
        try:
            async with asyncio.timeout(None if large else self._answer_timeout):
                finished = await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self._cut(request, request.transport)
            return resp, True
        if large is not None and large.is_unread:
            self._on_fault(request, Fault.UNREAD)
        elif resp.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._watch(request)
        return finished

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.BaseProtocol."""
        if self._stuck is not None:
            self._stuck.cancel()
        super().connection_lost(exc)

    def _watch(self, request: web.BaseRequest) -> None:
        """What is below the mark at which writing waits may stay unread; look again after a while."""
        transport = request.transport
        left = 0 if transport is None else transport.get_write_buffer_size()
        if transport is not None and left and self._stuck is None:
            self._stuck = self._loop.call_later(self._answer_timeout, self._look, request, transport, left)

    def _look(self, request: web.BaseRequest, transport: asyncio.Transport, before: int) -> None:
        self._stuck = None
        left = transport.get_write_buffer_size()
        if left and (left == before or transport.is_closing()):
            self._cut(request, transport)
        elif left:
            self._watch(request)

    def _cut(self, request: web.BaseRequest, transport: asyncio.Transport | None) -> None:
        self._on_fault(request, Fault.UNREAD)
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See web.RequestHandler: answers what could not be parsed, or what a handler has let escape."""
        fault = fault_of(exc)
        if fault is not None:
            self._on_fault(request, fault)
            response = refusal(HTTPStatus.BAD_REQUEST, f"this cannot be understood: {fault}", request.raw_path)
        else:
            self.log_exception(exc_info=exc)
            response = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", request.raw_path)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **details: Any) -> None:
        """See web.RequestHandler: connections that are lost, and bodies that are malformed, are nobody's news."""
        error = details.get("exc_info")
        if not isinstance(error, OSError) and fault_of(error) is None:
            self._on_bug(error)


class HttpServer(web.Server):
    """Makes such connections."""

    def __init__(self, *args: Any, on_fault: OnFault, on_bug: OnBug, **options: Any) -> None:
        super().__init__(*args, **options)
        self._handler_options = {"on_fault": on_fault, "on_bug": on_bug, **options}
        self._handler_options.pop("handler_cancellation", None)

    def __call__(self) -> HttpHandler:
        """Return the protocol of a new connection."""
        return HttpHandler(self, loop=self._loop, **self._handler_options)
