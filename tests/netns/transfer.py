"""A program for the survival tests: numbered bytes both ways over one stream, every one of them checked.

Run as `python -m tests.netns.transfer INVITE NAME [--relay MODE]`; prints one JSON object per line: the agent's events,
`started`, `received` (five times a second: bytes so far, the longest gap so far), `wrong` (and ends) when a byte is not
the one that was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from array import array
from typing import Final

from visavis_peer import Agent, AgentSettings, Invite, Link, StreamReader, StreamWriter
from visavis_peer.commands.printer import Printer

BLOCK: Final = 4096
"""Numbers of 8 bytes in one write."""
PAUSE: Final = 0.02
"""Seconds between writes: 1.6 MB/s each way, which leaves the two cores to the rest of the lab."""
TICK: Final = 0.2
"""Seconds between reports."""


class Received:
    """What has come in so far."""

    def __init__(self) -> None:
        self.size = 0
        self.gap = 0.0
        self.last = time.monotonic()

    def add(self, data: bytes) -> bool:
        """Take the next bytes; return whether they are the right ones."""
        first, start = self.size // 8, self.size % 8
        expected = array("Q", range(first, first + (start + len(data)) // 8 + 1)).tobytes()
        right = data == expected[start : start + len(data)]
        now = time.monotonic()
        self.gap = max(self.gap, now - self.last)
        self.last = now
        self.size += len(data)
        return right


async def main() -> None:
    """Meet the peer and go on until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("invite")
    parser.add_argument("name")
    parser.add_argument("--relay", default="auto")
    arguments = parser.parse_args()
    invite = Invite.parse(arguments.invite)
    settings = AgentSettings(
        server=invite.server, room=invite.room, secret=invite.secret, name=arguments.name, relay=arguments.relay
    )
    printer = Printer(as_json=True)
    agent = Agent(settings)
    events, links = agent.events(), agent.links()

    async def print_events() -> None:
        async for event in events:
            printer.event(event)

    async with agent, asyncio.TaskGroup() as group:
        group.create_task(print_events())
        async for link in links:
            group.create_task(_exchange(link, printer))


async def _exchange(link: Link, printer: Printer) -> None:
    reader, writer = await (link.open_stream("test") if link.is_offerer else link.accept_stream("test"))
    received = Received()
    printer.json("started")
    async with asyncio.TaskGroup() as group:
        group.create_task(_send(writer))
        group.create_task(_report(received, printer))
        await _receive(reader, received, printer)


async def _send(writer: StreamWriter) -> None:
    first = 0
    while True:
        writer.write(array("Q", range(first, first + BLOCK)).tobytes())
        first += BLOCK
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def _receive(reader: StreamReader, received: Received, printer: Printer) -> None:
    async for data in reader:
        if not received.add(data):
            printer.json("wrong", at=received.size)
            sys.exit(1)


async def _report(received: Received, printer: Printer) -> None:
    while True:
        await asyncio.sleep(TICK)
        printer.json("received", size=received.size, gap=round(received.gap, 3))
        received.gap = 0.0


if __name__ == "__main__":
    asyncio.run(main())
