"""An agent that is there before its network, its server or the time of its token: it keeps trying, and says so."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from aiohttp import web

from tests.support.commands import Process, end, next_event, run, start
from tests.support.http_server import http_server
from tests.support.server_running import server_process

PATIENCE: Final = 31.0
"""Seconds: longer than any program that a person waits for tries by default."""
SECRET: Final = bytes(range(32))
LEEWAY: Final = 30.0
"""Seconds by which the server lets clocks be off."""


@asynccontextmanager
async def early_agent(server: str, **environment: str) -> AsyncIterator[Process]:
    arguments = ("agent", "--server", server, "--room", "r", "--interface", "lo", "--json")
    process = await start(*arguments, stdin=asyncio.subprocess.DEVNULL, **environment)
    try:
        yield process
    finally:
        await end(process)


async def still_trying(process: Process) -> None:
    """Read failures until they have gone on for PATIENCE."""
    first = await next_event(process, "error")
    while True:
        failure = await next_event(process, "error")
        assert failure["error"] == "signaling_lost"
        assert "trying again in" in failure["message"]
        if failure["ts"] - first["ts"] > PATIENCE:
            return


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.timeout(120)
async def test_an_agent_keeps_trying_from_the_first_moment_and_a_person_is_not_kept_waiting() -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=503)

    port = free_port()
    here = f"http://127.0.0.1:{port}"
    async with (
        http_server(busy) as busy_url,
        early_agent(here) as refused,
        early_agent("http://nobody.invalid") as nameless,
        early_agent(busy_url) as unserved,
    ):
        ping = asyncio.create_task(run("ping", "--server", here, "--room", "r", "--timeout", "3"))
        await asyncio.gather(*map(still_trying, (refused, nameless, unserved)))
        code, _, errors = await ping
        assert code == 5, errors
        async with server_process("--port", str(port)):
            assert (await next_event(refused, "joined"))["room"] == "r"
        for process in (refused, nameless, unserved):
            process.terminate()
            await process.communicate()
            assert process.returncode == 0


def token(**times: float) -> str:
    return jwt.encode({"visavis": {"rooms": ["r"], "create": True}, "exp": time.time() + 600} | times, SECRET, "HS256")


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    key: dict[str, Any] = json.loads(jwt.algorithms.HMACAlgorithm.to_jwk(SECRET))
    path.write_text(json.dumps({"keys": [key]}))
    return path


async def test_a_token_that_the_servers_clock_refuses_is_shown_again_until_it_is_taken(jwks_file: Path) -> None:
    """To the agent a token of the future and a server whose clock is behind look the same."""
    now = time.time()
    early, late = token(nbf=now + LEEWAY + 3.0), token(exp=now - 2 * LEEWAY)
    async with server_process("--jwks-file", str(jwks_file)) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with early_agent(url, VISAVIS_TOKEN=early) as waiting, early_agent(url, VISAVIS_TOKEN=late) as expired:
            assert "not valid yet, by the server's clock" in (await next_event(waiting, "error"))["message"]
            for _ in range(2):  # and again
                assert "expired, by the server's clock" in (await next_event(expired, "error"))["message"]
            await next_event(waiting, "joined")
            assert expired.returncode is None
        code, _, errors = await run("ping", "--server", url, "--room", "r", VISAVIS_TOKEN=late)
        assert code == 9, errors
        assert "expired" in errors
