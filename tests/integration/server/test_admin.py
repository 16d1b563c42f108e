"""The operator's API over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import jwt
import pytest

from tests.support.server_running import Response, joined, running_server, server_process
from tests.support.ws_raw import TIMEOUT, RawClient
from visavis_server.app import SignalingServer
from visavis_server.core.rest.admin import BODY_SIZE
from visavis_server.setup.keys import KeyFileError
from visavis_server.setup.settings import Settings

TOKEN: Final = "correct-horse-battery-staple-0123456789"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin-tokens"
    path.write_text(f"# the operator's\n{TOKEN}\n")
    return path


@pytest.fixture
async def server(token_file: Path) -> AsyncIterator[SignalingServer]:
    async with running_server(admin_token_file=token_file) as running:
        yield running


async def ask(port: int, command: str, body: Any = None, token: str | None = TOKEN, method: str = "") -> Response:
    """Make one request; `body` is sent as JSON, bytes as they are."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"{method or ('GET' if body is None else 'POST')} /api/admin/{command} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Length: {len(content)}",
        *([f"Authorization: Bearer {token}"] if token is not None else []),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        async with asyncio.timeout(TIMEOUT):
            head, _, payload = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.transport.abort()
    status, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    return Response(int(status.split()[1]), headers, payload)


async def test_without_a_token_nothing_is_told(server: SignalingServer) -> None:
    for token in (None, "", "wrong"):
        answer = await ask(server.port, "rooms", token=token)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "access-control-allow-origin" not in answer.headers
    assert (await ask(server.port, "nonsense", token="wrong")).status == 401, "not even which commands there are"


async def test_wrong_tokens_are_throttled(server: SignalingServer) -> None:
    statuses = [(await ask(server.port, "rooms", token="wrong")).status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert (await ask(server.port, "rooms")).status == 429, "nothing is compared any more, not even the right one"


async def test_tokens_change_while_the_server_runs(server: SignalingServer, token_file: Path) -> None:
    new = TOKEN[::-1]
    replacement = token_file.with_name("new")
    replacement.write_text(f"{new}\n")
    replacement.replace(token_file)
    async with asyncio.timeout(TIMEOUT):
        # the bucket of failures holds ten: the right one, while it is right, is what may be asked without end
        while (await ask(server.port, "rooms")).status == 200:
            pass
    assert (await ask(server.port, "rooms", token=new)).status == 200


async def test_a_web_token_needs_the_grant(tmp_path: Path) -> None:
    key = bytes(range(32))
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [json.loads(jwt.algorithms.HMACAlgorithm.to_jwk(key))]}))

    def token(admin: bool) -> str:
        return jwt.encode({"exp": time.time() + 60, "visavis": {"admin": admin}}, key, "HS256")

    async with running_server(jwks_file=path) as server:
        assert (await ask(server.port, "rooms", token=token(True))).json == {"rooms": []}
        refused = await ask(server.port, "rooms", token=token(False))
        assert (refused.status, refused.json["error"]) == (401, "the token does not allow this")


async def test_rooms_are_listed_with_their_rules(server: SignalingServer) -> None:
    owner = await joined(server, "r", display_name="Alice", create={"capacity": 5, "password": "geheim"})
    (room,) = (await ask(server.port, "rooms")).json["rooms"]
    assert (room["id"], room["owner_id"]) == ("r", owner.peer_id)
    assert room["rules"] == {"capacity": 5, "locked": False, "password": ""}
    (peer,) = room["peers"]
    assert (peer["peer_id"], peer["display_name"], peer["away"]) == (owner.peer_id, "Alice", False)
    owner.abort()


async def test_kick_close_and_broadcast(server: SignalingServer, caplog: pytest.LogCaptureFixture) -> None:
    a, b = await joined(server, "r"), await joined(server, "r")
    await a.receive()
    with caplog.at_level(logging.INFO, logger="visavis_server.audit"):
        kick = {"room_id": "r", "peer_id": a.peer_id, "reason": "noise"}
        assert (await ask(server.port, "kick", kick)).json == {"done": True}
        assert (await a.receive())["payload"] == {"reason": "noise"}
        assert (await b.receive())["type"] == "PEER_LEFT"
        assert (await ask(server.port, "broadcast", {"message": "restart at noon"})).status == 200
        for client in (a, b):
            assert (await client.receive())["payload"] == {"message": "restart at noon"}
        assert (await ask(server.port, "close", {"room_id": "r"})).status == 200
        assert (await b.receive())["payload"] == {"reason": "closed by the operator"}
    assert [record.getMessage() for record in caplog.records if record.name == "visavis_server.audit"] == [
        f"admin: kick 'r' peer {a.peer_id}: noise",
        "admin: broadcast '' restart at noon",
        "admin: close 'r' closed by the operator",
    ]
    for client in (a, b):
        client.abort()


@pytest.mark.parametrize(
    ("command", "body", "status", "error"),
    [
        ("kick", {"room_id": "r", "peer_id": "x"}, 404, "no such room or member"),
        ("close", {"room_id": "r"}, 404, "no such room or member"),
        ("close", {}, 400, "room_id: Field required"),
        ("close", b"{", 400, "body: Invalid JSON"),
        ("close", {"room_id": "r", "reason": "a\nb"}, 400, "reason: Value error, must not contain control characters"),
        ("broadcast", {"message": ""}, 400, "message: "),
        ("rooms", {}, 404, "no such command, or another method"),
        ("nonsense", None, 404, "no such command, or another method"),
        ("broadcast", b"x" * (BODY_SIZE + 1), 413, "more than 4096 bytes"),
    ],
)
async def test_what_cannot_be_done(server: SignalingServer, command: str, body: Any, status: int, error: str) -> None:
    answer = await ask(server.port, command, body)
    assert answer.status == status
    assert answer.json["error"].startswith(error)


async def test_a_drain_ends_the_process(token_file: Path) -> None:
    async with server_process("--admin-token-file", str(token_file)) as server:
        client = await RawClient.connect(server.port)
        assert (await ask(server.port, "drain", {})).json == {"done": True}
        assert (await client.closed()).code == 1001
        async with asyncio.timeout(TIMEOUT):
            assert await server.process.wait() == 0
        client.abort()


async def test_a_private_room_is_not_shown_over_rest(server: SignalingServer) -> None:
    owner = await joined(server, "r", create={"locked": True})
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/rooms/r HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
    writer.transport.abort()
    owner.abort()


async def test_short_tokens_are_refused_at_the_start(token_file: Path) -> None:
    token_file.with_name("short").write_bytes(b"short\n")
    settings = Settings(host="127.0.0.1", port=0, admin_token_file=token_file.with_name("short"))
    with pytest.raises(KeyFileError, match="each token needs at least 32 characters"):
        await SignalingServer(settings).start()
