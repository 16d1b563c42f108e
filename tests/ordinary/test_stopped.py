"""Ctrl-Z and `fg` in a shell: what a person reads is what has happened."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.support.commands import url
from tests.support.conditions import until
from tests.support.server_running import server_process
from tests.support.terminal import shell, terminal
from visavis_peer.core.link.liveness import LATE
from visavis_peer.host.sleep_watch import INTERVAL


@pytest.mark.timeout(90)
async def test_after_ctrl_z_and_fg_it_says_that_the_program_was_stopped_and_goes_on() -> None:
    """Real time is what is tested: no clock but the system's tells a stop from a sleep."""
    async with server_process() as server, terminal() as screen, shell(screen) as process:
        command = f"{sys.executable} -m visavis_peer agent --server {url(server)} --room r --interface lo"
        screen.type(f"{command}\n")
        await screen.shows(b"in room r with 0 other peers")
        screen.type("\x1a")
        await screen.shows(b"Stopped")
        await asyncio.sleep(INTERVAL + LATE + 1)
        screen.type("fg\n")
        await screen.shows(b"this program was stopped for ")
        assert b"asleep" not in screen.shown
        await until(lambda: screen.shown.count(b"in room r with 0 other peers") == 2)
        screen.type("\x03")
        await screen.shows(b"^C")
        screen.type("echo ended with $?; exit\n")
        await screen.shows(b"ended with 130")
        await process.wait()
