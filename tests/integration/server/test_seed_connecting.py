"""seed-behaviour section 1: connecting. Each test names the line that it keeps or fixes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.support.server_running import http, joined, running_server, server_process
from tests.support.ws_raw import ACCEPT, CLOSE, TEXT, RawClient, client_frame, upgrade_request
from visavis_server import __version__
from visavis_server.app import SignalingServer
from visavis_shared.messages import WelcomePayload

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with running_server() as running:
        yield running


async def test_the_command_as_shipped_accepts_websockets() -> None:
    """Section 1, fix: the original's command answers every GET /ws with 500."""
    async with server_process() as server, await RawClient.connect(server.port) as client:
        assert client.response.startswith("HTTP/1.1 101 ")


async def test_the_upgrade_answer_is_the_bare_minimum_without_cors(engine: str, server: SignalingServer) -> None:
    """Section 1: four lines, no CORS headers; aiohttp's engine adds Date and Server."""
    async with await RawClient.connect(server.port) as client:
        status, *fields = client.response.rstrip().split("\r\n")
        headers = {name.lower(): value.lower() for name, _, value in (field.partition(": ") for field in fields)}
        assert status == "HTTP/1.1 101 Switching Protocols"
        more = set() if engine == "own" else {"date", "server"}
        assert set(headers) == {"upgrade", "connection", "sec-websocket-accept"} | more
        assert (headers["upgrade"], headers["connection"]) == ("websocket", "upgrade")
        assert f"Sec-WebSocket-Accept: {ACCEPT}" in fields


async def test_the_server_speaks_first_and_assigns_the_peer_id(server: SignalingServer) -> None:
    """Section 1, keep: the welcome ACK; ids are ours (16 hexadecimal digits instead of 8)."""
    async with await RawClient.open(server.port) as client:
        client.write(upgrade_request())
        await client.read_response()
        raw = await client.receive_bytes()
        assert re.match(rb'\{"type":"ACK","peer_id":"[0-9a-f]{16}","payload":\{"message":"connected",', raw)
        assert re.search(rb'\},"timestamp":[0-9]{13}\}$', raw)


async def test_ids_differ_from_connection_to_connection(server: SignalingServer) -> None:
    """Section 1, keep: peer_id is random, assigned at connect."""
    clients = [await RawClient.connect(server.port) for _ in range(20)]
    assert len({client.peer_id for client in clients}) == 20
    for client in clients:
        client.abort()


async def test_the_welcome_tells_what_a_client_needs_to_know() -> None:
    """Ours: version, observed address, ping interval, limits and STUN servers in the welcome's payload."""
    async with running_server(stun=True, room_capacity=7) as server, await RawClient.open(server.port) as client:
        client.write(upgrade_request())
        await client.read_response()
        welcome = WelcomePayload.model_validate((await client.receive())["payload"])
        local = client.writer.get_extra_info("sockname")
        assert welcome.observed is not None
        assert welcome.limits is not None
        assert server.stun_ports is not None
        assert (welcome.observed.ip, welcome.observed.port) == local
        assert welcome.server == f"visavis/{__version__}"
        assert welcome.ping_interval == 25
        assert welcome.limits.model_dump() == {
            "message_size": 32_768,
            "room_id_length": 128,
            "display_name_length": 64,
            "room_capacity": 7,
            "stale_timeout": 60,
            "message_rate": 100,
            "pair_rate": 30,
            "join_timeout": 0,
        }
        assert [(entry.host, entry.port) for entry in welcome.stun] == [(None, port) for port in server.stun_ports]


async def test_a_query_string_is_ignored(server: SignalingServer) -> None:
    """Section 1, keep."""
    async with await RawClient.open(server.port) as client:
        client.write(upgrade_request("/ws?room=x&y"))
        assert (await client.read_response()).startswith("HTTP/1.1 101 ")


async def test_a_trailing_slash_is_another_path(server: SignalingServer) -> None:
    """Section 1, keep: /ws/ is 404 JSON."""
    answer = await http(server.port, "/ws/")
    assert (answer.status, answer.json) == (404, {"error": "not found", "path": "/ws/"})


async def test_any_origin_is_accepted_and_offers_are_ignored(server: SignalingServer) -> None:
    """Section 1, keep: any Origin; requested subprotocols and permessage-deflate are not echoed."""
    async with await RawClient.connect(
        server.port,
        Origin="https://elsewhere.example",
        Sec_WebSocket_Protocol="chat, other",
        Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits",
    ) as client:
        assert "Protocol:" not in client.response
        assert "Extensions" not in client.response


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
async def test_a_request_without_an_upgrade_is_told_the_version(server: SignalingServer, method: str) -> None:
    """Section 1: plain GET or POST /ws is 400 text/plain `Bad Request` with Sec-Websocket-Version: 13."""
    answer = await http(server.port, "/ws", method)
    assert answer.status == 400
    assert answer.headers["sec-websocket-version"] == "13"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.strip() == (b"" if method == "HEAD" else b"Bad Request")


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        ("version 8", {"Sec_WebSocket_Version": "8"}),
        ("version 7", {"Sec_WebSocket_Version": "7"}),
        ("no version", {"Sec_WebSocket_Version": None}),
        ("3-byte key", {"Sec_WebSocket_Key": "YWJj"}),
        ("key that is not base64", {"Sec_WebSocket_Key": "!!!!!!!!!!!!!!!!!!!!!!=="}),
        ("no key", {"Sec_WebSocket_Key": None}),
        ("no upgrade", {"Upgrade": None}),
        ("other upgrade", {"Upgrade": "h2c"}),
        ("no connection upgrade", {"Connection": "keep-alive"}),
    ],
)
async def test_a_faulty_upgrade_is_refused(server: SignalingServer, fault: str, headers: dict[str, str | None]) -> None:
    """Section 1, fix: version 8 is 400, and so is a 3-byte key."""
    async with await RawClient.open(server.port) as client:
        client.write(upgrade_request(**headers))
        response = await client.read_response()
        assert response.startswith("HTTP/1.1 400 "), fault
        assert "sec-websocket-version: 13" in response.lower()
    assert not server.hub.rooms.peers


async def test_http_1_0_cannot_upgrade(server: SignalingServer) -> None:
    """Section 1, fix: HTTP/1.0 is 400."""
    async with await RawClient.open(server.port) as client:
        client.write(upgrade_request("/ws", "HTTP/1.0"))
        assert (await client.read_response()).split()[1] == "400"


async def test_header_values_are_compared_as_http_wants(server: SignalingServer) -> None:
    """RFC 6455 section 4.2.1: tokens are case-insensitive, Connection is a list."""
    async with await RawClient.connect(server.port, Upgrade="WebSocket", Connection="keep-alive, UPGRADE") as client:
        assert client.peer_id


async def test_a_frame_right_behind_the_handshake_is_handled(server: SignalingServer) -> None:
    """Section 1, choose: a frame in the same segment as the request is accepted."""
    behind = client_frame(TEXT, b'{"type":"KEEP_ALIVE","request_id":"early"}')
    async with await RawClient.connect(server.port, behind=behind) as client:
        answer = await client.receive()
        assert (answer["type"], answer["request_id"]) == ("ACK", "early")


async def test_only_the_join_ack_has_peers(server: SignalingServer) -> None:
    """Section 1, keep: the welcome has no `peers`, nor have the ACKs of LEAVE and KEEP_ALIVE."""
    async with await RawClient.open(server.port) as client:
        client.write(upgrade_request())
        await client.read_response()
        assert "peers" not in (await client.receive())["payload"]
        assert "peers" in (await client.request(type="JOIN", room_id="r"))["payload"]
        assert "payload" not in await client.request(type="KEEP_ALIVE")
        assert (await client.request(type="LEAVE"))["payload"] == {"message": "left room"}


async def test_a_full_server_says_so_before_the_upgrade() -> None:
    """Ours: beyond the limit of peers the upgrade is answered with 503, and a place that is freed is free."""
    async with running_server(peer_limit=1) as server:
        first = await joined(server, "r")
        async with await RawClient.open(server.port) as second:
            second.write(upgrade_request())
            response = await second.read_response()
            assert response.startswith("HTTP/1.1 503 ")
            assert "Retry-After: 30\r\n" in response
        async with first:
            first.send_frame(CLOSE)
            await first.ended()
        async with await RawClient.connect(server.port) as third:
            assert third.peer_id
