"""What sleeps and comes back: agents that were stopped, and a server that was away, in the middle of things."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import Process, agent, end, next_event, read_invite, start, url
from tests.support.server_running import server_process

SLEEPS: Final = (20.0, 60.0, 75.0)
"""Seconds: one that the link outlives; one that the signaling connection outlives and the link does not; and one after
which the server has taken the agent off its list."""
AWAY: Final = 9.0
"""Seconds that a server needs to come back: more than the silence that the link to a peer off the list is given."""
BACK: Final = 5.0
"""Seconds from waking until the agent is in its room and linked again."""
SIZE: Final = 8 << 20
CHUNK: Final = 1 << 16


@asynccontextmanager
async def pipe(*arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> AsyncIterator[Process]:
    process = await start("pipe", *arguments, "--interface", "lo", "--relay", "only", stdin=stdin)
    try:
        yield process
    finally:
        await end(process)


async def digest_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    digest = hashlib.sha256()
    while data := await stream.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()


async def give(sender: Process, data: bytes) -> None:
    assert sender.stdin is not None
    sender.stdin.write(data)
    await sender.stdin.drain()


async def sleep_and_wake(seconds: float) -> None:
    """Stop one of two linked agents for a while; it must be in its room and linked again within BACK."""
    async with server_process() as server, agent(server) as sleeper, agent(server) as other:
        await asyncio.gather(next_event(sleeper, "link_up"), next_event(other, "link_up"))
        sleeper.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        sleeper.send_signal(signal.SIGCONT)
        woken_at = time.time()
        joined = await next_event(sleeper, "joined")
        linked = await next_event(sleeper, "link_up", "path", "link_down")
        assert linked["event"] != "link_down"
        assert joined["ts"] - woken_at < BACK
        assert linked["ts"] - woken_at < BACK
        sleeper.terminate()
        _, errors = await sleeper.communicate()
        assert sleeper.returncode == 0
        assert b"Traceback" not in errors


@pytest.mark.timeout(150)
async def test_an_agent_that_was_stopped_is_back_in_its_room_and_links_again() -> None:
    await asyncio.gather(*map(sleep_and_wake, SLEEPS))


@pytest.mark.timeout(120)
async def test_a_transfer_by_the_relay_survives_a_server_that_is_away_and_knows_its_clients_again(
    tmp_path: Path,
) -> None:
    keys = ("--key-file", str(tmp_path / "keys"))
    data = random.Random(0).randbytes(SIZE)
    async with (
        server_process(*keys) as server,
        pipe("--server", url(server), stdin=asyncio.subprocess.PIPE) as sender,
        pipe(await read_invite(sender)) as receiver,
    ):
        arrived = asyncio.create_task(digest_of(receiver.stdout))
        await give(sender, data[: SIZE // 2])
        server.process.kill()
        await server.ended()
        await asyncio.sleep(AWAY)
        async with server_process(*keys, "--port", str(server.port)):
            await give(sender, data[SIZE // 2 :])
            assert sender.stdin is not None
            sender.stdin.close()
            assert await arrived == hashlib.sha256(data).hexdigest()
            assert [await each.wait() for each in (sender, receiver)] == [0, 0]
