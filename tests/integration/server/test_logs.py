"""What a server process logs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.server_running import server_process
from tests.support.ws_raw import RawClient, upgrade_request


async def connected_lines(*arguments: str) -> list[dict[str, str]]:
    """Return what a process logs of two clients that connect and join a room."""
    async with server_process("--log-format", "json", *arguments) as process:
        for _ in range(2):
            async with await RawClient.connect(process.port) as client:
                payload = {"display_name": "canary-name", "token": "canary-token", "password": "canary-password"}
                assert (await client.request(type="JOIN", room_id="canary-room", payload=payload))["type"] == "ACK"
        _, errors = await process.stop()
    assert "canary" not in errors
    lines = [json.loads(line) for line in errors.splitlines()]
    return [line for line in lines if line.get("event") == "connected"]


@pytest.mark.parametrize(("how", "expected"), [("plain", "^127.0.0.1$"), ("hashed", "^#[0-9a-f]{8}$"), ("none", "^$")])
async def test_a_process_writes_json_without_names_and_secrets(how: str, expected: str) -> None:
    lines = await connected_lines("--log-addresses", how)
    assert len(lines) == 2
    for line in lines:
        assert line["level"] == "info"
        assert line["logger"] == "visavis_server.sockets.switchboard"
        assert line["peer_id"] in line["message"]

        assert re.match(expected, line["address"])


@pytest.mark.parametrize("engine", ["own", "aiohttp"])
async def test_a_token_among_the_subprotocols_is_logged_nowhere(engine: str) -> None:
    async with server_process("--log-level", "debug", "--engine", engine) as process:
        async with await RawClient.open(process.port) as client:
            client.write(upgrade_request(Sec_WebSocket_Protocol="token.canary-one"))
            await client.read_response()
            token = (await client.receive())["payload"]["relay"]["token"]
            for offered in (f"visavis.relay, token.{token}", "visavis.relay, token.canary-two", "token.canary-three"):
                other = await RawClient.open(process.port)
                other.write(upgrade_request("/relay", Sec_WebSocket_Protocol=offered))
                assert (" 101 " in await other.read_response()) is (token in offered)
                other.abort()
        _, errors = await process.stop()
    for secret in ("canary", token):
        assert secret not in errors


async def test_a_key_file_makes_hashes_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "log-key"
    first = await connected_lines("--log-key-file", str(path))
    again = await connected_lines("--log-key-file", str(path))
    assert len({line["address"] for line in (*first, *again)}) == 1
    without = await connected_lines()
    assert without[0]["address"] != first[0]["address"]
    assert path.stat().st_mode & 0o077 == 0
