"""Measure the signaling server against a minimal one on the `websockets` package, in one interleaved run.

Each server runs on a core of its own, the load generator on another; every figure is the median over the rounds, and
the ratio the median of the rounds' ratios. CPU is the server process's own time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from scripts.benches.load import Client, connect_and_join, drain, relay

SERVERS: Final = {
    "visavis": [
        *("-m", "visavis_server", "--host", "127.0.0.1", "--port", "0", "--stun", "off"),
        *("--log-level", "warning", "--peer-limit", "100000"),
        # the load is far beyond what a client may send by default
        *("--message-rate", "0", "--pair-rate", "0"),
    ],
    "websockets": ["-m", "scripts.benches.yardstick"],
}
PAIRS: Final = 50
IN_FLIGHT: Final = 64
WARM_UP: Final = 0.2
"""Seconds of load before a measurement."""


@dataclass(frozen=True)
class Figure:
    """What is measured; lower is better unless `rate`."""

    name: str
    unit: str
    yardstick_to_go: float | None = None
    """The yardstick's ratio to the original Go server, measured with uvloop (reference/performance.md section 7)."""
    rate: bool = False


FIGURES: Final = (
    Figure("relay 600 B, w1: CPU", "us/msg", 1.11),
    Figure("relay 600 B, w1: rate", "msg/s", rate=True),
    Figure("relay 600 B, w16: CPU", "us/msg", 0.98),
    Figure("relay 600 B, w16: rate", "msg/s", rate=True),
    Figure("relay 20 KB, w1: CPU", "us/msg"),
    Figure("relay 20 KB, w1: rate", "msg/s", rate=True),
    Figure("connect+JOIN: CPU", "us/conn", 3.15),
    Figure("idle in a room: RSS", "KiB/conn", 0.50),
)


@dataclass(frozen=True)
class Scale:
    """How long and how much."""

    rounds: int
    seconds: float
    connections: int


QUICK: Final = Scale(rounds=1, seconds=1.0, connections=1000)
FULL: Final = Scale(rounds=5, seconds=3.0, connections=3000)


class Server:
    """A server process pinned to one core."""

    def __init__(self, arguments: list[str], core: int, log: IO[str] | None = None) -> None:
        """`log` is where it writes its log, by default where this process does."""
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        assert self.process.stdout is not None
        match = re.search(r":(\d+)", self.process.stdout.readline())
        assert match, "the server did not say where it listens"
        self.port = int(match[1])

    @property
    def cpu(self) -> float:
        """Seconds that the process has been on a core so far."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert match
        return int(match[1]) * 1024


@contextlib.contextmanager
def started(name: str, core: int) -> Iterator[Server]:
    server = Server(SERVERS[name], core)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def measure_relay(name: str, core: int, size: int, window: int, seconds: float) -> tuple[float, float]:
    """Return CPU microseconds per message and messages per second."""
    with started(name, core) as server:
        clients = connect_and_join(server.port, 2 * PAIRS, IN_FLIGHT, room_size=2)
        with closing(clients):
            relay(clients, size, window, WARM_UP)
        clients = connect_and_join(server.port, 2 * PAIRS, IN_FLIGHT, room_size=2)
        with closing(clients):
            drain(clients)
            before = server.cpu
            count, elapsed = relay(clients, size, window, seconds)
            return (server.cpu - before) / count * 1e6, count / elapsed


def measure_connections(name: str, core: int, count: int) -> tuple[float, float]:
    """Return CPU microseconds per connect and JOIN, and KiB of memory per connection that then idles."""
    with started(name, core) as server:
        with closing(connect_and_join(server.port, IN_FLIGHT, IN_FLIGHT, room_size=2)):
            pass  # whatever the first connections make the process load and allocate
        cpu, memory = server.cpu, server.memory
        clients = connect_and_join(server.port, count, IN_FLIGHT, room_size=2)
        with closing(clients):
            return (server.cpu - cpu) / count * 1e6, (server.memory - memory) / count / 1024


@contextlib.contextmanager
def closing(clients: list[Client]) -> Iterator[None]:
    try:
        yield
    finally:
        for client in clients:
            client.socket.close()


def measure(name: str, core: int, scale: Scale) -> list[float]:
    """Return the values of FIGURES, in order."""
    values: list[float] = []
    for size, window in ((600, 1), (600, 16), (20_000, 1)):
        values += measure_relay(name, core, size, window, scale.seconds)
    values += measure_connections(name, core, scale.connections)
    return values


def report(rounds: list[dict[str, list[float]]], uvloop: bool, say: Callable[[str], object] = print) -> None:
    """Print the table."""
    say(f"{'':24}{'unit':>9}{'visavis':>11}{'websockets':>12}{'ratio':>8}{'  [min-max]':13}{'to Go':>7}")
    for index, figure in enumerate(FIGURES):
        ours, theirs = ([one[name][index] for one in rounds] for name in SERVERS)
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        ratio = statistics.median(ratios)
        go = f"{ratio * figure.yardstick_to_go:.2f}" if figure.yardstick_to_go and uvloop else "-"
        shown = [f"{statistics.median(values):,.{0 if figure.rate else 1}f}" for values in (ours, theirs)]
        spread = f"[{min(ratios):.2f}-{max(ratios):.2f}]"
        say(f"{figure.name:24}{figure.unit:>9}{shown[0]:>11}{shown[1]:>12}{ratio:>8.2f}  {spread:11}{go:>7}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="scripts/bench server", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, below a minute")
    parser.add_argument("--rounds", type=int, help=f"default: {FULL.rounds}")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    count = arguments.rounds or scale.rounds
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    os.sched_setaffinity(0, {cores[1]})
    uvloop = importlib.util.find_spec("uvloop") is not None
    print(f"Python {sys.version.split()[0]}, {'uvloop' if uvloop else 'asyncio'}, rounds: {count}, pairs: {PAIRS}")
    rounds: list[dict[str, list[float]]] = []
    for number in range(count):
        # who goes first takes turns, so that a drift of the machine hits both
        order = list(SERVERS) if number % 2 == 0 else list(SERVERS)[::-1]
        rounds.append({name: measure(name, cores[0], scale) for name in order})
    report(rounds, uvloop)
    if not uvloop:
        print("to Go: only with uvloop, with which the yardstick's own ratio to the Go original was measured")


if __name__ == "__main__":
    main()
