"""Measure one stream of ours between two processes, beside qh3's own asyncio client and server and magic-wormhole.

The contestants take turns; every figure is the median over the rounds, memory the maximum. CPU and memory are each
end's by its own account, from the first byte to the last; memory grown is what it had above before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benches.ends.loops import available
from scripts.benches.transfers import (
    MEBIBYTE,
    ROLES,
    EndFailed,
    Ends,
    Place,
    Transfer,
    in_turns,
    print_profile,
    signaling_server,
    table,
    transfer,
    whole_blocks,
)

from tests.netns.lab.namespaces import Namespace, connect
from tests.support.requirements import missing

WORMHOLE: Final = "magic-wormhole==0.24.0"
ADDRESSES: Final = ("10.77.0.1", "10.77.0.2")
"""Of the two namespaces, which nothing else is connected to."""


@dataclass(frozen=True)
class Contestant:
    """A program of two ends, and where it runs."""

    name: str
    ends: Ends
    place: Callable[[], AbstractContextManager[Place]]


@contextlib.contextmanager
def on_loopback() -> Iterator[Place]:
    """Both ends and a signaling server on this machine."""
    with signaling_server() as (url, _):
        yield Place(server=url)


@contextlib.contextmanager
def between_namespaces(*, server: bool) -> Iterator[Place]:
    """Each end in a network namespace of its own with a cable between them, with a `server` beside the sender."""
    with ExitStack() as stack:
        spaces = [Namespace(f"bench-{side}") for side in ("send", "receive")]
        for space in spaces:
            stack.callback(space.close)
        connect(spaces[0], "eth0", spaces[1], "eth0")
        for space, address in zip(spaces, ADDRESSES, strict=True):
            space.configure(f"addr add {address}/24 dev eth0", "link set eth0 up")
        url = stack.enter_context(signaling_server(spaces[0].popen, ADDRESSES[0]))[0] if server else ""
        yield Place(spaces[0].popen, spaces[1].popen, url)


@contextlib.contextmanager
def anywhere() -> Iterator[Place]:
    """Both ends on this machine, without a server."""
    yield Place()


def contestants(wormhole: str, say: Callable[[str], object] = print) -> list[Contestant]:
    """Return who can run here; tell who can't and why. `wormhole` is a Python that has it, empty: none has."""
    found = []
    where: dict[str, Callable[[], AbstractContextManager[Place]]] = {"visavis": on_loopback}
    reason = missing("netns")
    if reason is None:
        where["visavis netns"] = partial(between_namespaces, server=True)
    else:
        say(f"skipped: visavis between namespaces: {reason}")
    for name, place in where.items():
        interface = "lo" if place is on_loopback else "eth0"
        for loop in available():
            ends = Ends("visavis_stream", ("--loop", loop, "--interface", interface))
            found.append(Contestant(f"{name} {loop}", ends, place))
    found += [
        Contestant(f"qh3 {loop}", Ends("qh3_stream", ("--loop", loop), sender_first=True), anywhere)
        for loop in available()
    ]
    if wormhole:
        found.append(Contestant("wormhole", Ends("wormhole_transit", python=wormhole), anywhere))
        if reason is None:
            ends = Ends("wormhole_transit", ("--host", ADDRESSES[1]), wormhole)
            found.append(Contestant("wormhole netns", ends, partial(between_namespaces, server=False)))
    return found


@contextlib.contextmanager
def wormhole_python(say: Callable[[str], object] = print) -> Iterator[str]:
    """Yield a Python that has magic-wormhole, in an environment made for the block; empty where that does not work."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "bin", "python")
        for command in ([sys.executable, "-m", "venv", folder], [str(python), "-m", "pip", "install", "-q", WORMHOLE]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines()
                say(f"skipped: wormhole: {WORMHOLE} cannot be installed: {lines[-1] if lines else done.returncode}")
                yield ""
                return
        yield str(python)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="scripts/bench link", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, metavar="MIB")
    parser.add_argument("--only", metavar="TEXT", default="", help="contestants whose name begins so")
    parser.add_argument("--no-wormhole", action="store_true", help="without magic-wormhole, which is installed anew")
    parser.add_argument("--profile", choices=list(ROLES), help="profile one end of the first contestant instead")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        wanted = not arguments.no_wormhole and not arguments.profile and "wormhole".startswith(arguments.only)
        python = stack.enter_context(wormhole_python()) if wanted else ""
        chosen = [each for each in contestants(python) if each.name.startswith(arguments.only)]
        if not chosen:
            parser.error(f"no contestant begins with {arguments.only}")
        try:
            measure(chosen, arguments.rounds, whole_blocks(arguments.size), arguments.profile)
        except EndFailed as error:
            sys.exit(f"link: {error}")


def measure(chosen: Sequence[Contestant], rounds: int, size: int, profiled: str | None) -> None:
    """Print a table, or the profile of one side.

    Raises EndFailed.
    """

    def turn(contestant: Contestant) -> Transfer:
        with contestant.place() as place:
            return transfer(contestant.ends, place, size)

    if profiled:
        with chosen[0].place() as place:
            print_profile(chosen[0].ends, place, size, profiled)
        return
    version, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"Python {version}, {size // MEBIBYTE} MiB, rounds: {rounds}, load before: {load:.1f}")
    results = in_turns({each.name: partial(turn, each) for each in chosen}, rounds)
    ours = {name.removeprefix("visavis "): name for name in results[0] if name.startswith("visavis")}
    table(results, ours)


if __name__ == "__main__":
    main()
