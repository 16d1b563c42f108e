"""Servers and resolvers that never answer: a command ends when `--timeout` is over, and at once by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiohttp import WSMsgType, web

from tests.support.commands import DEADLINE, Process, end, run
from tests.support.http_server import http_server
from tests.support.requirements import require

pytestmark = pytest.mark.timed

TIMEOUT: Final = 3.0
"""Seconds, as `--timeout` says."""
SLACK: Final = 4.5
"""Seconds for the start and the end of a program on a busy machine; each resolver or server here keeps one waiting for
10 s and more."""
DEAD_RESOLVER: Final = "127.53.53.53"
VERBS: Final = {
    "ping": ("--room", "r"),
    "agent": ("--room", "r"),
    "pipe": (),
    "discover": (),
    "doctor": (),
}


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Path]:
    """Yield what is to stand in the place of /etc/resolv.conf: a resolver that takes every question, and is silent."""
    require("namespaces")
    place = tmp_path / "resolv.conf"
    place.write_text(f"nameserver {DEAD_RESOLVER}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((DEAD_RESOLVER, 53))
        yield place


async def start_without_names(resolver: Path, *arguments: str) -> Process:
    """Start a command in a mount namespace in which no name has an address."""
    script = f'mount --bind "{resolver}" /etc/resolv.conf && exec "$@"'
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "visavis_peer", *arguments),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment, start_new_session=True,
    )  # fmt: skip


async def outcome_without_names(resolver: Path, *arguments: str) -> tuple[int | None, float, str]:
    """Return the exit code, the seconds that a command took, and what it said."""
    began = time.monotonic()
    process = await start_without_names(resolver, *arguments)
    try:
        async with asyncio.timeout(DEADLINE):
            _, errors = await process.communicate()
    finally:
        await end(process)
    return process.returncode, time.monotonic() - began, errors.decode()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_resolver_that_never_answers_holds_nobody_beyond_the_timeout(verb: str, resolver: Path) -> None:
    where = ("--server", "http://nobody.example", *VERBS[verb])
    code, seconds, errors = await outcome_without_names(resolver, verb, *where, "--timeout", f"{TIMEOUT:g}")
    assert code == 5, errors
    assert "within 3 s" in errors
    assert seconds >= TIMEOUT
    assert seconds < TIMEOUT + SLACK or verb == "doctor"  # which looks at the network all the same


async def test_stun_servers_whose_names_get_no_answer_are_given_up_too(resolver: Path) -> None:
    survey = ("--stun", "nobody.example", "--interface", "lo", "--timeout", "1")
    code, seconds, errors = await outcome_without_names(resolver, "discover", *survey)
    assert code == 7, errors
    assert seconds < 1 + SLACK


async def test_a_proxy_whose_name_gets_no_answer_is_given_up_too(resolver: Path) -> None:
    for proxy in ("http://proxy.example:3128", "socks5h://proxy.example", "socks4://127.0.0.1:9"):
        where = ("--server", "http://nobody.example", "--room", "r", "--proxy", proxy, "--timeout", "1")
        code, seconds, errors = await outcome_without_names(resolver, "ping", *where)
        assert (code, "within 1 s" in errors) == (5, True), errors
        assert seconds < 1 + SLACK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_at_once_who_waits_for_a_resolver(number: signal.Signals, resolver: Path) -> None:
    async def stopped(verb: str) -> tuple[str, int | None, float]:
        process = await start_without_names(resolver, verb, "--server", "http://nobody.example", *VERBS[verb])
        try:
            await asyncio.to_thread(_await_question, process.pid)
            began = time.monotonic()
            process.send_signal(number)
            async with asyncio.timeout(DEADLINE):
                await process.communicate()
        finally:
            await end(process)
        return verb, process.returncode, time.monotonic() - began

    for verb, code, seconds in await asyncio.gather(*map(stopped, VERBS)):
        in_order = verb == "agent" and number == signal.SIGTERM
        assert (verb, code) == (verb, 0 if in_order else -number)
        assert seconds < 2.0, verb


def _await_question(pid: int) -> None:
    """Wait until a process asks the resolver."""
    give_up_at = time.monotonic() + DEADLINE
    while not _asks_resolver(pid):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def _asks_resolver(pid: int) -> bool:
    """Whether a process has a socket to DEAD_RESOLVER, port 53 (proc_pid_net(5))."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(entry))
    remote = socket.inet_aton(DEAD_RESOLVER)[::-1].hex().upper() + ":0035"
    lines = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return any(fields[2] == remote and f"socket:[{fields[9]}]" in sockets for fields in lines)


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Yield the URL of what takes connections and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def welcoming(request: web.Request) -> web.WebSocketResponse:
    """Welcome whoever comes, and answer nothing."""
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    welcome = {"type": "ACK", "peer_id": "ab" * 8, "timestamp": 0, "payload": {"message": "connected"}}
    await connection.send_json(welcome)
    while (await connection.receive()).type is WSMsgType.TEXT:
        pass
    return connection


async def test_a_server_that_never_answers_holds_nobody_beyond_the_timeout() -> None:
    async def outcome(verb: str, server: str) -> tuple[str, int, float, str]:
        began = time.monotonic()
        code, _, errors = await run(verb, "--server", server, *VERBS[verb], "--timeout", f"{TIMEOUT:g}")
        return verb, code, time.monotonic() - began, errors

    async with silent_server() as mute, http_server(welcoming) as deaf:
        for verb in VERBS:
            waits = [outcome(verb, mute)]
            if verb in ("ping", "agent"):
                waits.append(outcome(verb, deaf))
            for _, code, seconds, errors in await asyncio.gather(*waits):
                assert (verb, code) == (verb, 5), errors
                assert "within 3 s" in errors
                assert seconds < TIMEOUT + SLACK or verb == "doctor", verb


async def test_who_ends_while_the_rest_is_still_imported_ends_in_order() -> None:
    """At any moment: a thread that is cut off in compiled code would abort the process."""

    async def ended(timeout: float) -> tuple[int, str]:
        where = ("--server", "http://127.0.0.1:1", "--room", "r", "--timeout", f"{timeout:g}")
        code, _, errors = await run("ping", *where)
        return code, errors

    for first in range(0, 40, 2):
        for code, errors in await asyncio.gather(*(ended((first + each + 1) / 100) for each in range(2))):
            assert (code, "FATAL" in errors) == (5, False), errors
