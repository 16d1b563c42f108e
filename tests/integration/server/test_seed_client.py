"""The seed document's JavaScript client, word for word, in Node against the real server process.

`seed_client.js` is that code block, copied verbatim. It must never be edited to make a test pass.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.requirements import require
from tests.support.server_running import http, server_process
from tests.support.ws_raw import TIMEOUT

HERE: Final = Path(__file__).parent
EXAMPLE: Final = HERE / "seed_client.js"
EXAMPLE_SHA256: Final = "bd1055f9d54057da824052b44b9de3fd849ebe9cb687201fd083f2cf8331061e"
"""Of the block between ```javascript and ``` in the seed document."""


@pytest.fixture
def node() -> list[str]:
    """Node, with a WebSocket of its own where it has one (behind this flag in 20, without it later)."""
    require("node")
    command, flag = shutil.which("node") or "", "--experimental-websocket"
    known = subprocess.run([command, flag, "--eval", "0"], capture_output=True, check=False).returncode == 0
    return [command, flag] if known else [command]


class Example:
    """The example, running."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def logged(self) -> list[Any]:
        """Return the arguments of its next console.log; what JSON cannot say (undefined) stands as null."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            line = await self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            pytest.fail((await self.process.stderr.read()).decode())
        values: list[Any] = json.loads(line)
        return values


@asynccontextmanager
async def example(node: list[str], port: int) -> AsyncIterator[Example]:
    process = await asyncio.create_subprocess_exec(
        *node,
        str(HERE / "seed_harness.js"),
        str(EXAMPLE),
        str(port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Example(process)
    finally:
        process.kill()
        await process.communicate()


def test_the_example_is_the_seed_documents() -> None:
    assert hashlib.sha256(EXAMPLE.read_bytes()).hexdigest() == EXAMPLE_SHA256


async def test_two_clients_of_the_seed_document_meet(node: list[str]) -> None:
    """Section 1, keep: the example treats every ACK as the answer to its JOIN, so the welcome needs a payload."""
    async with server_process() as server, example(node, server.port) as first:
        assert await first.logged() == ["Joined room, peers:", None], "the welcome"
        label, peers = await first.logged()
        assert label == "Joined room, peers:"
        (alice,) = peers
        assert (alice["display_name"], alice["endpoint"]) == ("Alice", {"ip": "203.0.113.1", "port": 12345})

        async with example(node, server.port) as second:
            assert await second.logged() == ["Joined room, peers:", None]
            label, peers = await second.logged()
            earlier, newcomer = (peer["peer_id"] for peer in peers)
            assert earlier == alice["peer_id"]
            assert await first.logged() == ["New peer:", newcomer]
            assert await second.logged() == ["Received offer from:", alice["peer_id"]]
            assert await first.logged() == ["Received answer, begin hole punching"]
            stats = (await http(server.port, "/api/rooms/my-room")).json
            assert stats["peer_count"] == 2
