"""Agents whose server is killed or replaced: they are back in their rooms by their ids, and links go on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.support.conditions import until
from tests.support.server_running import http, server_process
from tests.support.watched import Watched, linked_pair
from visavis_peer import Agent, AgentSettings
from visavis_peer.events import Failure, Joined, LinkDown
from visavis_peer.host import network_watch

AGENTS = 1000
PAIRS = 20
"""Rooms of two, with a link; the other agents are alone in theirs, for 1,000 links would be this machine's test."""
TOGETHER = 50
"""Agents that start at the same time."""
DESCRIPTORS = 16 * AGENTS
"""An agent alone has a connection and a UDP socket for each address; the server has one more."""
BACK_WITHIN = 45.0
"""Seconds: three of the longest waits between two attempts, for all of them share one process, on whatever machine."""


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    former, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (former, most))


@pytest.mark.campaign
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("many_descriptors")
async def test_a_thousand_agents_are_back_after_the_server_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_watch, "INTERVAL", 60.0)  # a thousand looks a second at the same interfaces
    options = ("--key-file", str(tmp_path / "keys"), "--log-level", "warning")  # nobody reads the log while it runs
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        async with server_process(*options) as server:
            port = server.port
            agents = await start_all(stack, port)
            await until(lambda: all(each.links for each in agents[: 2 * PAIRS]))
            ids = [each.agent.peer_id for each in agents]
            rooms = await sizes(port)
            os.kill(server.pid, signal.SIGKILL)
            await server.process.wait()
            killed_at = loop.time()
        async with server_process(*options, "--port", str(port)):
            left = killed_at + BACK_WITHIN - loop.time()
            await until(lambda: all(len(each.of(Joined)) == 2 for each in agents), left)
            print(f"{AGENTS} agents are back {loop.time() - killed_at:.1f} s after the server was killed")
            assert [each.agent.peer_id for each in agents] == ids
            assert await sizes(port) == rooms
            await stack.aclose()


async def test_a_link_carries_on_while_its_server_is_replaced(tmp_path: Path) -> None:
    """Two agents move to the successor that listens on the same port, and a stream between them misses nothing."""
    options = ("--key-file", str(tmp_path / "keys"), "--reuse-port", "on")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process(*options))
        ports = ("--port", str(server.port), "--stun-port", str(server.stun_port))
        ann, bob = await stack.enter_async_context(linked_pair(server))
        ids = [ann.agent.peer_id, bob.agent.peer_id]
        _, writer = await ann.links[0].open_stream("test")
        writer.write(b"0")
        reader, _ = await bob.links[0].accept_stream("test")
        arrived = b""
        for restart in 1, 2:
            successor = await stack.enter_async_context(server_process(*options, *ports))
            server.process.send_signal(signal.SIGTERM)
            await until(partial(joined_times, (ann, bob), 1 + restart))
            assert await server.process.wait() == 0
            server = successor
            writer.write(str(restart).encode())
        writer.write_eof()
        async for part in reader:
            arrived += part
        assert arrived == b"012"
        assert [ann.agent.peer_id, bob.agent.peer_id] == ids
        assert not ann.of(LinkDown)
        assert not bob.of(LinkDown)
        assert all("code 1012" in failure.message for failure in ann.of(Failure) + bob.of(Failure))


def joined_times(agents: tuple[Watched, ...], times: int) -> bool:
    return all(len(each.of(Joined)) == times for each in agents)


async def start_all(stack: AsyncExitStack, port: int) -> list[Watched]:
    """Start the agents, some at a time; `stack` closes them all at once."""
    agents = []
    for first in range(0, AGENTS, TOGETHER):
        batch = [watch(port, number) for number in range(first, first + TOGETHER)]
        await asyncio.gather(*(each.agent.__aenter__() for each in batch))
        agents += batch
    stack.push_async_callback(close_all, agents)
    return agents


async def close_all(agents: list[Watched]) -> None:
    await asyncio.gather(*(each.agent.close() for each in agents))
    await asyncio.gather(*(each.finish() for each in agents))


def watch(port: int, number: int) -> Watched:
    room = f"pair-{number // 2}" if number < 2 * PAIRS else f"room-{number}"
    settings = AgentSettings(server=f"http://127.0.0.1:{port}", room=room, interfaces=("lo",))
    return Watched(Agent(settings))


async def sizes(port: int) -> dict[str, int]:
    listed = (await http(port, "/api/rooms")).json["rooms"]
    return {room["id"]: room["peer_count"] for room in listed}
