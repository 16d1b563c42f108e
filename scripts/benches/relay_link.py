"""Measure one stream of ours over the server's relay, beside a plain WebSocket echo through an aiohttp server.

A stream takes three processes, the echo two: its client both sends and reads. They take turns; every figure is the
median over the rounds, memory the maximum of any end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benches.ends.loops import available
from scripts.benches.ends.meter import Reading
from scripts.benches.transfers import (
    MEBIBYTE,
    ROLES,
    EndFailed,
    Ends,
    Place,
    here,
    in_turns,
    print_profile,
    reading_of,
    running,
    signaling_server,
    start_end,
    transfer,
    whole_blocks,
)

BAR: Final = 0.5
"""Of the echo's rate that a stream over the relay must reach."""


@dataclass(frozen=True)
class Carried:
    """What came of one contestant's turn."""

    rate: float
    """Megabytes (10^6) a second."""
    ends: tuple[Reading, ...]
    server_cpu: float
    """Seconds of the server from the start of the ends on."""


def stream_ends(loop: str) -> Ends:
    """Return the ends of a stream of ours."""
    return Ends("visavis_stream", ("--loop", loop, "--interface", "lo", "--relay", "only"))


def by_relay(loop: str, size: int) -> Carried:
    """Send one stream by the relay of a signaling server.

    Raises EndFailed.
    """
    with signaling_server() as (url, server):
        before = cpu_of(server)
        done = transfer(stream_ends(loop), Place(server=url), size)
        return Carried(done.rate, (done.sender, done.receiver), cpu_of(server) - before)


def by_echo(loop: str, size: int) -> Carried:
    """Send as much to an echo and read it back; its server runs on the loop that the signaling server takes.

    Raises EndFailed.
    """
    serve = [sys.executable, "-m", "scripts.benches.ends.websocket_echo", "serve", "--size", "0"]
    with running(here, [*serve, "--loop", available()[-1]]) as (line, server):
        before = cpu_of(server)
        reading = reading_of(start_end(Ends("websocket_echo", ("--loop", loop)), here, "send", line.strip(), size))
        return Carried(size / (reading.ended - reading.began) / 1e6, (reading,), cpu_of(server) - before)


def cpu_of(process: subprocess.Popen[str]) -> float:
    """Return the seconds that a process has been on a core so far."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


def table(rounds: Sequence[dict[str, Carried]], say: Callable[[str], object] = print) -> None:
    """Print what came of all rounds, and how the stream stands to the echo on each loop."""
    say(f"{'':14}  {'MB/s':>7} {'[min-max]':>11}   {'CPU s: ends':>11} {'server':>7}   {'peak MiB':>8} {'grown':>6}")
    for name in rounds[0]:
        runs = [each[name] for each in rounds]
        rates = [run.rate for run in runs]
        ends = [end for run in runs for end in run.ends]
        say(
            f"{name:14}  {statistics.median(rates):7.1f} {f'[{min(rates):.0f}-{max(rates):.0f}]':>11}"
            f"   {statistics.median(sum(end.cpu for end in run.ends) for run in runs):11.2f}"
            f" {statistics.median(run.server_cpu for run in runs):7.2f}"
            f"   {max(end.peak for end in ends) / MEBIBYTE:8.0f} {max(end.growth for end in ends) / MEBIBYTE:6.1f}"
        )
    for loop in available():
        ratios = [each[f"relay {loop}"].rate / each[f"echo {loop}"].rate for each in rounds]
        spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
        say(f"{loop}: {statistics.median(ratios):.2f} {spread} of the echo's rate; wanted: at least {BAR}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="scripts/bench relay_link", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, metavar="MIB")
    parser.add_argument("--profile", choices=list(ROLES), help="profile one end of a stream instead")
    arguments = parser.parse_args()
    size = whole_blocks(arguments.size)
    turns: dict[str, Callable[[], Carried]] = {}
    for loop in available():
        turns[f"relay {loop}"] = partial(by_relay, loop, size)
        turns[f"echo {loop}"] = partial(by_echo, loop, size)
    try:
        if arguments.profile:
            with signaling_server() as (url, _):
                print_profile(stream_ends("asyncio"), Place(server=url), size, arguments.profile)
            return
        version, load = sys.version.split()[0], os.getloadavg()[0]
        print(f"Python {version}, {arguments.size} MiB, rounds: {arguments.rounds}, load before: {load:.1f}")
        table(in_turns(turns, arguments.rounds))
    except EndFailed as error:
        sys.exit(f"relay_link: {error}")


if __name__ == "__main__":
    main()
