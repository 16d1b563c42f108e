"""Different commands in one room: each says what it misses, and none takes what is not meant for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.commands import DEADLINE, Process, end, next_event, next_line, start, url
from tests.support.server_running import server_process

pytestmark = pytest.mark.timeout(90)

TYPED = b"what was typed at a pipe\n"


@asynccontextmanager
async def command(*arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> AsyncIterator[Process]:
    process = await start(*arguments, "--interface", "lo", stdin=stdin)
    try:
        yield process
    finally:
        await end(process)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[tuple[str, ...]]:
    secret = tmp_path / "secret"
    secret.write_text("AAAAAAAAAAAAAAAAAAAAAA")
    async with server_process() as server:
        yield "--server", url(server), "--room", "shared", "--secret-file", str(secret)


async def refusal(pipe: Process) -> str:
    """Type something at a pipe, and return what it says when it ends by itself, having written out nothing."""
    assert pipe.stdin is not None
    pipe.stdin.write(TYPED)
    async with asyncio.timeout(DEADLINE):
        # what was typed does not end: it is the other side's answer that ends the pipe
        assert pipe.stdout is not None
        assert pipe.stderr is not None
        assert await pipe.stdout.read() == b""
        told = (await pipe.stderr.read()).decode()
        assert await pipe.wait() == 9, told
    return told


@pytest.mark.parametrize("first", ["agent", "pipe"])
@pytest.mark.parametrize("message", [(), ("--message", "a message that is no pipe's")], ids=["silent", "talking"])
async def test_a_pipe_that_meets_an_agent_says_so_and_ends(
    place: tuple[str, ...], first: str, message: tuple[str, ...]
) -> None:
    """Whoever is there first opens the link, and each of the two is once the one that does."""
    agent_words = ("agent", *place, "--name", "hermit", "--json", *message)
    pipe_words = ("pipe", *place, "--name", "plumber", "--timeout", "20")
    if first == "agent":
        async with command(*agent_words) as agent:
            await next_event(agent, "joined")
            async with command(*pipe_words, stdin=asyncio.subprocess.PIPE) as pipe:
                told = await refusal(pipe)
            await check_agent(agent, talking=bool(message))
    else:
        async with command(*pipe_words, "-v", stdin=asyncio.subprocess.PIPE) as pipe:
            await next_line(pipe.stderr, b"in room shared")
            async with command(*agent_words) as agent:
                told = await refusal(pipe)
                await check_agent(agent, talking=bool(message))
    last = told.splitlines()[-1]
    assert last.startswith("visavis: hermit ")
    assert last.endswith("is in this room, but is not a pipe: run `visavis pipe` there")
    assert "incomplete" not in told


async def check_agent(agent: Process, *, talking: bool) -> None:
    """The agent stays, has taken nothing for a message, and says who does not take its own."""
    if talking:
        error = await next_event(agent, "error", "data", "link_down")
        assert (error["event"], error["error"], error["name"]) == ("error", "kind_not_offered", "plumber")
        assert error["message"] == "does not take messages: it does not run `visavis agent`"
    gone = await next_event(agent, "link_down", "data")
    assert gone["event"] == "link_down"
    assert agent.returncode is None


async def test_a_pipe_that_meets_a_ping_says_so_and_ends(place: tuple[str, ...]) -> None:
    async with command("ping", *place, "--count", "100", "--timeout", "20", "--json") as ping:
        async with command("pipe", *place, "--timeout", "20", stdin=asyncio.subprocess.PIPE) as pipe:
            told = await refusal(pipe)
        assert "is not a pipe: run `visavis pipe` there" in told
        assert (await next_event(ping, "progress"))["rtt_ms"] is not None


async def test_a_ping_and_a_message_share_the_link_of_two_agents(place: tuple[str, ...]) -> None:
    async with command("agent", *place, "--name", "one", "--json", "--message", "from one") as one:
        await next_event(one, "joined")
        async with command("agent", *place, "--name", "two", "--json", "--message", "from two") as two:
            for process, text in ((one, "from two"), (two, "from one")):
                assert (await next_event(process, "data"))["text"] == text
            async with command("ping", *place, "--peer", "one", "--count", "2", "--timeout", "20", "--json") as ping:
                assert (await next_event(ping, "done"))["received"] == 2
