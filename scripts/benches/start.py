"""What the programs cost before they do anything, as ratios to what their libraries cost anyway.

CPU time (user and system, of all threads) of `visavis --help`, of `visavis-server --help`, and of `visavis pipe` until
its request for a WebSocket has come in; the memory of an agent that is alone in its room. The least of all runs counts:
whatever else the machine does only adds to it. The modules of visavis have been compiled before (as pip does).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from scripts.benches.transfers import signaling_server

STANDARD: Final = "import argparse, tomllib, asyncio"
HTTP: Final = "import aiohttp"
HELP_RATIO: Final = 2.5
PIPE_RATIO: Final = 1.5
IDLE_SIZE: Final = 50.0
"""MiB."""
SETTLING: Final = 3.0
"""Seconds after an agent has entered its room until its memory is read: what it prepares is prepared then."""
TIMEOUT: Final = 30.0
"""Seconds for any step."""


def cpu_of(command: list[str], environment: Mapping[str, str]) -> float:
    """Return the CPU seconds of a command that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_until_request(environment: Mapping[str, str]) -> float:
    """Return the CPU seconds of `visavis pipe` until its request has come in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "visavis_peer", "pipe", "--server", url]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(TIMEOUT)
                head = b""
                while b"\r\n\r\n" not in head:
                    part = connection.recv(65_536)
                    if not part:
                        sys.exit("start: visavis pipe has closed its connection before it asked for anything")
                    head += part
                # CPUCLOCK_SCHED of another process (clock_getcpuclockid(3), Linux)
                return time.clock_gettime((~process.pid << 3) | 2)
        finally:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def idle_agent(url: str, room: str, environment: Mapping[str, str]) -> Iterator[int]:
    """Run an agent that is alone in a room with a secret; yield its process id once it has settled."""
    with tempfile.NamedTemporaryFile("w") as invite:
        invite.write(f"{url}/r/{room}#AAAAAAAAAAAAAAAAAAAAAA")
        invite.flush()
        command = [sys.executable, "-m", "visavis_peer", "agent", "--invite-file", invite.name, "--json"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if '"event":"joined"' in line:
                    break
            time.sleep(SETTLING)
            yield process.pid
        finally:
            process.kill()
            process.communicate()


def memory_of(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    found = re.search(r"^Rss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def show(what: str, value: float, unit: str, base: float, bar: float) -> bool:
    """Print one line; return whether the bar is met."""
    ratio = value / base
    print(f"{what:44} {value:7.1f} {unit:3} {ratio:6.2f}  {bar:5.2f}  {'' if ratio <= bar else 'TOO MUCH'}".rstrip())
    return ratio <= bar


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, runs: {arguments.runs}, load before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as compiled:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = compiled
        python, peer, server = sys.executable, "visavis_peer", "visavis_server"
        turns: dict[str, Callable[[], float]] = {
            STANDARD: lambda: cpu_of([python, "-c", STANDARD], environment),
            HTTP: lambda: cpu_of([python, "-c", HTTP], environment),
            "visavis --help": lambda: cpu_of([python, "-m", peer, "--help"], environment),
            "visavis pipe --help": lambda: cpu_of([python, "-m", peer, "pipe", "--help"], environment),
            "visavis-server --help": lambda: cpu_of([python, "-m", server, "--help"], environment),
            "visavis pipe, until its WebSocket request": lambda: cpu_until_request(environment),
        }
        least = dict.fromkeys(turns, float("inf"))
        for number in range(arguments.runs + 1):
            for name, turn in turns.items():
                spent = turn()
                if number:  # the first one compiles
                    least[name] = min(least[name], spent)
        with signaling_server() as (url, _):
            for room in ("compiled", "measured"):  # a room of its own: the first one's agent is kept there for a while
                with idle_agent(url, room, environment) as pid:
                    memory = memory_of(pid)
    for name in (STANDARD, HTTP):
        print(f"{name:44} {least[name] * 1e3:7.1f} ms")
    print(f"{'':44} {'':11} {'ratio':>6}  {'bar':>5}")
    kept = [
        show(name, least[name] * 1e3, "ms", least[base] * 1e3, bar)
        for name, base, bar in (
            ("visavis --help", STANDARD, HELP_RATIO),
            ("visavis pipe --help", STANDARD, HELP_RATIO),
            ("visavis-server --help", STANDARD, HELP_RATIO),
            ("visavis pipe, until its WebSocket request", HTTP, PIPE_RATIO),
        )
    ]
    kept.append(show(f"an idle agent (of {IDLE_SIZE:.0f} MiB)", memory, "MiB", IDLE_SIZE, 1.0))
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
