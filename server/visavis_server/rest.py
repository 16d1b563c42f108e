"""The REST API of the seed document: read-only views of the hub, JSON and CORS on every answer."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from aiohttp import hdrs, web

from visavis_server.core import views
from visavis_server.core.hub import Hub
from visavis_server.core.rules import Exposure
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
_ROOM_PREFIX: Final = "/api/rooms/"
_INVITE_PREFIX: Final = "/r/"
_ALLOWED: Final = "GET, HEAD, OPTIONS"


class RestApi:
    """Answers every request that is not for /ws."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """Return the answer to one request for `path`, as `decoded_path` gives it."""
        if request.method == hdrs.METH_OPTIONS:
            return web.Response(headers=CORS)
        is_route = path in _DOCUMENTS or path.startswith((_ROOM_PREFIX, _INVITE_PREFIX))
        if not is_route:
            return refusal(HTTPStatus.NOT_FOUND, "not found", path)
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            response = refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", path)
            response.headers[hdrs.ALLOW] = _ALLOWED
            return response
        if path.startswith(_INVITE_PREFIX):
            return _invite(path)
        return self._view(path)

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
        room_id = path.removeprefix(_ROOM_PREFIX)
        if not room_id:
            return refusal(HTTPStatus.BAD_REQUEST, "room ID required", path)
        if exposure is not Exposure.SEED:
            return _hidden(path, "members of rooms", exposure)
        document = views.room(self._hub, room_id)
        return refusal(HTTPStatus.NOT_FOUND, "room not found", path) if document is None else _document(document)


def decoded_path(target: str) -> str:
    """Return the path of a request target, percent-decoded once: its dots and empty segments are part of a room id."""
    if not target.startswith("/"):
        # absolute form (RFC 9112 section 3.2.2), as a client sends it to a proxy
        _, _, rest = target.partition("://")
        target = "/" + rest.partition("/")[2]
    return unquote(target.partition("?")[0].partition("#")[0])


def refusal(status: HTTPStatus, error: str, path: str) -> web.Response:
    """Return an error as JSON; `path` is the client's text, echoed without control characters."""
    body = json.dumps({"error": error, "path": printable(path)}, ensure_ascii=False, separators=(",", ":"))
    return _document(body.encode(), status)


def _invite(path: str) -> web.Response:
    try:
        room = check_room_id(path.removeprefix(_INVITE_PREFIX))
    except RemoteProtocolError:
        return refusal(HTTPStatus.NOT_FOUND, "not a room name", path)
    return web.Response(text=invite_page(room), content_type="text/html", headers=HEADERS)


def _hidden(path: str, what: str, exposure: Exposure) -> web.Response:
    return refusal(HTTPStatus.FORBIDDEN, f"this server does not show {what} (exposure: {exposure})", path)


def _document(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body + b"\n", content_type="application/json", headers=CORS)
