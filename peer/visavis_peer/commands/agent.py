"""`visavis agent`: stay in a room and keep a link to every peer in it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Final

from visavis_peer.agent import Agent
from visavis_peer.commands.options import agent_settings
from visavis_peer.errors import LinkClosed, UsageError
from visavis_peer.link.link import Link
from visavis_peer.link.streams import StreamReader, StreamReset, StreamWriter
from visavis_peer.narrator import Narrator
from visavis_peer.output import Printer, linked_label
from visavis_shared.ids import printable
from visavis_shared.tasks import end

NAME = "agent"
HELP = "stay in a room, keep a link to every peer in it, and print what happens"
EXAMPLES = (
    "visavis agent --server https://host.example --room den",
    "visavis agent --invite-file invite --json",
)
NEEDS_ROOM = True

MESSAGE_SIZE: Final = 64 << 10
"""Bytes of a text message: it is printed on one line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("--message", metavar="TEXT", help="send this text to every peer as its link comes up")
    parser.set_defaults(runs_until_stopped=True)


async def run(arguments: argparse.Namespace) -> int:
    """Run until a signal or an error that makes going on pointless."""
    settings = agent_settings(arguments)
    if arguments.timeout is None:  # unattended: it may be started before its network or its server is there
        settings = settings.model_copy(update={"connect_timeout": None})
    message = (arguments.message or "").encode()
    if len(message) > MESSAGE_SIZE:
        raise UsageError(f"--message has {len(message)} bytes; {MESSAGE_SIZE} is the limit")
    printer = Printer(as_json=arguments.json)
    narrator = Narrator(printer, sealed=settings.secret is not None, detailed=bool(arguments.verbose), company=True)
    agent = Agent(settings)
    events, links = agent.events(), agent.links()

    async def serve_links() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for link in links:
                    if message:
                        group.create_task(_send(link, message))
                    group.create_task(_print_streams(link, printer))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def print_events() -> None:
        async for event in events:
            narrator.event(event)

    async def stay() -> None:
        async with agent:
            await agent.wait_finished()

    printing = asyncio.create_task(print_events())
    staying, serving = asyncio.create_task(stay()), asyncio.create_task(serve_links())
    try:
        done, _ = await asyncio.wait([staying, printing, serving], return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end(staying, serving)
        await asyncio.wait([printing])  # what the end itself has to tell, too
        await end(printing)
    return 0


async def _send(link: Link, message: bytes) -> None:
    with contextlib.suppress(LinkClosed, StreamReset):  # the events tell
        _, writer = await link.open_stream()
        writer.write(message)
        writer.write_eof()
        await writer.wait_closed()


async def _print_streams(link: Link, printer: Printer) -> None:
    async for reader, writer in link.streams():
        await _print_message(link, reader, writer, printer)


async def _print_message(link: Link, reader: StreamReader, writer: StreamWriter, printer: Printer) -> None:
    """Print one message; what is longer than that is none, and is refused."""
    writer.write_eof()
    parts: list[bytes] = []
    size = 0
    try:
        async for part in reader:
            parts.append(part)
            size += len(part)
            if size > MESSAGE_SIZE:
                reader.stop(1)
    except (LinkClosed, StreamReset):
        return
    text = b"".join(parts).decode(errors="replace")
    if printer.as_json:
        whom = {"peer_id": link.peer_id, "name": link.name, "authenticated": link.authenticated}
        printer.json("data", **whom, text=text, size=size)
    else:
        printer.line(f"{linked_label(link)} says: {printable(text)}")
