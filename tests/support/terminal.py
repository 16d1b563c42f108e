"""A terminal with a person at it: a program that has one as its controlling terminal, whatever its streams are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.support.commands import DEADLINE, Process, end
from tests.support.conditions import until

_LAUNCHER: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Terminal:
    """The person's side of a terminal: what is shown, and what is typed."""

    def __init__(self, master: int, inner: int) -> None:
        self.inner = inner
        """Descriptor of the side that programs have."""
        self.shown = b""
        """All that has come on the screen."""
        self._master = master
        asyncio.get_running_loop().add_reader(master, self._read)

    def type(self, text: str) -> None:
        """Type `text`."""
        os.write(self._master, text.encode())

    async def shows(self, part: bytes) -> None:
        """Wait until `part` has come on the screen."""
        await until(lambda: part in self.shown)

    @property
    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def close(self) -> None:
        """Take the terminal away."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.inner)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last program has closed its side
            self.shown += os.read(self._master, 1 << 16)


@asynccontextmanager
async def terminal() -> AsyncIterator[Terminal]:
    """Open a terminal."""
    opened = Terminal(*pty.openpty())
    try:
        yield opened
    finally:
        opened.close()


@asynccontextmanager
async def at_terminal(
    screen: Terminal, *arguments: str, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None
) -> AsyncIterator[Process]:
    """Run `visavis` in the foreground of a terminal; the streams are the terminal too where nothing else is given."""
    streams = [screen.inner if given is None else given for given in (stdin, stdout, stderr)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    command = (sys.executable, "-m", "visavis_peer", *arguments)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LAUNCHER, str(screen.inner), *command,
        stdin=streams[0], stdout=streams[1], stderr=streams[2],
        pass_fds=[screen.inner], start_new_session=True, env=environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        await end(process)


async def exit_code(process: Process) -> int:
    """Wait for the end of a program."""
    async with asyncio.timeout(DEADLINE):
        return await process.wait()


@asynccontextmanager
async def shell(screen: Terminal) -> AsyncIterator[Process]:
    """Run a shell with job control at a terminal, as a person has it: Ctrl-Z and `fg` work."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LAUNCHER, str(screen.inner), "/bin/bash", "--norc", "--noprofile", "-i",
        stdin=screen.inner, stdout=screen.inner, stderr=screen.inner,
        env=environment | {"PS1": "$ ", "TERM": "dumb"}, start_new_session=True, pass_fds=(screen.inner,),
    )  # fmt: skip
    try:
        yield process
    finally:
        await end(process)
