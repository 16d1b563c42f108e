"""The REST API of the seed document: read-only views of the hub, JSON and CORS on every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.http_exceptions import PayloadEncodingError

from visavis_server.core import views
from visavis_server.core.admin import BODY_SIZE, COMMANDS, Admin, AdminRefused
from visavis_server.core.buckets import counted_source
from visavis_server.core.effects import Effect
from visavis_server.core.hub import Hub
from visavis_server.core.rules import Exposure
from visavis_server.core.targets import INVITE_PREFIX, ROOM_PREFIX
from visavis_server.invite_page import HEADERS, invite_page
from visavis_server.switchboard import now_ms
from visavis_shared.errors import RemoteProtocolError
from visavis_shared.ids import printable
from visavis_shared.messages import check_room_id

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
}
"""On every answer, errors included: any page may read what anybody may read."""
_DOCUMENTS: Final = frozenset({"/health", "/ready", "/api/stats", "/api/rooms"})
ADMIN_PREFIX: Final = "/api/admin/"
BODY_TIMEOUT: Final = 5.0
"""Seconds in which the body of a request has to come."""
_ALLOWED: Final = "GET, HEAD, OPTIONS"


class RestApi:
    """Answers every request that is not for /ws."""

    def __init__(self, hub: Hub, admin: Admin, perform: Callable[[list[Effect]], None], install: str) -> None:
        """`perform` does what the operator's commands want done; `install` stands on the page behind an invite."""
        self._hub = hub
        self._admin = admin
        self._perform = perform
        self._install = install

    def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """Return the answer to one request for `path`, as `Target.below` gives it."""
        if request.method == hdrs.METH_OPTIONS:
            return web.Response(headers=CORS)
        is_route = path in _DOCUMENTS or path.startswith((ROOM_PREFIX, INVITE_PREFIX))
        if not is_route:
            return refusal(HTTPStatus.NOT_FOUND, "not found", unquote(path))
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            response = refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", path)
            response.headers[hdrs.ALLOW] = _ALLOWED
            return response
        if path.startswith(INVITE_PREFIX):
            return _invite(path, self._install)
        return self._view(path)

    async def administer(self, request: web.BaseRequest, path: str, address: str) -> web.Response:
        """Return the answer to a request of the admin API, for a client at `address`."""
        command = path.removeprefix(ADMIN_PREFIX)
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        now = asyncio.get_running_loop().time()
        try:
            self._admin.authorize(
                token.strip() if scheme.lower() == "bearer" else "", counted_source(address), now, now_ms()
            )
            if COMMANDS.get(command) != request.method:
                raise AdminRefused(HTTPStatus.NOT_FOUND, "no such command, or another method")
            answer, effects = self._admin.perform(command, await _body(request), now, now_ms())
        except AdminRefused as refused:
            response = refusal(refused.status, str(refused), path)
            if refused.status is HTTPStatus.UNAUTHORIZED:
                response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        else:
            self._perform(effects)
            response = _document(answer)
        # a page of another origin has no business here
        response.headers.pop(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, None)
        return response

    def _view(self, path: str) -> web.Response:
        exposure = self._hub.rules.exposure
        match path:
            case "/health":
                return _document(views.health(now_ms()))
            case "/ready":
                if self._hub.draining:
                    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server is about to stop", path)
                return _document(views.ready(now_ms()))
            case "/api/stats":
                return _document(views.stats(self._hub, now_ms()))
            case "/api/rooms":
                if exposure is Exposure.COUNTS:
                    return _hidden(path, "rooms", exposure)
                return _document(views.rooms(self._hub))
        room_id = path.removeprefix(ROOM_PREFIX)
        if not room_id:
            return refusal(HTTPStatus.BAD_REQUEST, "room ID required", path)
        if exposure is not Exposure.SEED:
            return _hidden(path, "members of rooms", exposure)
        room = self._hub.rooms.get(room_id)
        if room is not None and room.charter is not None and room.charter.is_private:
            return refusal(HTTPStatus.FORBIDDEN, "the members of this room are shown to members only", path)
        document = views.room(self._hub, room_id)
        return refusal(HTTPStatus.NOT_FOUND, "room not found", path) if document is None else _document(document)


def route_of(path: str) -> str:
    """Return the kind of thing that a path names, as metrics show it: one of a closed set."""
    if path in _DOCUMENTS:
        return path.rpartition("/")[2]
    for prefix, route in ((ROOM_PREFIX, "room"), (INVITE_PREFIX, "invite"), (ADMIN_PREFIX, "admin")):
        if path.startswith(prefix):
            return route
    return {"/ws": "ws", "/relay": "relay"}.get(path, "other")


def refusal(status: HTTPStatus, error: str, path: str) -> web.Response:
    """Return an error as JSON; `path` is the client's text, echoed without control characters."""
    body = json.dumps({"error": error, "path": printable(path)}, ensure_ascii=False, separators=(",", ":"))
    return _document(body.encode(), status)


def _invite(path: str, install: str) -> web.Response:
    try:
        room = check_room_id(path.removeprefix(INVITE_PREFIX))
    except RemoteProtocolError:
        return refusal(HTTPStatus.NOT_FOUND, "not a room name", path)
    return web.Response(text=invite_page(room, install), content_type="text/html", headers=HEADERS)


async def _body(request: web.BaseRequest) -> bytes:
    """Return the body of a request of the admin API.

    Raises AdminRefused.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > BODY_SIZE:
                    raise AdminRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_SIZE} bytes")
    except (web.RequestPayloadError, PayloadEncodingError, ConnectionError):
        raise AdminRefused(HTTPStatus.BAD_REQUEST, "the body is not what its headers say") from None
    except TimeoutError:
        raise AdminRefused(HTTPStatus.REQUEST_TIMEOUT, f"no body within {BODY_TIMEOUT:g} s") from None
    return bytes(body)


def _hidden(path: str, what: str, exposure: Exposure) -> web.Response:
    return refusal(HTTPStatus.FORBIDDEN, f"this server does not show {what} (exposure: {exposure})", path)


def _document(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body + b"\n", content_type="application/json", headers=CORS)
