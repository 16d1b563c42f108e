"""`visavis agent`: stay in a room and keep a link to every peer in it."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Final

from visavis_peer.commands.begun import BegunAgent
from visavis_peer.commands.lines import TextReceived
from visavis_peer.commands.narrator import Narrator
from visavis_peer.commands.output import linked_label
from visavis_peer.commands.printer import Printer
from visavis_peer.core.link.kinds import TEXT
from visavis_peer.errors import KindNotOffered, LinkClosed, StreamReset, UsageError
from visavis_peer.events import Failure
from visavis_peer.settings import AgentSettings
from visavis_peer.signaling.connection import SignalingClient
from visavis_shared.ids import printable
from visavis_shared.tasks import end

if TYPE_CHECKING:
    from visavis_peer.link.link import Link, StreamReader, StreamWriter

MESSAGE_SIZE: Final = 64 << 10
"""Bytes of a text message: it is printed on one line."""


async def run(arguments: argparse.Namespace, settings: AgentSettings, client: SignalingClient) -> int:
    """Run until a signal or an error that makes going on pointless; `client` is the connection that has been begun."""
    message = (arguments.message or "").encode()
    if len(message) > MESSAGE_SIZE:
        raise UsageError(f"--message has {len(message)} bytes; {MESSAGE_SIZE} is the limit")
    printer = Printer(as_json=arguments.json)
    narrator = Narrator(printer, sealed=settings.secret is not None, detailed=bool(arguments.verbose), company=True)
    agent = BegunAgent(settings, client, lean=True)
    events, links = agent.events(), agent.links()

    async def serve_links() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for link in links:
                    if message:
                        group.create_task(_send(link, message, narrator))
                    group.create_task(_print_messages(link, printer))
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


async def _send(link: Link, message: bytes, narrator: Narrator) -> None:
    try:
        _, writer = await link.open_stream(TEXT)
        writer.write(message)
        writer.write_eof()
        await writer.wait_closed()
    except KindNotOffered as error:
        reason = "does not take messages: it does not run `visavis agent`"
        narrator.event(Failure(error.name, reason, link.peer_id, link.name, authenticated=link.authenticated))
    except (LinkClosed, StreamReset):
        pass  # the events tell


async def _print_messages(link: Link, printer: Printer) -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await _print_message(link, reader, writer, printer)

    await link.serve(TEXT, handle)


async def _print_message(link: Link, reader: StreamReader, writer: StreamWriter, printer: Printer) -> None:
    """Print one message; what is longer than that is none, and is refused."""
    writer.write_eof()
    parts: list[bytes] = []
    size = 0
    async for part in reader:
        parts.append(part)
        size += len(part)
        if size > MESSAGE_SIZE:
            reader.stop(1)
    text = b"".join(parts).decode(errors="replace")
    if printer.as_json:
        printer.record(TextReceived(link.peer_id, link.name, link.authenticated, text, size))
    else:
        printer.line(f"{linked_label(link)} says: {printable(text)}")
