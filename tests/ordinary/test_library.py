"""The programs of docs/library.md, run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.support.commands import DEADLINE, Process, end, next_event, next_line, run, url
from tests.support.server_running import server_process
from visavis_peer import AgentSettings, InvalidInvite, Invite, UsageError
from visavis_server import Settings, SettingsError

pytestmark = pytest.mark.timeout(90)

TEXT: Final = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
PROGRAMS: Final = {name: code for code, name in re.findall(r"```python\n(# (\w+\.py):.*?)```", TEXT, re.DOTALL)}


@asynccontextmanager
async def program(name: str, server: str, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """Run a program of the text against a server of this test."""
    file = folder / name
    file.write_text(PROGRAMS[name].replace("https://meet.example", server))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(file), env=dict(os.environ) | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        await end(process)


async def output_of(name: str, server: str, folder: Path, **environment: str) -> str:
    async with program(name, server, folder, **environment) as process, asyncio.timeout(DEADLINE):
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()


def test_every_block_is_a_program_that_is_run_here() -> None:
    assert TEXT.count("```python") == len(PROGRAMS)
    assert PROGRAMS.keys() == {"invite.py", "echo.py", "hello.py", "receive.py", "send.py", "serve.py", "embedded.py"}


async def test_an_invite_is_made_and_an_echo_comes_back(tmp_path: Path) -> None:
    async with server_process() as server:
        invite = (await output_of("invite.py", url(server), tmp_path)).strip()
        made = Invite.parse(invite)
        assert (made.server, str(made)) == (url(server), invite)
        assert made.secret is not None
        async with program("echo.py", url(server), tmp_path, INVITE=invite) as echo:
            await next_line(echo.stdout, b"ready")
            assert await output_of("hello.py", url(server), tmp_path, INVITE=invite) == "echo True b'hello'\n"


async def test_a_program_has_a_server_of_its_own(tmp_path: Path) -> None:
    async with program("serve.py", "", tmp_path) as server:
        assert server.stdout is not None
        async with asyncio.timeout(DEADLINE):
            place = f"http://127.0.0.1:{int(await server.stdout.readline())}"
        invite = str(Invite.make(place))
        async with program("echo.py", place, tmp_path, INVITE=invite) as echo:
            await next_line(echo.stdout, b"ready")
            assert await output_of("hello.py", place, tmp_path, INVITE=invite) == "echo True b'hello'\n"


async def test_a_file_arrives_as_it_was(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "photo").write_bytes(content)
    copy = tmp_path / "copy"
    async with server_process() as server:
        invite = str(Invite.make(url(server)))
        async with program("receive.py", url(server), tmp_path, INVITE=invite, FILE=str(copy)) as receiver:
            await next_line(receiver.stdout, b"ready")
            await output_of("send.py", url(server), tmp_path, INVITE=invite, FILE=str(tmp_path / "photo"))
            async with asyncio.timeout(DEADLINE):
                assert await receiver.wait() == 0
    assert copy.read_bytes() == content


async def test_the_server_is_a_part_of_another_application_for_those_who_are_authorized(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    here = f"http://127.0.0.1:{port}"
    async with program("embedded.py", here, tmp_path, TOKEN="let me in", PORT=str(port)) as application:
        await next_line(application.stdout, b"Running on")
        place = ("--server", f"{here}/meet", "--room", "r", "--interface", "lo")
        good = {"Authorization": "Bearer let me in"}
        async with aiohttp.ClientSession() as session:
            statuses = {}
            for path, headers in (("/", {}), ("/meet/health", {}), ("/meet/health", good), ("/health", good)):
                async with session.get(here + path, headers=headers) as response:
                    statuses[path, bool(headers)] = response.status
            async with session.get(f"{here}/meet/health", headers={"Authorization": "Bearer x"}) as response:
                assert response.status == 403
            async with session.get(f"{here}/meet/r/den") as response:
                assert response.status == 200
        assert list(statuses.values()) == [200, 401, 200, 404]
        code, _, errors = await run("ping", *place, "--timeout", "2")
        assert code == 9
        assert "token" in errors
        code, _, errors = await run("ping", *place, "--timeout", "2", VISAVIS_TOKEN="let-me-in")
        assert code == 9


async def test_agents_link_by_a_mounted_server_and_by_its_relay(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    here = f"http://127.0.0.1:{port}"
    async with program("embedded.py", here, tmp_path, TOKEN="secret-token", PORT=str(port)) as application:
        await next_line(application.stdout, b"Running on")
        place = ("--server", f"{here}/meet", "--room", "r", "--interface", "lo", "--token", "secret-token")
        for relay in ("auto", "only"):
            for_this = (*place, "--relay", relay)
            waiting = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "visavis_peer", "agent", *for_this, "--json", stdout=asyncio.subprocess.PIPE
            )
            try:
                await next_event(waiting, "joined")
                code, output, errors = await run("ping", *for_this, "-c", "1")
                assert code == 0, errors
                assert relay == "auto" or "through the relay" in output
            finally:
                await end(waiting)
        application.terminate()
        async with asyncio.timeout(DEADLINE):
            await application.wait()


async def test_who_only_looks_at_the_network_shows_the_token_too(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    here = f"http://127.0.0.1:{port}"
    async with program("embedded.py", here, tmp_path, TOKEN="secret-token", PORT=str(port)) as application:
        await next_line(application.stdout, b"Running on")
        for verb, expected in (("discover", "public endpoint  127.0.0.1:"), ("doctor", "answers in")):
            place = (verb, "--server", f"{here}/meet", "--interface", "lo")
            code, _, errors = await run(*place)
            assert (code, "it asks for a token" in errors) == (9, True), errors
            shown = await asyncio.gather(
                run(*place, VISAVIS_TOKEN="secret-token"), run(*place, "--token", "secret-token")
            )
            for code, output, errors in shown:
                assert (code, expected in output) == (0, True), errors


def test_what_makes_no_sense_is_an_error_of_this_library() -> None:
    with pytest.raises(UsageError, match="room"):
        AgentSettings(server="https://meet.example", room="")
    with pytest.raises(SettingsError, match="room_limit"):
        Settings(room_limit=0)
    with pytest.raises(InvalidInvite):
        Invite.make("ftp://meet.example")
    with pytest.raises(InvalidInvite):
        Invite.make("https://meet.example", room=" ")
