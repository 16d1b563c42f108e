"""The REST API as data: every route with the models of what it takes and answers.

docs/schema/openapi.json is generated from it (`scripts/schema`). The documents themselves are written by `views` and
`admin`, byte for byte as the original server's; tests hold them against these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from visavis_shared.messages import KickPayload, NoticePayload, PeerInfo, Reason, RoomId, RoomTerms, Timestamp

PAGE_LIMIT: Final = 1000
"""Rooms of a page."""
Count = Annotated[int, Field(ge=0)]


class Document(BaseModel):
    """Shape shared by all answers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Health(Document):
    """The process lives."""

    status: Literal["ok"]
    timestamp: Timestamp


class Ready(Document):
    """The server takes connections."""

    status: Literal["ready"]
    timestamp: Timestamp


class PeerTotals(Document):
    """Peers."""

    total: Count
    without_room: Count


class RoomTotals(Document):
    """Rooms, empty ones included."""

    total: Count
    total_peers: Count


class Stats(Document):
    """Totals."""

    peers: PeerTotals
    rooms: RoomTotals
    timestamp: Timestamp


class RoomSummary(Document):
    """A room in the list of all."""

    id: RoomId
    peer_count: Count
    max_peers: Count
    """0 is unlimited."""
    created_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """RFC 3339, UTC."""


class Rooms(Document):
    """All rooms, oldest first."""

    rooms: Annotated[tuple[RoomSummary, ...], Field(strict=False)]


class RoomMembers(Document):
    """One room."""

    id: RoomId
    peers: Annotated[tuple[PeerInfo, ...], Field(strict=False)]
    peer_count: Count
    max_peers: Count
    """0 is unlimited."""
    created_at: Timestamp


class Refusal(Document):
    """Why a request is refused."""

    error: str
    path: str
    """The path that was asked for, escaped."""


class AdminPeer(PeerInfo):
    """A member as the operator sees it."""

    away: bool
    """Whether it is kept after its connection was lost."""
    subject: str
    """Who its token says it is; empty without one."""


class AdminRoom(Document):
    """A room as the operator sees it."""

    id: RoomId
    private: bool
    """Whether it is shown to its members only."""
    seq: Count
    owner_id: str | None
    rules: RoomTerms | None
    peers: Annotated[tuple[AdminPeer, ...], Field(strict=False)]


class AdminRooms(Document):
    """All rooms."""

    rooms: Annotated[tuple[AdminRoom, ...], Field(strict=False)]


class Done(Document):
    """A command was carried out."""

    done: Literal[True]


class KickRequest(KickPayload):
    """Which member to remove."""

    room_id: RoomId
    peer_id: Annotated[str, Field(max_length=128)]


class CloseRequest(BaseModel):
    """Which room to close."""

    model_config = ConfigDict(frozen=True, strict=True)

    room_id: RoomId
    reason: Reason = "closed by the operator"


class DrainRequest(BaseModel):
    """Nothing: any body will do."""


Answer = type[Document] | Literal["text/html"]
"""What the body of an answer is: JSON of a model, or a page."""


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: Literal["get", "post"]
    path: str
    """With `{room_id}` for the name of a room, which may have slashes in it."""
    name: str
    summary: str
    answers: Mapping[HTTPStatus, Answer]
    body: type[BaseModel] | None = None
    is_admin: bool = False
    """Whether it asks for a bearer token."""
    query: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """JSON Schema of each member of a query that it knows."""


def _answers(model: Answer, refusals: tuple[HTTPStatus, ...] = ()) -> Mapping[HTTPStatus, Answer]:
    # 403 anywhere: the request is for another name than ours (--allowed-host)
    refused: dict[HTTPStatus, Answer] = dict.fromkeys((HTTPStatus.FORBIDDEN, *refusals), Refusal)
    return MappingProxyType({HTTPStatus.OK: model, **refused})


_ADMIN_REFUSALS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
)


def _command(name: str, summary: str, body: type[BaseModel]) -> Route:
    answers = _answers(Done, refusals=_ADMIN_REFUSALS)
    return Route("post", f"/api/admin/{name}", f"admin_{name}", summary, answers, body, is_admin=True)


ROUTES: Final = (
    Route("get", "/health", "health", "Whether the process lives", _answers(Health)),
    Route(
        "get",
        "/ready",
        "ready",
        "Whether the server takes connections; 503 while it drains",
        _answers(Ready, refusals=(HTTPStatus.SERVICE_UNAVAILABLE,)),
    ),
    Route("get", "/api/stats", "stats", "Totals of peers and rooms", _answers(Stats)),
    Route(
        "get",
        "/api/rooms",
        "rooms",
        "All rooms, or a page of them by name; 403 where the server shows totals only",
        _answers(Rooms, refusals=(HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE)),
        query={
            "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT},
            "after": {"type": "string", "description": "The last room of the page before."},
        },
    ),
    Route(
        "get",
        "/api/rooms/{room_id}",
        "room",
        "One room and its members; 403 where they are shown to members only",
        _answers(
            RoomMembers,
            refusals=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
        ),
    ),
    Route(
        "get",
        "/r/{room_id}",
        "invite",
        "The page behind an invite: what a person runs to join",
        _answers("text/html", refusals=(HTTPStatus.NOT_FOUND,)),
    ),
    Route(
        "get",
        "/api/admin/rooms",
        "admin_rooms",
        "All rooms with rules and members",
        _answers(AdminRooms, refusals=_ADMIN_REFUSALS),
        is_admin=True,
    ),
    _command("kick", "Put a member out of a room", KickRequest),
    _command("close", "Put everybody out of a room and forget it", CloseRequest),
    _command("broadcast", "Send NOTICE to everybody", NoticePayload),
    _command("drain", "Let everybody go and stop, as SIGTERM does", DrainRequest),
)
