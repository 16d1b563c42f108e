"""Output that nobody reads, or slowly: a pipe that is full, a terminal that is paused. Program and links go on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.ordinary.test_streams import VISAVIS, job
from tests.support.commands import DEADLINE, Process, agent, end, next_event, next_line, read_invite, run, start, url
from tests.support.server_running import READY, ServerProcess, server_process
from tests.support.terminal import at_terminal, exit_code, terminal
from tests.support.ws_raw import RawClient

pytestmark = pytest.mark.timeout(120)

LO: Final = ("--interface", "lo")
PIPE: Final = asyncio.subprocess.PIPE
FREE: Final = ("--message-rate", "100000", "--address-rate", "100000", "--pair-rate", "100000")
"""A stranger may come and go as fast as it likes."""
VISITS: Final = 2000
CLIENTS: Final = 1500
"""Each leaves some 150 bytes in a server's log: three times what a pipe and the server itself keep."""
PIPE_SIZE: Final = 64 << 10
"""Bytes that a pipe of Linux keeps (pipe(7))."""
GRACE: Final = 3
"""Seconds from a signal to the end, on a busy machine."""
NAME: Final = "😀" * 64
"""A name of full length, which JSON escapes: the events on one visit have more than 1.5 KB."""


async def come_and_go(server: ServerProcess, count: int, room: str = "r", name: str = NAME) -> None:
    """Join a room and leave it, again and again."""
    async with await RawClient.connect(server.port) as stranger:
        for _ in range(count):
            stranger.send(type="JOIN", room_id=room, payload={"display_name": name})
            stranger.send(type="LEAVE")
            while (await stranger.receive()).get("payload") != {"message": "left room"}:
                pass


@asynccontextmanager
async def pinging(server: ServerProcess) -> AsyncIterator[Process]:
    """Ping ann in room `r` until the end of the block."""
    where = (*LO, "--server", url(server), "--room", "r")
    process = await start("ping", *where, "--peer", "ann", "-c", "100000", "-i", "0.1", "--json")
    try:
        yield process
    finally:
        await end(process)


async def answers(ping: Process, count: int) -> None:
    """Wait for round trips, `count` of them in a row."""
    in_a_row = 0
    while in_a_row < count:
        in_a_row = in_a_row + 1 if (await next_event(ping, "progress"))["rtt_ms"] is not None else 0


async def test_an_agent_that_is_never_read_keeps_its_link_and_says_at_last_what_was_lost() -> None:
    async with server_process(*FREE) as server, agent(server, "--name", "ann") as ann, pinging(server) as ping:
        await next_event(ping, "progress")
        assert ann.stdout is not None
        await come_and_go(server, VISITS)
        await answers(ping, 10)
        events: list[dict[str, Any]] = []
        async with asyncio.timeout(DEADLINE):
            while not events or events[-1]["event"] != "lost":
                events.append(json.loads(await ann.stdout.readline()))
        assert events[-1]["count"] > 1000
        await come_and_go(server, 1, name="late")  # nothing is lost once it is read
        await next_event(ann, "peer_left")


async def test_an_agent_at_a_terminal_that_is_paused_keeps_its_link_and_shows_the_rest_later() -> None:
    async with server_process(*FREE) as server, terminal() as screen:
        where = (*LO, "--server", url(server), "--room", "r")
        async with at_terminal(screen, "agent", *where, "--name", "ann"), pinging(server) as ping:
            await answers(ping, 1)
            await screen.shows(b"connected to")
            screen.type("\x13")
            await come_and_go(server, 1, name="unseen")
            await answers(ping, 10)
            assert b"unseen" not in screen.shown
            screen.type("\x11")
            await screen.shows(b"unseen")


async def test_a_pipe_at_a_terminal_that_is_paused_goes_on_and_shows_it_later() -> None:
    data = random.Random(1).randbytes(6_000_000)
    async with server_process() as server, terminal() as screen:
        maker = await start("pipe", *LO, "--server", url(server), stdin=PIPE)
        try:
            invite = await read_invite(maker)
            async with at_terminal(screen, "pipe", *LO, stdin=PIPE, stdout=PIPE) as joiner:
                await screen.shows(b"not shown")
                screen.type(f"{invite}\n")
                assert maker.stdin is not None
                assert maker.stderr is not None
                assert joiner.stdin is not None
                assert joiner.stdout is not None
                maker.stdin.write(data[:1_000_000])
                got = await joiner.stdout.readexactly(1_000_000)
                await screen.shows(b"1.0 MB received, ")
                screen.type("\x13")
                maker.stdin.write(data[1_000_000:])
                async with asyncio.timeout(DEADLINE):
                    got += await joiner.stdout.readexactly(len(data) - 1_000_000)
                assert got == data
                assert b"6.0 MB received" not in screen.shown
                screen.type("\x11")
                await screen.shows(b"6.0 MB received, ")
                maker.stdin.close()
                joiner.stdin.close()
                assert await joiner.stdout.read() == b""
                assert await exit_code(joiner) == 0
                await screen.shows(b"\r\x1b[Kdone: 0 bytes sent, 6.0 MB received")
        finally:
            await end(maker)


@pytest.mark.parametrize("status", ["2>err", "2>&1"])
async def test_a_slow_reader_gets_every_line(tmp_path: Path, status: str) -> None:
    async with server_process() as server, agent(server, "--name", "ann"):
        ping = f"{VISAVIS} ping --interface lo --server {url(server)} --room r --peer ann --count 50 -i 0.01 {status}"
        async with job(f"set -o pipefail; {ping} | ( sleep 3; cat ) >out", tmp_path) as process:
            async with asyncio.timeout(DEADLINE):
                assert await process.wait() == 0
    lines = (tmp_path / "out").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines if line[0].isdigit()][:-1] == [str(n + 1) for n in range(50)]
    assert lines[-1].startswith("50 of 50 came back from ann")


async def test_what_waits_is_written_before_the_end_and_a_signal_ends_the_wait(tmp_path: Path) -> None:
    """The pipe is full when the command begins: everything that it says waits until it is read."""
    async with server_process() as server, agent(server, "--name", "ann") as ann:
        ping = f"{VISAVIS} ping --interface lo --server {url(server)} --room r --peer ann --count 3 -i 0"
        fill = f"head -c {PIPE_SIZE} /dev/zero"
        waiting = f"set -o pipefail; ( {fill}; exec {ping} ) | ( until [ -e read ]; do sleep 0.1; done; cat >out )"
        stopped = f"exec 3> >(sleep 60); {fill} >&3; exec {ping} >&3"
        async with job(waiting, tmp_path) as patient, job(stopped, tmp_path) as impatient:
            for _ in range(2):
                await next_event(ann, "peer_left")
            assert patient.returncode is None
            assert impatient.returncode is None
            impatient.terminate()
            async with asyncio.timeout(GRACE):
                assert await impatient.wait() == -signal.SIGTERM
            (tmp_path / "read").touch()
            async with asyncio.timeout(DEADLINE):
                assert await patient.wait() == 0
        assert b"3 of 3 came back from ann" in (tmp_path / "out").read_bytes()


async def test_a_server_whose_log_is_never_read_goes_on_and_says_at_last_what_was_lost() -> None:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "visavis_server", "--host", "127.0.0.1", "--port", "0", "--stun-port", "0",
        "--log-format", "json", "--log-level", "info", stdout=PIPE, stderr=writing,
    )  # fmt: skip
    os.close(writing)
    try:
        match = READY.match((await next_line(process.stdout, b"listening")).decode())
        assert match
        for _ in range(CLIENTS):
            async with await RawClient.connect(int(match[2])):
                pass
        log = await asyncio.to_thread(read_until, reading, b" lost here")
        records = [json.loads(line) for line in log.splitlines()]
        assert records[-1]["message"].endswith("lines were lost here, for nobody read on")
        assert len(records) - 1 + int(records[-1]["message"].split()[0]) >= CLIENTS
    finally:
        os.close(reading)
        await end(process)


def read_until(descriptor: int, part: bytes) -> bytes:
    """Return what comes, to the end of the line with `part`."""
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        lines = []
        for line in stream:
            lines.append(line)
            if part in line:
                break
        return b"".join(lines)


async def test_a_named_pipe_for_events_that_nobody_reads_is_told_and_waited_for_by_nobody(tmp_path: Path) -> None:
    record = tmp_path / "events"
    os.mkfifo(record)
    where = ("--server", "http://127.0.0.1:1", "--timeout", "1")
    code, _, errors = await run("pipe", *where, "--events", str(record))
    assert (code, errors) == (2, f"visavis: --events: {record}: nobody reads it\n")
    code, _, errors = await run("pipe", *where, "--events", str(tmp_path))
    assert (code, errors) == (2, f"visavis: --events: {tmp_path}: Is a directory\n")
