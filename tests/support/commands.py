"""`visavis` as processes, the way a person or a script runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.server_running import ServerProcess

DEADLINE: Final = 30
"""Seconds for a whole command: a cold start on a busy machine is most of it."""

Process = asyncio.subprocess.Process


async def start(*arguments: str, stdin: int = asyncio.subprocess.DEVNULL, **environment: str) -> Process:
    """Start `visavis` with these arguments and environment variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "visavis_peer", *arguments,
        stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=inherited | environment,
        start_new_session=True,  # nobody is asked at the terminal of whoever runs the tests
    )  # fmt: skip


async def end(process: Process) -> None:
    """Kill a process that still runs, and take what it has said."""
    if process.returncode is None:
        process.kill()
    await process.communicate()


def stop_reading(process: Process) -> None:
    """Close this side of a process's standard output, whose only reader it is."""
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # noqa: SLF001 -- asyncio has no way


async def run(*arguments: str, given: bytes | None = None, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end, with `given` on standard input, and return exit code, standard output and error."""
    process = await start(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        **environment,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate(given)
    finally:
        await end(process)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def next_event(process: Process, *wanted: str) -> dict[str, Any]:
    """Read JSON lines until one of the `wanted` events."""
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        while line := await process.stdout.readline():
            record: dict[str, Any] = json.loads(line)
            assert record["v"] == 1
            if record["event"] in wanted:
                return record
    raise AssertionError(f"ended without {' or '.join(wanted)}")


async def read_invite(process: Process) -> str:
    """Return the invite that `visavis pipe` prints for the other machine."""
    return (await next_line(process.stderr, b"/r/")).decode().strip()


async def next_line(stream: asyncio.StreamReader | None, part: bytes) -> bytes:
    """Read lines until one that contains `part`."""
    assert stream is not None
    seen = []
    async with asyncio.timeout(DEADLINE):
        while line := await stream.readline():
            seen.append(line)
            if part in line:
                return line
    raise AssertionError(f"ended without {part!r}: {seen}")


@asynccontextmanager
async def agent(server: ServerProcess, *more: str) -> AsyncIterator[Process]:
    """Run `visavis agent` on loopback in room `r`."""
    process = await start("agent", "--server", url(server), "--room", "r", "--interface", "lo", "--json", *more)
    try:
        yield process
    finally:
        await end(process)


def url(server: ServerProcess) -> str:
    """Return what `--server` takes."""
    return f"http://127.0.0.1:{server.port}"
