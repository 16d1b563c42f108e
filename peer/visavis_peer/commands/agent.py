"""`visavis agent`: stay in a room and keep a link to every peer in it."""

from __future__ import annotations

import argparse
import asyncio

from visavis_peer.agent import Agent
from visavis_peer.commands.options import agent_settings
from visavis_peer.core.frames import DATAGRAM_SIZE
from visavis_peer.errors import UsageError
from visavis_peer.link.link import Link
from visavis_peer.output import Printer, peer_label
from visavis_shared.ids import printable

NAME = "agent"
HELP = "stay in a room, keep a link to every peer in it, and print what happens"
NEEDS_ROOM = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("--message", metavar="TEXT", help="send this text to every peer as its link comes up")


async def run(arguments: argparse.Namespace) -> int:
    """Run until a signal or an error that makes going on pointless."""
    settings = agent_settings(arguments)
    message = (arguments.message or "").encode()
    if len(message) > DATAGRAM_SIZE:
        raise UsageError(f"--message has {len(message)} bytes; a datagram carries {DATAGRAM_SIZE}")
    printer = Printer(as_json=arguments.json)
    agent = Agent(settings)
    events, links = agent.events(), agent.links()

    async def greet_each() -> None:
        async with asyncio.TaskGroup() as readers:
            async for link in links:
                if message:
                    link.send_datagram(message)
                readers.create_task(_print_data(link, printer))

    async def print_events() -> None:
        async for event in events:
            printer.event(event)

    printing = asyncio.create_task(print_events())
    reading = asyncio.create_task(greet_each())
    try:
        async with agent:
            await agent.wait_finished()
    finally:
        await asyncio.wait([printing])
        reading.cancel()
        await asyncio.wait([reading])
    return 0


async def _print_data(link: Link, printer: Printer) -> None:
    async for datagram in link.datagrams():
        text = datagram.decode(errors="replace")
        if printer.as_json:
            printer.json("data", peer_id=link.peer_id, name=link.name, text=text, size=len(datagram))
        else:
            printer.line(f"{peer_label(link.peer_id, link.name)} says: {printable(text)}")
