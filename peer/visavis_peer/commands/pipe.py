"""`visavis pipe`: standard input and output of one machine, joined to those of another."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from visavis_peer.agent import Agent
from visavis_peer.commands.begun import BegunAgent
from visavis_peer.commands.meeting import in_room, meet
from visavis_peer.commands.narrator import Narrator, in_short
from visavis_peer.commands.options import timeout_of
from visavis_peer.commands.output import linked_label
from visavis_peer.commands.printer import Printer
from visavis_peer.commands.progress import Meter, exact_size
from visavis_peer.core.link.kinds import PIPE
from visavis_peer.errors import (
    BY_PEER,
    KindNotOffered,
    LinkClosed,
    OutputClosed,
    OutputFailed,
    PeerAbsent,
    Refused,
    StreamReset,
    UsageError,
    reason_of,
)
from visavis_peer.events import Event, LinkDown, LinkUp, PathChanged
from visavis_peer.settings import AgentSettings
from visavis_peer.signaling.connection import SignalingClient
from visavis_shared.descriptors import STDIN, STDOUT, read_some, retire, write_all
from visavis_shared.ids import printable
from visavis_shared.invite import Invite
from visavis_shared.outlets import print_status
from visavis_shared.tasks import end, own
from visavis_shared.threads import BlockingThread

if TYPE_CHECKING:
    from visavis_peer.link.link import Link, StreamReader, StreamWriter

CHUNK: Final = 256 << 10
"""Bytes read from standard input at a time: what the engine takes ahead (link/streams.py, UNSENT)."""
REFUSAL_TIMEOUT: Final = 5.0
"""Seconds that a peer too many has to complete its handshake, so that it can be told why it is refused."""
TYPED_TIMEOUT: Final = 0.25
"""Seconds in which what has been typed already comes to be read, on a machine that is busy."""
HAND_OVER: Final = "on the other machine run `visavis pipe` and paste this invite when asked (or use --invite-file):"
LAST_WRITE: Final = 0.1
"""Seconds for which a side that is stopped waits for a write under way, so that the count that it tells is right."""
FAREWELL_TIMEOUT: Final = 5.0
"""Seconds for which a side that has everything stays, so that the other one learns it: a dozen retransmissions."""


async def run(
    arguments: argparse.Namespace, settings: AgentSettings, client: SignalingClient, invite: Invite | None = None
) -> int:
    """Meet the peer and carry bytes both ways until both sides have ended theirs.

    `client` is the connection that has been begun; `invite` was made for the peer, who is waited for.

    Raises what keeps the two apart or ends the link, StreamReset when the peer gives up, OutputClosed and OutputFailed
    when standard output takes no more.
    """
    if hasattr(signal, "SIGTTIN"):
        # in the background a terminal cannot be read: it counts as ended, and does not stop the program
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        record = None
        if arguments.events is not None:
            file = stack.enter_context(_open_record(arguments.events))
            record = Printer(as_json=True, stream=file)
            stack.callback(record.flush)
        patient = invite is not None
        timeout = None if patient and arguments.timeout is None else timeout_of(arguments)
        narrator = _narrator(settings, arguments, record, invite)
        return await _join(BegunAgent(settings, client), narrator, timeout, patient=patient)


def _open_record(path: Path) -> TextIO:
    """Open the file for events, without waiting where it is a named pipe that nobody reads.

    Raises UsageError.
    """
    at_once = getattr(os, "O_NONBLOCK", 0)  # ENXIO where there is no reader (open(2))
    try:
        return open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | at_once, 0o666))
    except OSError as error:
        reason = "nobody reads it" if error.errno == errno.ENXIO else reason_of(error)
        raise UsageError(f"--events: {printable(str(path))}: {reason}") from None


def _narrator(
    settings: AgentSettings, arguments: argparse.Namespace, record: Printer | None, invite: Invite | None
) -> Narrator:
    """Return what tells the person at standard error, and writes down events; an invite is the first thing told."""
    printer = Printer(as_json=False, stream=sys.stderr)
    opening = () if invite is None else (HAND_OVER, str(invite))
    sealed, detailed = settings.secret is not None, bool(arguments.verbose)
    return Narrator(printer, sealed=sealed, detailed=detailed, company=False, record=record, opening=opening)


async def _join(agent: Agent, narrator: Narrator, timeout: float | None, *, patient: bool) -> int:
    events = agent.events()
    began = asyncio.get_running_loop().time()
    async with in_room(agent, events, narrator):
        link = await meet(agent, events, narrator, timeout=timeout, began=began, patient=patient)
        meter = Meter()
        helpers = [
            own(_print_events(events, link, narrator, meter), bears=(OSError,)),
            own(meter.show()),
            own(_refuse_others(agent, link, narrator, meter)),
        ]
        try:
            await _carry_to_the_end(link, meter)
        except OutputClosed:
            raise  # nobody wants more of it, as with any program in front of `head`
        except KindNotOffered:
            raise Refused(
                f"{linked_label(link)} is in this room, but is not a pipe: run `visavis pipe` there"
            ) from None
        except BaseException as error:
            await end(*helpers)
            if not meter.complete:
                untold = isinstance(error, LinkClosed) and not str(error).startswith(BY_PEER)
                narrator.printer.line(meter.shortfall(in_short(link.path), untold=untold))
            raise
        finally:
            await end(*helpers)
        way = in_short(link.path)
    narrator.printer.line(meter.summary(way))
    return 0


async def _carry_to_the_end(link: Link, meter: Meter) -> None:
    """Carry both directions; tell the other side what becomes of it when this one gives up."""
    try:
        await _carry(link, meter)
    except LinkClosed as error:
        raise link.error or error from None
    except OutputFailed as error:
        link.close(f"the other side {error}, after {exact_size(meter.received)}", refuse=True)
        raise
    except asyncio.CancelledError:
        if not meter.complete:
            done = f", {exact_size(meter.received)} of what was sent to it written out" if meter.received else ""
            link.close(f"it was stopped before the end{done}")
        raise


async def _print_events(events: AsyncIterator[Event], link: Link, narrator: Narrator, meter: Meter) -> None:
    async for event in events:
        meter.hide()
        others = isinstance(event, LinkUp | LinkDown | PathChanged) and event.peer_id != link.peer_id
        narrator.event(event, quiet=others)


async def _refuse_others(agent: Agent, link: Link, narrator: Narrator, meter: Meter) -> None:
    told = False
    async for other in agent.links():
        if other is not link:
            if not told:  # whoever comes again and again fills nobody's terminal
                told = True
                meter.hide()
                narrator.printer.line("somebody else came in and was turned away: a pipe is for two")
            with contextlib.suppress(LinkClosed, PeerAbsent):
                # QUIC gives no reason to a peer whose own handshake is not over yet (RFC 9000 section 10.2.3)
                await other.ping(REFUSAL_TIMEOUT)
            other.close("this pipe is in use by another peer", refuse=True)


async def _carry(link: Link, meter: Meter) -> None:
    """Carry both directions until they have ended, each on a stream that its sender opens; the first error ends both.

    So each side learns at once where the other one is no pipe.
    """
    back, writer = await link.open_stream(PIPE)
    peer_ended = asyncio.Event()
    work = (_send(writer, peer_ended, meter), _receive(link, peer_ended, meter), _heed_refusal(back))
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end(*tasks)
    # everything has been written out on both sides, whatever becomes of the link now
    meter.complete = True
    with contextlib.suppress(LinkClosed, StreamReset, TimeoutError):
        async with asyncio.timeout(FAREWELL_TIMEOUT):
            await _part(link)


async def _heed_refusal(back: StreamReader) -> None:
    """Wait for the other side to take what is sent, or to say that it does not; nothing else comes on this way."""
    while await back.read(CHUNK):
        pass


async def _part(link: Link) -> None:
    """Stay until the other side knows as well that everything has arrived: the offerer asks, and closes first."""
    if link.is_offerer:
        _, writer = await link.open_stream(PIPE)
        writer.write_eof()
        await writer.wait_closed()
    else:
        reader, writer = await link.accept_stream(PIPE)
        writer.write_eof()
        await reader.read()
        await link.accept_stream(PIPE)  # which fails once the offerer has closed the link


async def _send(writer: StreamWriter, peer_ended: asyncio.Event, meter: Meter) -> None:
    """Send standard input, and wait until the peer has written it out.

    A terminal at which nobody has typed has ended when the peer has: nobody is going to.
    """
    thread = BlockingThread()
    at_terminal = os.isatty(STDIN)
    try:
        while data := await _read(thread, peer_ended if at_terminal and not meter.sent else None):
            writer.write(data)
            meter.sent += len(data)
            await writer.drain()
        writer.write_eof()
        await writer.wait_closed()
        meter.written_there = meter.sent
    except BaseException:
        meter.written_there = max(0, writer.read_size - CHUNK)  # one piece has been read and not yet written
        raise


async def _read(thread: BlockingThread, unless: asyncio.Event | None) -> bytes:
    """Return what comes from standard input; nothing at its end, or once `unless` is set."""
    reading = asyncio.ensure_future(thread.call(read_some, STDIN, CHUNK))
    ended = asyncio.create_task(unless.wait()) if unless is not None else None
    try:
        await asyncio.wait([reading] if ended is None else [reading, ended], return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await asyncio.wait([reading], timeout=TYPED_TIMEOUT)
        return reading.result() if reading.done() else b""
    except OSError as error:
        print_status(f"visavis: cannot read standard input, which counts as ended: {error.strerror}")
        return b""
    finally:
        reading.cancel()
        if ended is not None:
            ended.cancel()


async def _write_out(thread: BlockingThread, data: bytes, meter: Meter) -> None:
    """Write to standard output and count; one that is stopped amid that still counts what is written soon."""
    writing = thread.begin(write_all, STDOUT, data)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing], timeout=LAST_WRITE)
        raise
    finally:
        if writing.done() and writing.exception() is None:
            meter.received += len(data)


async def _receive(link: Link, peer_ended: asyncio.Event, meter: Meter) -> None:
    """Write what comes to standard output, and end that when the peer ends its side.

    Raises OutputClosed when its reader has gone, OutputFailed when it takes no more.
    """
    reader, back = await link.accept_stream(PIPE)
    back.write_eof()
    thread = BlockingThread()
    try:
        while data := await reader.read(CHUNK):
            if not meter.received and os.isatty(STDOUT):
                meter.hide()
            await _write_out(thread, data, meter)
        meter.hide()  # whoever reads may say now what he has made of it
        await thread.call(retire, STDOUT)
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise OutputFailed(error) from None
    peer_ended.set()
