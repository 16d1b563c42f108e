"""Play the main job and tell it to a person; see scripts/demo."""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.netns.lab import KINDS, Lab
from tests.netns.programs import URL, Program, Record, launch, start_server
from tests.support.requirements import missing
from visavis_peer.commands.output import describe_nat
from visavis_peer.events import RelayCause
from visavis_shared.endpoints import format_address
from visavis_shared.nat import NatReport

PATIENCE: Final = 30.0
"""Seconds for each step: a cold start of three Python programs on a small machine is part of the first."""
ROOM: Final = "demo"


Popen = Callable[..., subprocess.Popen[str]]


@dataclass
class Scene:
    """Where the programs run."""

    url: str
    where: list[str]
    popen: dict[str, Popen]
    """How to start a program on the machine of each agent."""


def main() -> int:
    """Run the demo and return 0 when a message has gone each way over a direct link."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--nat", nargs=2, metavar="KIND", default=["linux", "address-restricted"], choices=[*KINDS])
    kinds = parser.parse_args().nat
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # each step as it comes, in a pipe as well
    with contextlib.ExitStack() as cleanup:
        scene = cleanup.enter_context(_scene(kinds))
        for line in scene.where:
            print(line)
        print()
        try:
            return _tell(scene)
        except AssertionError as error:
            print(f"It did not work out: {error}", file=sys.stderr)
            return 1


@contextlib.contextmanager
def _scene(kinds: Sequence[str]) -> Iterator[Scene]:
    """Network namespaces where they can be had, else loopback."""
    reason = missing("netns")
    with contextlib.ExitStack() as cleanup:
        if reason is None:
            print("Building two NATs in network namespaces, and starting the server …")
            try:
                scene = cleanup.enter_context(_in_namespaces(*kinds))
            except (RuntimeError, OSError) as error:
                reason = f"no network namespaces here: {str(error).strip()}"
        if reason is not None:
            print("Starting the server …")
            scene = cleanup.enter_context(_on_loopback(reason))
        yield scene


@contextlib.contextmanager
def _in_namespaces(left: str, right: str) -> Iterator[Scene]:
    """Two sites of a NAT lab: nothing of it touches this machine's own network."""
    with Lab() as lab:
        sites = {"alice": lab.site("alice", left), "bob": lab.site("bob", right)}
        start_server(lab)
        where = [f"A signaling server with STUN listens on {URL}; in network namespaces of this machine:"]
        where += [
            f"  {name:5} has the address {site.clients[0].address} behind a router of the kind {site.kind.name}"
            f" whose public address is {site.public_address}"
            for name, site in sites.items()
        ]
        yield Scene(URL, where, {name: site.clients[0].namespace.popen for name, site in sites.items()})


@contextlib.contextmanager
def _on_loopback(reason: str) -> Iterator[Scene]:
    """Three processes on this machine, without any NAT."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "visavis_server", "--host", "127.0.0.1", "--port", "0", "--stun-port", "0"]
        with log.open("w") as errors:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[2]
            where = [f"No NATs in this run ({reason}): server and agents share this machine.", f"The server is {url}."]
            yield Scene(url, where, {"alice": _popen, "bob": _popen})
        finally:
            server.terminate()
            server.communicate()


def _popen(command: list[str], **options: int) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, **options)  # type: ignore[call-overload,no-any-return]


def _agent(url: str, name: str) -> list[str]:
    return ["agent", "--server", url, "--room", ROOM, "--name", name, "--message", f"hello from {name}"]


def _tell(scene: Scene) -> int:
    """Start one agent after the other, wait for each step on both sides, and say what happened."""
    agents: dict[str, Program] = {}
    try:
        for name, popen in scene.popen.items():
            print(f"Starting the agent {name}, and waiting until it knows its address …")
            agents[name] = launch(popen, *_agent(scene.url, name))
            _tell_endpoint(name, agents[name])
        print("\nWaiting until they have met …")
        for name, program in agents.items():
            _tell_negotiation(name, program.wait_for("negotiating", PATIENCE))
        print("\nWaiting for the link, and for a message each way …")
        for name, program in agents.items():
            _tell_link(name, program.wait_for("link_up", PATIENCE))
        for name, program in agents.items():
            data = program.wait_for("data", PATIENCE)
            print(f"{name:5} got a message over the link: {data['text']!r} from {data['name']}")
        ends = [program.wait_for("path", PATIENCE, _is_final, otherwise="link_up") for program in agents.values()]
    finally:
        for program in agents.values():
            program.kill()
    for name, end in zip(agents, ends, strict=True):
        print(f"{name:5} ends on: {end['path']} {end['kind']} after {end['elapsed_ms']:.0f} ms")
    if all(end["path"] == "direct" for end in ends):
        print("\nThe link is direct and encrypted end to end: the server carries none of it.")
    else:
        print(f"\nThe link goes through the server's relay, encrypted end to end: {ends[0]['reason']}.")
    return 0


def _is_final(record: Record) -> bool:
    """Whether a path is direct, or a relay with the reason why it stays so."""
    return bool(record["path"] == "direct" or record["cause"] not in (None, RelayCause.NOT_YET))


def _tell_endpoint(name: str, program: Program) -> None:
    program.wait_for("joined", PATIENCE)
    found = program.wait_for("endpoint", PATIENCE, _is_studied)
    nat = NatReport.model_validate(found["nat"], strict=False)
    print(f"{name:5} sees itself as {found['ip']}:{found['port']} (local {found['local']}): {describe_nat(nat)}")


def _is_studied(record: Record) -> bool:
    """Whether an endpoint record is the last word of the study."""
    return not any(note.endswith("yet") for note in record["nat"]["notes"])


def _tell_negotiation(name: str, record: Record) -> None:
    print(f"{name:5} is the {record['role']}; its candidates:")
    for line in record["local_candidates"]:
        fields = line.split()
        print(f"        {fields[7]:6} {format_address((fields[4], int(fields[5])))}")


def _tell_link(name: str, record: Record) -> None:
    by = f"{record['local']} to {record['remote']}" if record["local"] else f"by {record['remote']}"
    print(f"{name:5} linked {record['elapsed_ms']:.0f} ms after the OFFER: {record['path']} {record['kind']}, {by}")


if __name__ == "__main__":
    raise SystemExit(main())
