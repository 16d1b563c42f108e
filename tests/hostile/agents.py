"""Real agents, as processes, and how to tell that they have come to no harm."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.commands import Process, start

PATIENCE: Final = 30.0
"""Seconds for a start and a link on a busy machine."""
Event = dict[str, Any]


class Watched:
    """A `visavis agent` whose events are kept as they come."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.events: list[Event] = []
        self.errors = ""
        self._news = asyncio.Event()
        self._reading = asyncio.gather(self._read(), self._read_errors())

    async def says(self, event: str, patience: float = PATIENCE, **members: Any) -> Event:
        """Return the first event, past or to come, that has these members, within `patience` seconds."""
        async with asyncio.timeout(patience):
            while True:
                self._news.clear()
                for record in self.events:
                    if record["event"] == event and members.items() <= record.items():
                        return record
                assert self.process.returncode is None, (self.events, self.errors)
                await self._news.wait()

    def of(self, *events: str) -> list[Event]:
        """Return those events so far."""
        return [record for record in self.events if record["event"] in events]

    async def stop(self) -> None:
        """Stop it in order, and see that it ends so and has had no fault."""
        assert self.process.returncode is None, (self.process.returncode, self.errors)
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self.process.wait()
            await self._reading
        assert "Traceback" not in self.errors, self.errors
        assert self.process.returncode == 0, self.errors

    async def kill(self) -> None:
        """End it if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.events.append(json.loads(line))
            self._news.set()
        self._news.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(1 << 16):
            self.errors += data.decode()


@asynccontextmanager
async def agent(port: int, name: str, *more: str, invite: str = "") -> AsyncIterator[Watched]:
    """Run `visavis agent` on loopback until the end of the block, and see that it has had no fault.

    In room `r` of the server at `port`, without a secret; or where an invite says.
    """
    where = (invite,) if invite else ("--server", f"http://127.0.0.1:{port}", "--room", "r")
    process = await start("agent", *where, "--interface", "lo", "--json", "--name", name, *more)
    watched = Watched(process)
    try:
        yield watched
        await watched.stop()
    finally:
        await watched.kill()
