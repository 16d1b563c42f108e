"""A server as a process, and somebody who guesses: at passwords, at admin tokens, and by making rooms without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.server_running import server_process
from tests.support.ws_raw import TIMEOUT, RawClient
from visavis_server.core.access.buckets import ROOM_BURST
from visavis_server.core.access.guessing import FAILURE_BURST

pytestmark = pytest.mark.timeout(60)

GUESSER: Final = "198.51.100.7"
NEIGHBOUR: Final = "203.0.113.9"


_OPENED: Final[list[RawClient]] = []


@pytest.fixture(autouse=True)
async def _nothing_stays_open() -> AsyncIterator[None]:
    yield
    while _OPENED:
        _OPENED.pop().abort()
    await asyncio.sleep(0)


async def connect(port: int, address: str) -> RawClient:
    client = await RawClient.connect(port, X_Forwarded_For=address)
    _OPENED.append(client)
    return client


async def admin_status(port: int, token: str, address: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [
            "GET /api/admin/rooms HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Authorization: Bearer {token}",
            f"X-Forwarded-For: {address}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(TIMEOUT):
            return int((await reader.readline()).split()[1])
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("private", [False, True])
async def test_passwords_are_not_guessed_and_nobody_else_is_kept_out(private: bool) -> None:
    """One connection for all guesses, then one for each: the right one, at last, is not even looked at."""

    def shown(password: str) -> dict[str, object]:
        return {"private": {"password": password}} if private else {"password": password}

    async with server_process("--trusted-proxy", "127.0.0.1") as server:
        owner = await connect(server.port, NEIGHBOUR)
        made = shown("1501") if private else {"create": {"password": "1501"}}
        assert (await owner.request(type="JOIN", room_id="den", payload=made))["type"] == "ACK"
        codes: list[str] = []
        while "RATE_LIMITED" not in codes:
            guesser = await connect(server.port, GUESSER)
            answer = await guesser.request(type="JOIN", room_id="den", payload=shown(str(len(codes))))
            codes.append(answer["payload"]["code"])
            guesser.abort()
        assert codes[:-1] == ["UNAUTHORIZED"] * (len(codes) - 1)
        assert FAILURE_BURST < len(codes) < 2 * FAILURE_BURST
        guesser = await connect(server.port, GUESSER)
        answer = await guesser.request(type="JOIN", room_id="den", payload=shown("1501"))
        assert answer["payload"]["code"] == "RATE_LIMITED"
        assert (await guesser.closed()).code == 4029
        friend = await connect(server.port, NEIGHBOUR)
        assert (await friend.request(type="JOIN", room_id="den", payload=shown("1501")))["type"] == "ACK"
        if not private:
            assert (await owner.receive())["type"] == "NOTICE"
        assert "guessed" in await server.said("guessed")


async def test_admin_tokens_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("the only right one of at least 32 characters\n")
    path.chmod(0o600)
    right = path.read_text().strip()
    async with server_process("--trusted-proxy", "127.0.0.1", "--admin-token-file", str(path)) as server:
        statuses = [await admin_status(server.port, f"wrong-{number}", GUESSER) for number in range(FAILURE_BURST + 1)]
        assert statuses == [401] * FAILURE_BURST + [429]
        assert await admin_status(server.port, right.replace(" ", "%20"), GUESSER) == 429
        assert await admin_status(server.port, right, NEIGHBOUR) == 200


async def test_one_address_does_not_make_rooms_without_end() -> None:
    async with server_process("--trusted-proxy", "127.0.0.1") as server:
        clients = [await connect(server.port, GUESSER) for _ in range(4)]
        refused = 0
        for number in range(ROOM_BURST + 40):
            answer = await clients[number % 4].request(type="JOIN", room_id=f"room {number}")
            refused += answer["payload"].get("details") == "limit: room_rate"
        assert refused >= 20, "the rest may have been made within the seconds that this takes"
        other = await connect(server.port, NEIGHBOUR)
        assert (await other.request(type="JOIN", room_id="mine"))["type"] == "ACK"
