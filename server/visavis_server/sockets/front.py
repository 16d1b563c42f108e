"""What a request is for: a WebSocket, REST or the operator's API; and what is refused before that is asked."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web

from visavis_server.core.access.auth import TokenRefused
from visavis_server.core.access.buckets import counted_source
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.door import Door
from visavis_server.core.access.forwarding import is_host_allowed, is_origin_allowed, parse_address
from visavis_server.core.access.guessing import TooManyGuesses
from visavis_server.core.quiet import Quiet
from visavis_server.core.rest.targets import Target, parse_target
from visavis_server.core.signaling.edge import TooManyConnections, TooManyFailures
from visavis_server.core.signaling.hub import Hub
from visavis_server.setup.logs import fields
from visavis_server.setup.settings import Settings
from visavis_server.sockets.acceptor import Visitor
from visavis_server.sockets.http_handler import Fault
from visavis_server.sockets.origins import Origins
from visavis_server.sockets.outbox import Outbox
from visavis_server.sockets.relay import Unauthorized
from visavis_server.sockets.rest import ADMIN_PREFIX, RestApi, refusal, route_of
from visavis_server.sockets.switchboard import Switchboard, now_ms
from visavis_server.sockets.websocket import WebSocketEndpoint
from visavis_shared.headers import TOKEN as TOKEN_HEADER
from visavis_shared.messages import Endpoint

logger = logging.getLogger(__name__)

SINGLE_HEADERS: Final = ("Host", "Origin", "Authorization", TOKEN_HEADER, "Sec-WebSocket-Key", "Sec-WebSocket-Version")
"""Headers that decide: of two that differ a proxy in front may have checked the other one (RFC 9110 section 5.3)."""


class Front:
    """Answers every HTTP request of a server."""

    def __init__(self, settings: Settings, hub: Hub, door: Door[Visitor], origins: Origins) -> None:
        """Until `open` is called nobody may ask."""
        self.responses: Counter[tuple[str, int]] = Counter()
        """Answers other than upgrades by route (rest.route_of) and status."""
        self._settings = settings
        self._hub = hub
        self._door = door
        self._origins = origins
        self._quiet = Quiet()

    def open(self, switchboard: Switchboard, rest: RestApi, endpoints: Mapping[str, WebSocketEndpoint]) -> None:
        """Say what there is to ask for; `endpoints` by path."""
        self._switchboard = switchboard
        self._rest = rest
        self._endpoints = endpoints

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any HTTP request; for a WebSocket, when that has ended."""
        response = await self._respond(request)
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:  # those are counted as connections, when they begin
            path = parse_target(request.raw_path).below(self._settings.path_prefix)
            self.responses[route_of(path or ""), response.status] += 1
            visitor = self._origins.visitor_of(request)
            if visitor is not None and self._origins.door is not None:
                self._origins.door.rest(visitor)
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any HTTP request; a bug of ours becomes a 500 like every other answer."""
        try:
            visitor = self._origins.visitor_of(request)
            if visitor is not None:
                self._door.settle(visitor)
            target = parse_target(request.raw_path)
            path = target.below(self._settings.path_prefix)
            refused = self._refused(request, target, path)
            if refused is not None:
                return refused
            assert path is not None  # else it is refused
            endpoint = self._endpoints.get(path)
            client = self._origins.client_address(request)
            if path.startswith(ADMIN_PREFIX):
                return await self._rest.administer(request, path, client)
            if endpoint is None or request.method == "OPTIONS":
                return self._rest.answer(request, path, counted_source(client))
            if not is_origin_allowed(request.headers.get("Origin"), self._settings.allowed_origin):
                self._hub.refusals[Cause.ORIGIN] += 1
                return refusal(HTTPStatus.FORBIDDEN, "pages of this origin may not connect", path)
            return await endpoint.handle(request, client)
        except Exception as error:  # noqa: BLE001 -- reported
            self.on_bug(error)
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", parse_target(request.raw_path).shown)

    def _refused(self, request: web.BaseRequest, target: Target, path: str | None) -> web.Response | None:
        """Return the refusal of a request that is not for this server, whatever it asks for."""
        repeated = next((name for name in SINGLE_HEADERS if len(request.headers.getall(name, ())) > 1), None)
        if repeated is not None:
            self.on_fault(request, Fault.HEADER)
            return refusal(HTTPStatus.BAD_REQUEST, f"more than one {repeated} header", target.shown)
        if path is None:
            return refusal(HTTPStatus.NOT_FOUND, "not found", target.shown)
        hosts = [request.headers.get("Host", ""), *([] if target.authority is None else [target.authority])]
        if not all(is_host_allowed(host, self._settings.allowed_host) for host in hosts):
            self._hub.refusals[Cause.HOST] += 1
            return refusal(HTTPStatus.FORBIDDEN, "this server does not go by that name (see --allowed-host)", path)
        return None

    def connect(
        self, request: web.BaseRequest, transport: asyncio.Transport, preamble: bytes, authorization: str, address: str
    ) -> Outbox:
        """Take over a connection of signaling whose upgrade is accepted; see WebSocketEndpoint.

        Raises Unauthorized or ServerFull.
        """
        scheme, _, shown = authorization.partition(" ")
        token = shown.strip() if scheme.lower() == "bearer" else ""
        source = counted_source(address)
        try:
            self._hub.gate.check_header(token, source, asyncio.get_running_loop().time(), now_ms())
        except TooManyGuesses as refused:
            raise TooManyFailures(refused.message) from None
        except TokenRefused as refused:
            raise Unauthorized(str(refused)) from None
        observed = self._origins.observed(request)
        endpoint = Endpoint(ip=observed[0], port=observed[1]) if observed is not None and observed[1] else None
        try:
            return self._switchboard.connect(transport, preamble, endpoint, address=address, token=token)
        except TooManyConnections:
            self._origins.on_too_many(self._hub.edge.share_of(source), address)
            raise

    def on_refused(self, visitor: Visitor, cause: Cause) -> None:
        """Note that a connection was refused at the door."""
        if cause is Cause.ADDRESS_CONNECTIONS:
            address = visitor.client[0]
            self._origins.on_too_many(self._door.share_of(counted_source(address)), address)

    def on_bug(self, error: BaseException | None) -> None:
        """Report a bug of ours, once a second."""
        unsaid = self._quiet.speak(str(HTTPStatus.INTERNAL_SERVER_ERROR), asyncio.get_running_loop().time())
        if unsaid is not None:
            about = fields(event="internal_error", unsaid=unsaid)
            logger.error("a request could not be handled", exc_info=error, extra=about)

    def on_fault(self, request: web.BaseRequest, fault: Fault) -> None:
        """Count what is not HTTP, and say so once a second and kind."""
        self._hub.refusals[Cause.UNREAD if fault is Fault.UNREAD else Cause.MALFORMED] += 1
        unsaid = self._quiet.speak(fault, asyncio.get_running_loop().time())
        if unsaid is not None:
            address = parse_address(self._origins.client_address(request))
            shown = self._origins.show(str(address)) if address is not None else ""
            about = fields(event="malformed", cause=fault.name.lower(), address=shown, unsaid=unsaid)
            sender = f" of {shown}" if shown else ""
            text = "a request%s is refused: %s (%d more since the last such line)"
            logger.warning(text, sender, fault, unsaid, extra=about)
