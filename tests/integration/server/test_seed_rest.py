"""seed-behaviour section 7: the REST API."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.conditions import until
from tests.support.server_running import http, joined, running_server
from tests.support.ws_raw import RawClient
from visavis_server.app import SignalingServer

ROUTES = ["/health", "/api/stats", "/api/rooms", "/api/rooms/r1"]
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "Content-Type, Authorization",
}
ALICE = {"display_name": "Alice", "endpoint": {"ip": "203.0.113.1", "port": 12345}}


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with running_server() as running:
        yield running


async def test_health(server: SignalingServer) -> None:
    """Section 7, keep."""
    answer = await http(server.port, "/health")
    assert (answer.status, set(answer.json), answer.json["status"]) == (200, {"status", "timestamp"}, "ok")
    assert abs(answer.json["timestamp"] - time.time() * 1000) < 10_000


async def test_stats_count_peers_and_rooms_empty_ones_included(server: SignalingServer) -> None:
    """Section 7, keep: rooms.total counts empty rooms."""
    async with await joined(server, "r1") as a, await joined(server, "r2") as b, await RawClient.connect(server.port):
        await b.request(type="LEAVE")
        stats = (await http(server.port, "/api/stats")).json
        assert stats.pop("timestamp") > 0
        assert stats == {"peers": {"total": 3, "without_room": 2}, "rooms": {"total": 2, "total_peers": 1}}
        await a.request(type="LEAVE")


async def test_the_list_of_rooms(server: SignalingServer) -> None:
    """Section 7, keep the shape; choose: created_at in UTC with Z, oldest room first."""
    assert (await http(server.port, "/api/rooms")).json == {"rooms": []}
    async with await joined(server, "r1"), await joined(server, "r2"), await joined(server, "r2"):
        listed = (await http(server.port, "/api/rooms")).json["rooms"]
        times = [room.pop("created_at") for room in listed]
        assert listed == [
            {"id": "r1", "peer_count": 1, "max_peers": 0},
            {"id": "r2", "peer_count": 2, "max_peers": 0},
        ]
        for text in times:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)


async def test_the_detail_of_a_room(server: SignalingServer) -> None:
    """Section 7, keep: times as integer milliseconds."""
    async with await joined(server, "r1", **ALICE) as client:
        detail = (await http(server.port, "/api/rooms/r1")).json
        (info,) = detail["peers"]
        assert detail == {
            "id": "r1",
            "peers": [{"peer_id": client.peer_id, **ALICE, "joined_at": info["joined_at"]}],
            "peer_count": 1,
            "max_peers": 0,
            "created_at": info["joined_at"],
        }
        assert isinstance(info["joined_at"], int)


async def test_the_capacity_is_shown_as_max_peers() -> None:
    """Section 7."""
    async with running_server(room_capacity=3) as server, await joined(server, "r1"):
        assert (await http(server.port, "/api/rooms")).json["rooms"][0]["max_peers"] == 3
        assert (await http(server.port, "/api/rooms/r1")).json["max_peers"] == 3


@pytest.mark.parametrize("target", ["/health", "/api/rooms/nope", "/api/rooms/", "/nope", "/health?x"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_every_answer_is_json_with_cors_and_a_newline(server: SignalingServer, target: str, method: str) -> None:
    """Section 7, keep: CORS on everything, `application/json` without charset, one line; fix: errors too."""
    answer = await http(server.port, target, method)
    assert CORS.items() <= answer.headers.items()
    assert answer.headers["content-type"] == "application/json"
    if method == "HEAD":
        assert answer.body == b""
        assert int(answer.headers["content-length"]) > 0
    else:
        assert answer.body.endswith(b"\n")
        assert answer.body.count(b"\n") == 1
        assert isinstance(answer.json, dict)


@pytest.mark.parametrize("target", [*ROUTES, "/nope", "/", "/ws", "*"])
async def test_options_is_200_on_any_path(server: SignalingServer, target: str) -> None:
    """Section 7, keep."""
    answer = await http(server.port, target, "OPTIONS")
    assert (answer.status, answer.body) == (200, b"")
    assert CORS.items() <= answer.headers.items()


@pytest.mark.parametrize("target", ["/nope", "/health/", "/api", "/", "/api/", "/api/stats/x", "/Health"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_path_is_404_whatever_the_method(server: SignalingServer, target: str, method: str) -> None:
    """Section 7, keep."""
    answer = await http(server.port, target, method)
    assert (answer.status, answer.json) == (404, {"error": "not found", "path": target})


async def test_an_unknown_room_is_404_in_json(server: SignalingServer) -> None:
    """Section 7, fix: JSON instead of text/plain."""
    answer = await http(server.port, "/api/rooms/nope")
    assert (answer.status, answer.json) == (404, {"error": "room not found", "path": "/api/rooms/nope"})


async def test_no_room_id_is_400_in_json(server: SignalingServer) -> None:
    """Section 7, fix: JSON instead of text/plain."""
    answer = await http(server.port, "/api/rooms/")
    assert (answer.status, answer.json) == (400, {"error": "room ID required", "path": "/api/rooms/"})


@pytest.mark.parametrize("target", ROUTES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_another_method_is_405_and_says_which_are_allowed(
    server: SignalingServer, target: str, method: str
) -> None:
    """Section 7, fix: JSON and an Allow header."""
    answer = await http(server.port, target, method)
    assert (answer.status, answer.json) == (405, {"error": "method not allowed", "path": target})
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("target", ["/health", "/api/stats", "/api/rooms"])
async def test_head_works(server: SignalingServer, target: str) -> None:
    """Section 7, fix: 405 in the original."""
    answer = await http(server.port, target, "HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("room_id", "target"),
    [
        ("a/b", "/api/rooms/a/b"),
        ("a/b", "/api/rooms/a%2Fb"),
        ("a b", "/api/rooms/a%20b"),
        ("é", "/api/rooms/%C3%A9"),
        ("../x", "/api/rooms/../x"),
        ("../x", "/api/rooms/..%2Fx"),
        ("/x", "/api/rooms//x"),
        ("a//b", "/api/rooms/a//b"),
        (".", "/api/rooms/."),
        ("a?b", "/api/rooms/a%3Fb"),
        ("a", "/api/rooms/a?query"),
        ("100%", "/api/rooms/100%25"),
    ],
)
async def test_the_rest_of_the_path_is_the_room_id(server: SignalingServer, room_id: str, target: str) -> None:
    """Section 7, keep: decoded once; fix: no redirect makes a room unreachable."""
    async with await joined(server, room_id):
        answer = await http(server.port, target)
        assert (answer.status, answer.json["id"]) == (200, room_id)


async def test_the_absolute_form_of_a_request_is_understood(server: SignalingServer) -> None:
    """RFC 9112 section 3.2.2: a server must accept it."""
    assert (await http(server.port, "http://localhost/health?x")).json["status"] == "ok"
    assert (await http(server.port, "http://localhost")).json == {"error": "not found", "path": "/"}


async def test_bytes_that_are_no_text_do_no_harm(server: SignalingServer) -> None:
    """Section 7: a path is the client's text."""
    answer = await http(server.port, "/api/rooms/%FF%00%1B")
    assert answer.status == 404
    assert "\x1b" not in answer.json["path"]


async def test_a_connection_serves_several_requests(server: SignalingServer) -> None:
    """HTTP/1.1 keep-alive."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for _ in range(3):
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        assert b'"ok"' in await reader.readexactly(int(length[1]))
    writer.transport.abort()


async def test_a_failure_of_the_server_is_a_500_in_json(
    server: SignalingServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ours: CORS and JSON on this error as well."""
    monkeypatch.setattr(server.hub.rooms, "open", None)
    answer = await http(server.port, "/api/rooms")
    assert (answer.status, answer.json) == (500, {"error": "internal error", "path": "/api/rooms"})
    assert CORS.items() <= answer.headers.items()
    assert "could not be handled" in caplog.text
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("exposure", "visible", "hidden"),
    [
        ("seed", ["/health", "/api/stats", "/api/rooms", "/api/rooms/r1"], []),
        ("members", ["/health", "/api/stats", "/api/rooms"], ["/api/rooms/r1", "/api/rooms/nope"]),
        ("counts", ["/health", "/api/stats"], ["/api/rooms", "/api/rooms/r1", "/api/rooms/nope"]),
    ],
)
async def test_exposure_sets_what_strangers_may_see(exposure: str, visible: list[str], hidden: list[str]) -> None:
    """design.md section 3: what is hidden is 403, whether it exists or not."""
    async with running_server(exposure=exposure) as server, await joined(server, "r1", **ALICE):
        for target in visible:
            assert (await http(server.port, target)).status == 200, target
        for target in hidden:
            answer = await http(server.port, target)
            assert answer.status == 403
            assert exposure in answer.json["error"]
            assert b"Alice" not in answer.body


async def test_rest_answers_while_a_shutdown_is_under_way(server: SignalingServer) -> None:
    """Ours: a shutdown closes idle HTTP connections without waiting for them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await until(lambda: server.door.total)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await server.close()
    assert await reader.read() == b""
    assert loop.time() - begun < 2
    writer.transport.abort()
