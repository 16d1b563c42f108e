"""`visavis ping`: round trips over the link to one peer, naming the path."""

from __future__ import annotations

import argparse
import asyncio
from statistics import fmean
from typing import TYPE_CHECKING

from visavis_peer.commands.begun import BegunAgent
from visavis_peer.commands.lines import RoundTrip, RoundTrips
from visavis_peer.commands.meeting import in_room, meet
from visavis_peer.commands.narrator import Narrator, in_short
from visavis_peer.commands.options import timeout_of
from visavis_peer.commands.output import describe_path, linked_label
from visavis_peer.commands.printer import Printer
from visavis_peer.errors import PeerAbsent, UsageError
from visavis_peer.settings import AgentSettings
from visavis_peer.signaling.connection import SignalingClient

if TYPE_CHECKING:
    from visavis_peer.link.link import Link


async def run(arguments: argparse.Namespace, settings: AgentSettings, client: SignalingClient) -> int:
    """Link, measure, and say how it went; `client` is the connection that has been begun.

    Raises PeerAbsent, NoPath, Refused, or what entering the agent raises.
    """
    timeout = timeout_of(arguments)
    if not 1 <= arguments.count <= 1_000_000:
        raise UsageError("--count must be 1 to 1000000")
    if not 0 <= arguments.interval <= 3600:
        raise UsageError("--interval must be 0 to 3600 seconds")
    printer = Printer(as_json=arguments.json)
    sealed, detailed = settings.secret is not None, bool(arguments.verbose)
    narrator = Narrator(printer, sealed=sealed, detailed=detailed, company=False, wanted=arguments.peer)
    agent = BegunAgent(settings, client)
    events = agent.events()
    began = asyncio.get_running_loop().time()
    async with in_room(agent, events, narrator):
        link = await meet(agent, events, narrator, wanted=arguments.peer, timeout=timeout, began=began)
        rtts = await _measure(link, arguments.count, arguments.interval, narrator)
    return _summary(link, arguments.count, rtts, printer)


async def _measure(link: Link, count: int, interval: float, narrator: Narrator) -> list[float]:
    """Return the round trips in seconds; lost ones are left out."""
    rtts: list[float] = []
    printer, in_words = narrator.printer, describe_path if narrator.detailed else in_short
    for number in range(1, count + 1):
        if number > 1:
            await asyncio.sleep(interval)
        path = link.path
        try:
            rtt = await link.ping(timeout=max(1.0, interval))
        except PeerAbsent as error:
            _print_round_trip(number, None, str(error), link, printer)
            continue
        rtts.append(rtt)
        _print_round_trip(number, rtt, in_words(path), link, printer)
    return rtts


def _print_round_trip(number: int, rtt: float | None, text: str, link: Link, printer: Printer) -> None:
    if printer.as_json:
        rtt_ms = None if rtt is None else round(rtt * 1000, 3)
        printer.record(RoundTrip(number, rtt_ms, link.path.path, link.path.kind))
    else:
        result = "lost" if rtt is None else f"{rtt * 1000:.2f} ms"
        printer.line(f"{number}: {result}, {text}")


def _summary(link: Link, sent: int, rtts: list[float], printer: Printer) -> int:
    numbers = [round(value * 1000, 3) for value in (min(rtts), fmean(rtts), max(rtts))] if rtts else []
    if printer.as_json:
        printer.record(
            RoundTrips(sent, len(rtts), numbers, link.path.path, link.path.kind, link.authenticated),
        )
    else:
        times = "; {} / {} / {} ms (min / mean / max)".format(*numbers) if numbers else ""
        printer.line(f"{len(rtts)} of {sent} came back from {linked_label(link)}{times}")
    if not rtts:
        raise PeerAbsent("no ping came back")
    return 0
