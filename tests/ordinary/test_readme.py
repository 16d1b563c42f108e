"""The lines of README.md, the user's guide and deploy/, run as they stand there, against a server of this machine."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import DEADLINE, Process, end, next_line, read_invite, url
from tests.support.server_running import READY, ServerProcess, server_process
from visavis_server.setup.settings import Settings

pytestmark = pytest.mark.timeout(120)

ROOT: Final = Path(__file__).parents[2]
TEXTS: Final = {name: (ROOT / name).read_text() for name in ("README.md", "docs/guide.md")}
PLACES: Final = ("https://meet.example", "http://203.0.113.7:8080")
SEND: Final = "tar c photos | visavis pipe --server https://meet.example"
RECEIVE: Final = "visavis pipe | tar x"
PIPEFAIL: Final = "set -o pipefail"


def lines_of(text: str) -> list[str]:
    """Return the commands of all shell blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


LINES: Final = [line for text in TEXTS.values() for line in lines_of(text)]
SHORT: Final = sorted({line for line in LINES if re.match(r"visavis (discover|doctor|ping) ", line)})
LASTING: Final = sorted({line for line in LINES if re.match(r"visavis agent ", line)})
SERVERS: Final = sorted({line for line in LINES if line.startswith("visavis-server")})


@asynccontextmanager
async def shell(line: str, server: ServerProcess | None, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """Run a line in a shell without a terminal, its server replaced by one of this test."""
    for place in PLACES if server is not None else ():
        line = line.replace(place, url(server)) if server is not None else line
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    path = f"{Path(sys.executable).parent}:{clean.get('PATH', '')}"
    process = await asyncio.create_subprocess_shell(
        line, cwd=folder, env=clean | {"PATH": path, "VISAVIS_INTERFACE": "lo"} | environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        await end(process)


def test_every_line_of_a_shell_block_is_run_somewhere() -> None:
    elsewhere = {"scripts/demo", "scripts/test"}
    assert {SEND, RECEIVE} <= set(lines_of(TEXTS["README.md"]))
    assert set(LINES) == {SEND, RECEIVE, PIPEFAIL, *SHORT, *LASTING, *SERVERS} | elsewhere
    assert SHORT
    assert LASTING
    assert SERVERS


async def test_with_pipefail_a_tar_that_fails_is_no_success(tmp_path: Path) -> None:
    """There is no folder `photos` here."""
    for before, code in ((PIPEFAIL, 2), (":", 0)):
        line = f"exec bash -c '{before}; {SEND}'"
        async with server_process() as server, shell(line, server, tmp_path) as sender:
            invite = await read_invite(sender)
            async with shell(RECEIVE, server, tmp_path, VISAVIS_INVITE=invite) as receiver, asyncio.timeout(DEADLINE):
                await asyncio.gather(sender.communicate(), receiver.communicate())
        assert sender.returncode == code


async def test_the_two_commands_carry_a_folder(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "photos").mkdir(parents=True)
    there.mkdir()
    content = os.urandom(300_000)
    (here / "photos" / "one").write_bytes(content)
    async with server_process() as server, shell(SEND, server, here) as sender:
        invite = await read_invite(sender)
        async with shell(RECEIVE, server, there, VISAVIS_INVITE=invite) as receiver, asyncio.timeout(DEADLINE):
            await asyncio.gather(sender.communicate(), receiver.communicate())
            assert (sender.returncode, receiver.returncode) == (0, 0)
    assert (there / "photos" / "one").read_bytes() == content


async def test_every_other_line_works_beside_the_agent_of_the_text(tmp_path: Path) -> None:
    async with server_process() as server:
        for agent in LASTING:
            async with shell(f"exec {agent}", server, tmp_path) as attic:
                await next_line(attic.stdout, b"in room den")
                for line in SHORT:
                    async with shell(line, server, tmp_path) as process, asyncio.timeout(DEADLINE):
                        _, errors = await process.communicate()
                        assert process.returncode == 0, f"{line}: {errors.decode()}"


@pytest.mark.parametrize("line", SERVERS)
async def test_the_servers_of_the_text_start(line: str, tmp_path: Path) -> None:
    free = {"VISAVIS_PORT": "0", "VISAVIS_STUN_PORT": "0"}
    async with shell(f"exec {line}", None, tmp_path, **free) as process:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            assert READY.match((await process.stdout.readline()).decode())


async def test_the_unit_of_systemd_starts_the_server_with_settings_that_exist(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "visavis-server.service").read_text()
    told = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
    assert {name.removeprefix("VISAVIS_").lower() for name in told} <= set(Settings.model_fields)
    environment = {name: value.replace("%S/visavis", str(tmp_path)) for name, value in told.items()}
    environment |= {"VISAVIS_PORT": "0", "VISAVIS_STUN_PORT": "0"}
    command = re.search(r"^ExecStart=/opt/visavis/bin/(\S+)$", unit, re.MULTILINE)
    assert command
    async with shell(f"exec {command[1]}", None, tmp_path, **environment) as process:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            assert READY.match((await process.stdout.readline()).decode())
    assert (tmp_path / "key").exists()


def test_links_between_the_texts_lead_somewhere() -> None:
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
