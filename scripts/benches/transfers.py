"""One transfer between two processes: started, watched, and put into a table beside others."""

from __future__ import annotations

import contextlib
import json
import pstats
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from scripts.benches.ends.meter import BLOCK, Reading

Popen = Callable[..., subprocess.Popen[str]]
"""Starts a program at some place: on this machine or in a namespace of it."""
Result = TypeVar("Result")
PATIENCE: Final = 120.0
"""Seconds for one transfer: 256 MiB at 2 MB/s."""
MEBIBYTE: Final = 1 << 20
ROLES: Final = {"sender": "send", "receiver": "receive"}
TOP: Final = 25
"""Lines of a profile."""


def here(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a program on this machine."""
    return subprocess.Popen(command, text=True, **options)


@dataclass(frozen=True)
class Place:
    """Where the two ends run, and where they find their signaling server, if they need one."""

    sender: Popen = here
    receiver: Popen = here
    server: str = ""


@dataclass(frozen=True)
class Ends:
    """The program of both ends, and how it is started."""

    module: str
    """Below scripts/benches/ends/; meter.arguments_of_end says what it takes."""
    options: tuple[str, ...] = ()
    python: str = sys.executable
    sender_first: bool = False
    """Whether it is the sender that says where it is to be reached."""


@dataclass(frozen=True)
class Transfer:
    """What came of one."""

    size: int
    sender: Reading
    receiver: Reading

    @property
    def rate(self) -> float:
        """Megabytes (10^6) a second, from the first byte that was written to the last one that was read."""
        return self.size / (self.receiver.ended - self.sender.began) / 1e6


class EndFailed(Exception):
    """A program has not done what it should; says what it has printed."""


def transfer(ends: Ends, place: Place, size: int, profiles: Mapping[str, str] | None = None) -> Transfer:
    """Send `size` bytes from one process to another; `profiles` names files for profiles, by role.

    Raises EndFailed.
    """
    files = profiles or {}
    popen = {"send": place.sender, "receive": place.receiver}
    running: dict[str, subprocess.Popen[str]] = {}
    with contextlib.ExitStack() as stack:
        address = place.server
        for role in ("send", "receive") if ends.sender_first else ("receive", "send"):
            end = running[role] = start_end(ends, popen[role], role, address, size, files.get(role))
            stack.callback(_end, end)
            if not address:
                assert end.stdout is not None
                address = end.stdout.readline().strip()
            if not address:
                raise EndFailed(f"{_name(end)} has not started\n{end.communicate()[1]}")
        return Transfer(size, reading_of(running["send"]), reading_of(running["receive"]))


def start_end(
    ends: Ends, popen: Popen, role: str, address: str, size: int, profile: str | None = None
) -> subprocess.Popen[str]:
    """Start one end, which prints its reading when it is done."""
    command = [ends.python, "-m", f"scripts.benches.ends.{ends.module}", role, address, "--size", str(size)]
    command += ["--profile", profile] if profile else []
    return popen([*command, *ends.options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def reading_of(end: subprocess.Popen[str]) -> Reading:
    """Wait for an end and return what it has measured.

    Raises EndFailed.
    """
    try:
        output, errors = end.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        end.kill()
        raise EndFailed(f"{_name(end)} was not done within {PATIENCE:g} s\n{end.communicate()[1]}") from None
    if end.returncode or not output:
        raise EndFailed(f"{_name(end)} ended with code {end.returncode}\n{errors}")
    return Reading(**json.loads(output))


def _end(process: subprocess.Popen[str]) -> None:
    """End a program that another's failure has left alone."""
    if process.returncode is None:
        process.kill()
        process.communicate()


def _name(process: subprocess.Popen[str]) -> str:
    return str(process.args)


@contextlib.contextmanager
def signaling_server(popen: Popen = here, host: str = "127.0.0.1") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a signaling server whose relay has no limits; yield its URL and its process.

    Raises EndFailed.
    """
    command = [sys.executable, "-m", "visavis_server", "--host", host, "--port", "0", "--stun", "off"]
    command += ["--log-level", "warning", "--relay-rate", "0", "--relay-volume", "0", "--relay-address-rate", "0"]
    command += ["--relay-address-volume", "0"]
    with running(popen, command) as (line, process):
        match = re.search(r"http://\S+:\d+", line)
        if match is None:
            raise EndFailed("the signaling server has not started")
        yield match[0], process


@contextlib.contextmanager
def running(popen: Popen, command: Sequence[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a program to the end of the block; yield the first line that it prints, and it."""
    process = popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.stdout.readline(), process
    finally:
        process.kill()
        process.communicate()


def in_turns(turns: Mapping[str, Callable[[], Result]], rounds: int) -> list[dict[str, Result]]:
    """Let all have their turn in every round; who goes first changes, so that a drift of the machine hits all."""
    results = []
    for number in range(rounds):
        order = list(turns) if number % 2 == 0 else list(turns)[::-1]
        found = {name: turns[name]() for name in order}
        results.append({name: found[name] for name in turns})
    return results


def print_profile(ends: Ends, place: Place, size: int, side: str, say: Callable[[str], object] = print) -> None:
    """Run one transfer under a profiler at one end and print where its time went.

    Raises EndFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "profile"))
        result = transfer(ends, place, size, {ROLES[side]: file})
        say(f"{side}, {' '.join(ends.options)}: {result.rate:.0f} MB/s while profiled")
        pstats.Stats(file).sort_stats("tottime").print_stats(TOP)


def table(rounds: Sequence[dict[str, Transfer]], ours: Mapping[str, str], say: Callable[[str], object] = print) -> None:
    """Print the medians over the rounds, of memory the maxima.

    A last column for each of `ours` (heading, name) says how many times as fast as the row that one is: medians of the
    rounds' ratios.
    """
    names = list(rounds[0])
    width = max(map(len, names))
    heads = "".join(f"   {title:>11}" for title in ("CPU s", "peak MiB", "grown MiB"))
    say(f"{'':{width}}  {'MB/s':>7} {'[min-max]':>11}{heads}   ours is x times as fast")
    say(f"{'':{width}}  {'':19}{'    send  recv' * 3}" + "".join(f"  {heading:>6}" for heading in ours))
    for name in names:
        runs = [each[name] for each in rounds]
        rates = [run.rate for run in runs]
        sides = [run.sender for run in runs], [run.receiver for run in runs]
        cpu = " ".join(f"{statistics.median(one.cpu for one in side):5.2f}" for side in sides)
        peak = " ".join(f"{max(one.peak for one in side) / MEBIBYTE:5.0f}" for side in sides)
        growth = " ".join(f"{max(one.growth for one in side) / MEBIBYTE:5.1f}" for side in sides)
        ratios = {
            heading: statistics.median(each[other].rate / each[name].rate for each in rounds)
            for heading, other in ours.items()
        }
        say(
            f"{name:{width}}  {statistics.median(rates):7.1f} {f'[{min(rates):.0f}-{max(rates):.0f}]':>11}"
            f"   {cpu}   {peak}   {growth}"
            + "".join(f"  {ratio:{max(6, len(heading))}.2f}" for heading, ratio in ratios.items())
        )


def whole_blocks(mebibytes: int) -> int:
    """Return the bytes of a transfer of so many MiB."""
    return mebibytes * MEBIBYTE // len(BLOCK) * len(BLOCK)
