"""A fault of the program itself, planted into the real one: it ends with a sentence and exit code 1, never silently."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import pytest

from tests.support.commands import DEADLINE, end, url
from tests.support.server_running import server_process

SENTENCE: Final = "internal error, please report it: ValueError: planted"
WATCHER: Final = """
import visavis_peer.host.network_watch as module
async def fail(self): raise ValueError("planted")
module.NetworkWatch._run = fail
from visavis_peer.commands.main import main
"""
TIMER: Final = """
import asyncio, visavis_peer.core.signaling.resume as module
def fail(self): raise ValueError("planted")
first = module.ResumeState.begin
def begin(self, *arguments):
    first(self, *arguments)
    asyncio.get_running_loop().call_later(0.1, fail, self)
module.ResumeState.begin = begin
from visavis_peer.commands.main import main
"""
CONNECTION: Final = """
import visavis_peer.agent as module
def fail(self, client): raise ValueError("planted")
module.Agent._take_relay = fail
from visavis_peer.commands.main import main
"""
SWEEP: Final = """
import visavis_server.sockets.switchboard as module
def fail(self): raise ValueError("planted")
module.Switchboard._sweep = fail
from visavis_server.cli import main
"""


async def run_with(fault: str, *arguments: str) -> tuple[int | None, str]:
    """Run a program with a fault planted, and return exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"{fault}\nimport sys; sys.exit(main())", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE):
            _, errors = await process.communicate()
    finally:
        await end(process)
    return process.returncode, errors.decode()


@pytest.mark.parametrize("fault", [WATCHER, TIMER, CONNECTION], ids=["task", "timer", "connection"])
async def test_an_agent_that_fails_ends_with_a_sentence(fault: str) -> None:
    async with server_process() as server:
        code, errors = await run_with(fault, "agent", "--server", url(server), "--room", "r", "--interface", "lo")
    assert code == 1
    assert SENTENCE in errors
    assert "Traceback" not in errors


async def test_a_server_that_fails_ends_with_a_sentence() -> None:
    arguments = ("--host", "127.0.0.1", "--port", "0", "--stun-port", "0", "--cleanup-interval", "0.1")
    code, errors = await run_with(SWEEP, *arguments)
    assert code == 1
    assert errors.splitlines()[-1] == f"visavis-server: {SENTENCE}"  # the log before it has the traceback
