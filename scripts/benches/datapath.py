"""Measure 1,200-byte datagrams over a pair of ICE sessions in two processes, beside aioice's own send and recv.

Both have as many under way and lose none; 128 fit into the smallest receive buffer that Linux gives by default.
Figures are medians over the rounds; CPU is that of both ends for one datagram, confirmations included. The last column
says how many times less CPU that is than with aioice on asyncio, in medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial

from scripts.benches.ends.loops import available
from scripts.benches.transfers import ROLES, EndFailed, Ends, Place, Transfer, in_turns, print_profile, transfer

SIZE = 1200
BASE = "aioice asyncio"


def contestants(window: int) -> dict[str, Ends]:
    """Return who can run here, with `window` datagrams under way."""
    return {
        f"{engine} {loop}": Ends("datagrams", ("--engine", engine, "--loop", loop, "--window", str(window)))
        for engine in ("visavis", "aioice")
        for loop in available()
    }


def cpu(result: Transfer) -> float:
    """Return the microseconds that both ends take for a datagram."""
    return (result.sender.cpu + result.receiver.cpu) / (result.size / SIZE) * 1e6


def report(rounds: Sequence[dict[str, Transfer]], say: Callable[[str], object] = print) -> None:
    """Print the table."""
    say(f"{'':16}  {'datagrams/s':>11} {'[min-max]':>19}   CPU us: send  receive  both   x less than aioice")
    for name in rounds[0]:
        runs = [each[name] for each in rounds]
        rates = [run.rate * 1e6 / SIZE for run in runs]
        sides = [[side.cpu / (run.size / SIZE) * 1e6 for side in (run.sender, run.receiver)] for run in runs]
        send, receive = (statistics.median(each) for each in zip(*sides, strict=True))
        both = statistics.median(map(cpu, runs))
        less = statistics.median(cpu(each[BASE]) / cpu(each[name]) for each in rounds)
        spread = f"[{min(rates):,.0f}-{max(rates):,.0f}]"
        costs = f"{send:12.2f} {receive:8.2f} {both:5.2f}"
        say(f"{name:16}  {statistics.median(rates):11,.0f} {spread:>19}   {costs}   {less:.1f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="scripts/bench datapath", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200_000, help="datagrams of a run")
    parser.add_argument("--window", type=int, default=128, help="datagrams under way at most")
    parser.add_argument("--profile", choices=list(ROLES), help="profile one end of ours on asyncio instead")
    arguments = parser.parse_args()
    size = arguments.count * SIZE
    try:
        if arguments.profile:
            print_profile(contestants(arguments.window)["visavis asyncio"], Place(), size, arguments.profile)
            return
        print(f"Python {sys.version.split()[0]}, rounds: {arguments.rounds}, load before: {os.getloadavg()[0]:.1f}")
        turns = {name: partial(transfer, ends, Place(), size) for name, ends in contestants(arguments.window).items()}
        report(in_turns(turns, arguments.rounds))
    except EndFailed as error:
        sys.exit(f"datapath: {error}")


if __name__ == "__main__":
    main()
