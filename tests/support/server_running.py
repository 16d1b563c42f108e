"""A signaling server for tests: in the test's own event loop, or as the process that an operator starts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from tests.support.conditions import until
from tests.support.ws_raw import TIMEOUT, RawClient
from visavis_server.app import SignalingServer
from visavis_server.setup.settings import Settings

READY: Final = re.compile(r"^listening on http://(.+):(\d+) \(WebSocket /ws\), STUN (?:udp/(\d+)|off)\n$")
DEFAULTS: Final[dict[str, Any]] = {"host": "127.0.0.1", "port": 0, "stun": False, "stun_port": 0, "engine": "own"}
"""Settings of a server in the test's event loop; a process takes over the engine only."""


@asynccontextmanager
async def running_server(**settings: Any) -> AsyncIterator[SignalingServer]:
    """Run a server on free ports of loopback, without STUN unless asked for."""
    async with SignalingServer(Settings.model_validate(DEFAULTS | settings)) as server:
        yield server


async def joined(server: SignalingServer, room_id: str, **payload: Any) -> RawClient:
    """Return a client that has joined a room and read the ACK of that."""
    client = await RawClient.connect(server.port)
    ack = await client.request(type="JOIN", room_id=room_id, payload=payload)
    assert ack["type"] == "ACK", ack
    return client


class Response(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def http(port: int, target: str, method: str = "GET", host: str = "127.0.0.1") -> Response:
    """Make one request with `target` exactly as given."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            answer = await reader.read()
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    return Response(int(status.split()[1]), headers, body)


class ServerProcess:
    """A `visavis-server` process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.announcement = ""
        self.host = ""
        self.port = 0
        self.stun_port: int | None = None
        self.errors = ""
        """What has come on standard error so far."""
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        """Read standard error all the time: a pipe that is full would hold up the server."""
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(1 << 16):
            self.errors += data.decode()

    async def said(self, text: str) -> str:
        """Wait for a line with `text` on standard error, and return it."""
        await until(lambda: text in self.errors.rpartition("\n")[0])
        return next(line for line in self.errors.splitlines() if text in line)

    async def ended(self) -> None:
        """Wait until the process, which must be about to end, has ended and all that it has said is read."""
        await asyncio.gather(self.process.wait(), self._draining)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def read_announcement(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            self.announcement = (await self.process.stdout.readline()).decode()
        match = READY.match(self.announcement)
        assert match, self.announcement
        self.host, self.port = match[1], int(match[2])
        self.stun_port = int(match[3]) if match[3] else None

    async def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit code and what stood on standard error."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(TIMEOUT):
            await self.ended()
        assert self.process.stdout is not None
        assert await self.process.stdout.read() == b""
        assert self.process.returncode is not None
        return self.process.returncode, self.errors


async def spawn(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Start `visavis-server` with these arguments and environment variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "visavis_server",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | environment,
    )


@asynccontextmanager
async def server_process(*arguments: str, **environment: str) -> AsyncIterator[ServerProcess]:
    """Run a server process on a free port until the end of the block."""
    defaults = ("--host", "127.0.0.1", "--port", "0", "--stun-port", "0", "--engine", DEFAULTS["engine"])
    server = ServerProcess(await spawn(*defaults, *arguments, **environment))
    try:
        await server.read_announcement()
        yield server
    finally:
        if server.process.returncode is None:
            server.process.kill()
        await server.ended()
