"""The REST API of the seed document: read-only views of the rooms, JSON and CORS on every answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.http_exceptions import PayloadEncodingError

from visavis_server.core.access.buckets import counted_source
from visavis_server.core.access.causes import Cause
from visavis_server.core.rest import views
from visavis_server.core.rest.admin import BODY_SIZE, COMMANDS, Admin, AdminRefused
from visavis_server.core.rest.listing import BadQuery, Listing, parse_page
from visavis_server.core.rest.targets import INVITE_PREFIX, ROOM_PREFIX
from visavis_server.core.signaling.effects import Effect
from visavis_server.core.signaling.overview import Overview
from visavis_server.core.signaling.rules import Exposure
from visavis_server.sockets.answers import PIECE_SIZE, LargeAnswer, LargeAnswers
from visavis_server.sockets.invite_page import HEADERS, invite_page
from visavis_server.sockets.switchboard import now_ms
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
RETRY_AFTER: Final = 5
"""Seconds after which a large answer may be asked for again."""
_ALLOWED: Final = "GET, HEAD, OPTIONS"


class RestApi:
    """Answers every request that is not for /ws."""

    def __init__(
        self,
        overview: Overview,
        admin: Admin,
        perform: Callable[[list[Effect]], None],
        refusals: Counter[Cause],
        *,
        install: str,
        timeout: float,
    ) -> None:
        """`perform` does what the operator's commands want done; `install` stands on the page behind an invite.

        `timeout` is how many seconds a client has to read a large answer.
        """
        self._overview = overview
        self._admin = admin
        self._perform = perform
        self._refusals = refusals
        self._listing = Listing(overview)
        self._large = LargeAnswers(timeout)
        self._install = install

    def answer(self, request: web.BaseRequest, path: str, source: str) -> web.StreamResponse:
        """Return the answer to one request for `path`, as `Target.below` gives it, from a `counted_source`."""
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
        if path == "/api/rooms" and self._overview.exposure is not Exposure.COUNTS:
            return self._list(request, path, source)
        response = self._view(path)
        if response.status == HTTPStatus.OK and isinstance(response.body, bytes):
            return self._sized(response.body, {}, path, source, len(response.body))
        return response

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

    def _list(self, request: web.BaseRequest, path: str, source: str) -> web.StreamResponse:
        """Answer for the list of rooms, or a page of it."""
        now = asyncio.get_running_loop().time()
        try:
            page = parse_page(request.raw_path.partition("?")[2].partition("#")[0])
        except BadQuery as error:
            return refusal(error.status, str(error), path)
        if page is not None:
            body = self._listing.page(page, now) + b"\n"
            return self._sized(body, {}, path, source, len(body))
        listed = self._listing.whole(now)
        headers: dict[str, str] = {hdrs.ETAG: listed.tag}
        if _is_known(request, listed.tag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=CORS | headers)
        return self._sized(listed.body, headers, path, source, PIECE_SIZE)

    def _sized(self, body: bytes, headers: dict[str, str], path: str, source: str, size: int) -> web.StreamResponse:
        """Return a document; a large one, of which `size` bytes are its own, if there are not too many."""
        headers = CORS | headers
        if len(body) <= PIECE_SIZE:
            return web.Response(body=body, content_type="application/json", headers=headers)
        if self._large.admit(source, size):
            return LargeAnswer(body, headers, self._large, source, size)
        self._refusals[Cause.ANSWERS] += 1
        response = refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many large answers are under way; ask for pages", path)
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER)
        return response

    def _view(self, path: str) -> web.Response:
        exposure = self._overview.exposure
        match path:
            case "/health":
                return _document(views.health(now_ms()))
            case "/ready":
                if self._overview.draining:
                    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server is about to stop", path)
                return _document(views.ready(now_ms()))
            case "/api/stats":
                return _document(views.stats(self._overview, now_ms()))
            case "/api/rooms":
                return _hidden(path, "rooms", exposure)
        room_id = path.removeprefix(ROOM_PREFIX)
        if not room_id:
            return refusal(HTTPStatus.BAD_REQUEST, "room ID required", path)
        if exposure is not Exposure.SEED:
            return _hidden(path, "members of rooms", exposure)
        if not self._overview.shows_members(room_id):
            return refusal(HTTPStatus.FORBIDDEN, "the members of this room are shown to members only", path)
        document = views.room(self._overview, room_id)
        return refusal(HTTPStatus.NOT_FOUND, "room not found", path) if document is None else _document(document)


def _is_known(request: web.BaseRequest, tag: str) -> bool:
    """Whether a client has the document of this tag already (RFC 9110 section 13.1.2)."""
    known = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, [])).split(",")
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in known)


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
        raise AdminRefused(HTTPStatus.BAD_REQUEST, "the body does not match its headers") from None
    except TimeoutError:
        raise AdminRefused(HTTPStatus.REQUEST_TIMEOUT, f"no body within {BODY_TIMEOUT:g} s") from None
    return bytes(body)


def _hidden(path: str, what: str, exposure: Exposure) -> web.Response:
    return refusal(HTTPStatus.FORBIDDEN, f"this server does not show {what} (exposure: {exposure})", path)


def _document(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body + b"\n", content_type="application/json", headers=CORS)
