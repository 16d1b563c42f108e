"""`visavis pipe`: standard input and output of one machine, joined to those of another."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from visavis_peer.agent import Agent
from visavis_peer.commands.blocking import BlockingThread
from visavis_peer.commands.invites import HOW
from visavis_peer.commands.meeting import meet
from visavis_peer.commands.options import agent_settings, invite_settings, timeout_of
from visavis_peer.commands.progress import Meter
from visavis_peer.core.events import Event
from visavis_peer.errors import AgentError, LinkClosed, PeerAbsent, UsageError
from visavis_peer.link.link import Link
from visavis_peer.link.streams import StreamReader, StreamWriter
from visavis_peer.narrator import Narrator, in_short
from visavis_peer.net.signaling import base_url, websocket_url
from visavis_peer.output import Printer
from visavis_peer.settings import AgentSettings
from visavis_shared.invite import Invite
from visavis_shared.tasks import own

NAME = "pipe"
HELP = "join standard input and output to those of one peer; without an invite, make one"
NEEDS_ROOM = True

CHUNK: Final = 256 << 10
"""Bytes read from standard input at a time: what the engine takes ahead (link/streams.py, UNSENT)."""
REFUSAL_TIMEOUT: Final = 5.0
"""Seconds that a peer too many has to complete its handshake, so that it can be told why it is refused."""
HAND_OVER: Final = "on the other machine run `visavis pipe` and paste this invite when asked (or use --invite-file):"
STDIN: Final = 0
STDOUT: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument(
        "--events", metavar="FILE", type=Path, help="append the events to this file, one JSON object per line"
    )


async def run(arguments: argparse.Namespace) -> int:
    """Meet the peer and carry bytes both ways until both sides have ended theirs.

    Raises what keeps the two apart or ends the link, StreamReset when the peer gives up, AgentError when standard
    output takes no more.
    """
    with contextlib.ExitStack() as stack:
        record = None
        if arguments.events is not None:
            try:
                file = stack.enter_context(arguments.events.open("a", encoding="utf-8"))
            except OSError as error:
                raise UsageError(f"--events: {error}") from None
            record = Printer(as_json=True, stream=file)
        if arguments.invite or arguments.invite_file or arguments.room:
            settings = agent_settings(arguments)
            narrator = _narrator(settings, arguments, record)
            return await _join(Agent(settings), narrator, timeout_of(arguments), patient=False)
        if not arguments.server:
            raise UsageError(f"an invite is required, or --server URL (or VISAVIS_SERVER) to make one; {HOW}")
        invite = Invite.make(base_url(websocket_url(arguments.server)))
        settings = invite_settings(arguments, invite)
        timeout = None if arguments.timeout is None else timeout_of(arguments)
        narrator = _narrator(settings, arguments, record, invite)
        return await _join(Agent(settings), narrator, timeout, patient=True)


def _narrator(
    settings: AgentSettings, arguments: argparse.Namespace, record: Printer | None, invite: Invite | None = None
) -> Narrator:
    """Return what tells the person at standard error, and writes down events; an invite is the first thing told."""
    printer = Printer(as_json=False, stream=sys.stderr)
    opening = () if invite is None else (HAND_OVER, str(invite))
    sealed, detailed = settings.secret is not None, bool(arguments.verbose)
    return Narrator(printer, sealed=sealed, detailed=detailed, company=False, record=record, opening=opening)


async def _join(agent: Agent, narrator: Narrator, timeout: float | None, *, patient: bool) -> int:
    events = agent.events()
    async with agent:
        link = await meet(agent, events, narrator, timeout=timeout, patient=patient)
        meter = Meter()
        helpers = [
            own(_print_events(events, narrator), bears=(OSError,)),
            own(meter.show()),
            own(_refuse_others(agent, link)),
        ]
        try:
            await _carry(link, meter)
        except LinkClosed as error:
            raise link.error or error from None
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        way = in_short(link.path)
    narrator.printer.line(meter.summary(way))
    return 0


async def _print_events(events: AsyncIterator[Event], narrator: Narrator) -> None:
    async for event in events:
        narrator.event(event)


async def _refuse_others(agent: Agent, link: Link) -> None:
    async for other in agent.links():
        if other is not link:
            with contextlib.suppress(LinkClosed, PeerAbsent):
                # QUIC gives no reason to a peer whose own handshake is not over yet (RFC 9000 section 10.2.3)
                await other.ping(REFUSAL_TIMEOUT)
            other.close("this pipe is in use by another peer", refuse=True)


async def _carry(link: Link, meter: Meter) -> None:
    """Join the two streams; the first error of either direction ends both."""
    reader, writer = await (link.open_stream() if link.is_offerer else link.accept_stream())
    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.create_task(_send(writer, meter)), asyncio.create_task(_receive(reader, meter))]
        stack.push_async_callback(asyncio.wait, tasks)
        for task in tasks:
            stack.callback(task.cancel)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


async def _send(writer: StreamWriter, meter: Meter) -> None:
    """Send standard input, and wait until the peer has written it out."""
    thread = BlockingThread()
    while data := await thread.call(os.read, STDIN, CHUNK):
        writer.write(data)
        await writer.drain()
        meter.sent += len(data)
    writer.write_eof()
    await writer.wait_closed()


async def _receive(reader: StreamReader, meter: Meter) -> None:
    """Write what comes to standard output, and end that when the peer ends its side."""
    thread = BlockingThread()
    try:
        while data := await reader.read(CHUNK):
            await thread.call(_write_all, data)
            meter.received += len(data)
        await thread.call(os.close, STDOUT)
    except OSError as error:
        reader.stop()
        raise AgentError(f"cannot write to standard output: {error.strerror}") from None


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(STDOUT, view) :]
