"""A real server keeps what docs/schema/openapi.json promises, whatever it is asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.server_running import http, joined, running_server
from visavis_server.core.rest.admin import COMMANDS
from visavis_server.core.rest.documents import ROUTES, Route
from visavis_server.sockets.rest import ADMIN_PREFIX, route_of

PATH: Final = Path(__file__).parents[3] / "docs" / "schema" / "openapi.json"
DOCUMENT: Final[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
TOKEN: Final = "t" * 32
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES: Final = 15
"""Requests of each kind for each operation: with a fixed seed, so that a failure can be repeated."""
ROOMS: Final = ("plain", "locked", "a/b/../c?d", "ä ö", "empty")


def ask(base: str, operation_id: str, mode: schemathesis.GenerationMode) -> None:
    """Make requests of one operation, and check every answer."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    operation = schema.find_operation_by_id(operation_id)

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, {}):
            response = case.call(base_url=base, headers=headers)
            case.validate_response(response, checks=CHECKS)

    check()


def ask_about(base: str, room_id: str) -> list[int]:
    """Ask for a room by name; return the statuses."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    statuses = []
    for name in ("room", "invite"):
        case = schema.find_operation_by_id(name).Case(path_parameters={"room_id": quote(room_id, safe="")})
        response = case.call(base_url=base)
        case.validate_response(response, checks=CHECKS)
        statuses.append(response.status_code)
    return statuses


def test_the_document_is_openapi() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_every_route_of_the_server_stands_in_it() -> None:
    kinds = {route_of(route.path) for route in ROUTES}
    assert kinds == {"health", "ready", "stats", "rooms", "room", "invite", "admin"}
    admin = {route.path.removeprefix(ADMIN_PREFIX): route.method.upper() for route in ROUTES if route.is_admin}
    assert admin == COMMANDS
    assert {(route.path, route.method) for route in ROUTES} == {
        (path, method) for path, methods in DOCUMENT["paths"].items() for method in methods
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_every_answer_is_one_that_is_documented(route: Route, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    async with running_server(admin_token_file=tokens) as server, await joined(server, "plain"):
        base = f"http://127.0.0.1:{server.port}"
        await asyncio.to_thread(ask, base, route.name, schemathesis.GenerationMode.POSITIVE)
        if route.body is not None or "{" in route.path:
            await asyncio.to_thread(ask, base, route.name, schemathesis.GenerationMode.NEGATIVE)


async def test_rooms_of_every_kind_are_shown_as_documented() -> None:
    async with running_server() as server:
        members = [
            await joined(server, "plain", display_name="ann", endpoint={"ip": "192.0.2.1", "port": 5000}),
            await joined(server, "locked", create={"locked": True, "ttl": 60}),
            await joined(server, "a/b/../c?d"),
            await joined(server, "ä ö"),
            await joined(server, "empty"),
        ]
        await members[-1].request(type="LEAVE")
        base = f"http://127.0.0.1:{server.port}"
        answered = {room: await asyncio.to_thread(ask_about, base, room) for room in (*ROOMS, "no such room")}
        assert answered == {
            "plain": [200, 200],
            "locked": [403, 200],
            "a/b/../c?d": [200, 200],
            "ä ö": [200, 200],
            "empty": [200, 200],
            "no such room": [404, 200],
        }
        assert (await http(server.port, "/api/rooms")).json["rooms"][0]["id"] == "plain"
        for client in members:
            client.abort()


@pytest.mark.parametrize("exposure", ["members", "counts"])
async def test_what_is_hidden_is_refused_as_documented(exposure: str) -> None:
    async with running_server(exposure=exposure) as server, await joined(server, "plain"):
        base = f"http://127.0.0.1:{server.port}"
        assert await asyncio.to_thread(ask_about, base, "plain") == [403, 200]
        await asyncio.to_thread(ask, base, "rooms", schemathesis.GenerationMode.POSITIVE)
