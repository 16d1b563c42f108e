"""`visavis pipe`: two processes whose standard streams are joined, and every way in which that ends."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import DEADLINE, Process, end, read_invite, run, start, stop_reading, url
from tests.support.server_running import ServerProcess, server_process
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(90)

SIZE: Final = 3_000_000


@asynccontextmanager
async def pipe(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    process = await start("pipe", "--interface", "lo", *arguments, stdin=asyncio.subprocess.PIPE, **environment)
    try:
        yield process
    finally:
        await end(process)


@asynccontextmanager
async def maker(server: ServerProcess, *more: str) -> AsyncIterator[tuple[Process, str]]:
    """Run the side that makes the invite; yield the process and the invite."""
    async with pipe("--server", url(server), *more) as process:
        yield process, await read_invite(process)


@asynccontextmanager
async def joined_pair(*more: str) -> AsyncIterator[tuple[Process, Process]]:
    """Run both sides against a server of their own."""
    async with server_process() as server, maker(server, *more) as (one, invite), pipe(invite, *more) as other:
        yield one, other


async def feed(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    await process.stdin.drain()
    process.stdin.close()


async def write(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    await process.stdin.drain()


async def read(process: Process, size: int = -1) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        return await (process.stdout.read() if size < 0 else process.stdout.readexactly(size))


async def exit_code(process: Process, deadline: float = DEADLINE) -> int:
    async with asyncio.timeout(deadline):
        return await process.wait()


async def told(process: Process) -> str:
    """Return the rest of standard error."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        return (await process.stderr.read()).decode()


@pytest.mark.parametrize("relay", ["auto", "never", "only"])
async def test_bytes_cross_exactly_both_ways(relay: str) -> None:
    ours, theirs = random.Random(1).randbytes(SIZE), random.Random(2).randbytes(SIZE + 1)
    async with joined_pair("--relay", relay) as (one, other):
        *_, received, returned = await asyncio.gather(feed(one, ours), feed(other, theirs), read(other), read(one))
        assert received == ours
        assert returned == theirs
        assert (await exit_code(one), await exit_code(other)) == (0, 0)
        said = await told(other)
        assert ", authenticated\n" in said
        assert relay == "auto" or ("through the relay" in said, "directly" in said) == (
            relay == "only",
            relay == "never",
        )


@pytest.mark.parametrize("first", ["maker", "joiner"])
async def test_a_side_that_has_ended_its_input_still_receives(first: str) -> None:
    async with joined_pair() as pair:
        early, late = pair if first == "maker" else reversed(pair)
        await feed(early, b"my last word")
        assert await read(late) == b"my last word"
        await write(late, b"one ")
        assert await read(early, 4) == b"one "
        await feed(late, b"two")
        assert await read(early) == b"two"
        assert (await exit_code(early), await exit_code(late)) == (0, 0)


async def test_nothing_at_all_crosses_as_well() -> None:
    async with joined_pair() as (one, other):
        await asyncio.gather(feed(one, b""), feed(other, b""))
        assert (await read(one), await read(other)) == (b"", b"")
        assert (await exit_code(one), await exit_code(other)) == (0, 0)


async def test_standard_error_has_the_invite_the_path_and_that_the_peer_is_authenticated() -> None:
    async with server_process() as server, maker(server) as (one, invite), pipe(invite, "--name", "bob") as other:
        parsed = Invite.parse(invite)
        assert (parsed.server, parsed.secret is None) == (url(server), False)
        assert re.fullmatch(r"[a-z2-7]{16}", parsed.room)
        await asyncio.gather(feed(one, b""), feed(other, b""))
        up = re.search(r"connected to bob \(\w+\) .+, authenticated\n", await told(one))
        assert up


async def test_the_events_go_to_a_file_on_request(tmp_path: Path) -> None:
    file = tmp_path / "events"
    async with joined_pair("--events", str(file)) as (one, other):
        await asyncio.gather(feed(one, b"x"), feed(other, b""))
        assert await read(other) == b"x"
        await asyncio.gather(exit_code(one), exit_code(other))
    assert '"event":"link_up"' in file.read_text()


async def test_a_peer_that_is_killed_ends_the_other_with_exit_code_4() -> None:
    async with joined_pair() as (alive, dead):
        await write(dead, b"still alive")
        assert await read(alive, 11) == b"still alive"
        dead.kill()
        assert await exit_code(alive, DEADLINE + 10) == 4  # it gives up before DEADLINE, and then has to end
        assert "no longer answers" in await told(alive)


async def test_a_peer_that_is_interrupted_ends_the_other_at_once() -> None:
    async with joined_pair() as (one, other):
        await write(one, b"still here")
        assert await read(other, 10) == b"still here"
        one.terminate()
        assert await exit_code(one) == -signal.SIGTERM
        assert await exit_code(other) == 4
        assert "closed by the peer" in await told(other)


async def test_a_reader_that_goes_away_ends_both_sides_with_a_reason() -> None:
    async with joined_pair() as (one, other):
        await write(one, b"first")
        assert await read(other, 5) == b"first"
        assert other.stdout is not None
        stop_reading(other)
        assert one.stdin is not None
        one.stdin.write(bytes(SIZE))
        assert await exit_code(other) == -signal.SIGPIPE
        assert "Traceback" not in await told(other)
        assert await exit_code(one) == 9
        assert "the other side cannot write to standard output: its reader has gone" in await told(one)


async def test_a_wrong_secret_is_exit_code_6_and_the_right_peer_still_gets_through() -> None:
    async with server_process() as server, maker(server) as (one, invite):
        parsed = Invite.parse(invite)
        wrong = Invite(parsed.server, parsed.room, bytes(16))
        code, output, errors = await run("pipe", str(wrong), "--interface", "lo", given=b"for nobody")
        assert (code, output) == (6, "")
        assert "the secret does not match" in errors
        async with pipe(invite) as other:
            await asyncio.gather(feed(one, b""), feed(other, b"for you"))
            assert await read(one) == b"for you"


async def test_a_third_peer_is_refused_with_the_reason_and_disturbs_nothing() -> None:
    async with server_process() as server, maker(server) as (one, invite), pipe(invite) as other:
        await write(other, b"first")
        assert await read(one, 5) == b"first"
        for _ in range(2):
            code, output, errors = await run("pipe", invite, "--interface", "lo", given=b"third")
            assert (code, output) == (9, "")
            assert "this pipe is in use by another peer" in errors
        await asyncio.gather(feed(one, b""), feed(other, b" and last"))
        assert await read(one) == b" and last"
        assert (await exit_code(one), await exit_code(other)) == (0, 0)
        for each in (one, other):
            assert each.stderr is not None
            told = (await each.stderr.read()).decode()
            assert told.count("somebody else came in") == 1, "who comes again is not told of again"
            assert told.count("connected to the other side") == 1, "and is not taken for the peer"


async def test_nobody_there_is_exit_code_4() -> None:
    async with server_process() as server:
        code, _, errors = await run(
            "pipe", "--server", url(server), "--room", "r", "--interface", "lo", "--timeout", "1", given=b""
        )
        assert code == 4
        assert "in the room: nobody" in errors


async def test_without_a_secret_the_peer_is_unauthenticated_and_bytes_still_cross() -> None:
    async with server_process() as server:
        place = ("--server", url(server), "--room", "r")
        async with pipe(*place) as one, pipe(*place) as other:
            await asyncio.gather(feed(one, b"for anybody"), feed(other, b""))
            assert await read(other) == b"for anybody"
            for each in (one, other):
                assert ", unauthenticated\n" in await told(each)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "an invite is required, or --server URL"),
        (("-",), "standard input holds the data of a pipe"),
        (("https://h/r/room#short",), "22 characters of base64url"),
        (("--server", "http://h", "--events", "/nonexistent/file"), "--events"),
        (("--invite-file", "/nonexistent"), "cannot read the invite"),
    ],
)
async def test_a_wrong_command_line_is_exit_code_2(arguments: tuple[str, ...], complaint: str) -> None:
    code, _, errors = await run("pipe", *arguments)
    assert code == 2
    assert complaint in errors
