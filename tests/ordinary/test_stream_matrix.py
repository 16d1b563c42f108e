"""Every kind of standard stream with every other kind: what docs/link.md, "When a pipe ends", has for each.

64 cells: each value of one stream meets each value of the two others and both roles. The side under test has those
streams; the other side is plain, from a file or the null device to a file.
"""

from __future__ import annotations

import asyncio
import os
import pty
import random
import secrets
import shlex
import sys
import tty
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.ordinary.test_streams import VISAVIS, job
from tests.support.commands import url
from tests.support.conditions import until
from tests.support.server_running import ServerProcess, server_process

KINDS: Final = ("file", "pipe", "terminal", "null", "closed", "full", "nonblocking", "unusable")
"""Of each stream. `full` is for standard input a pipe that holds more than it takes at once; `unusable` one that was
opened the other way round. A directory is missing: Python itself refuses it as standard input."""
DATA: Final = random.Random(3).randbytes(60_000)
MUCH: Final = random.Random(4).randbytes(1_000_000)
TYPED: Final = b"typed\n"
DEADLINE: Final = 60
"""Seconds for one cell, among others on a busy machine."""
AT_A_TIME: Final = 5
"""Cells that run side by side."""
ROOM_TAKEN: Final = 9
OUTPUT_FAILED: Final = 1


@dataclass(frozen=True)
class Cell:
    """Kinds of the streams of one side, and whether that side sends or receives."""

    stdin: str
    stdout: str
    stderr: str
    role: str

    def __str__(self) -> str:
        return f"{self.role} with {self.stdin} {self.stdout} {self.stderr}"

    @property
    def given(self) -> bytes:
        """What comes from its standard input."""
        if self.stdin == "full":
            return MUCH
        if self.role == "receiver" or self.stdin in ("null", "closed", "unusable"):
            return b""
        return TYPED if self.stdin == "terminal" else DATA

    @property
    def expected(self) -> bytes:
        """What its standard output has to get."""
        return DATA if self.role == "receiver" else b""

    @property
    def codes(self) -> tuple[int, int]:
        """Exit codes of the plain side and of this one: output that takes no more is told to both."""
        fails = self.stdout in ("full", "unusable") and self.expected
        return (ROOM_TAKEN, OUTPUT_FAILED) if fails else (0, 0)


def cells() -> list[Cell]:
    """Return a Latin square: in 64 cells every two values of two streams meet."""
    count = len(KINDS)
    return [
        Cell(stdin, stdout, KINDS[(row + column) % count], ("sender", "receiver")[(row + column // 4) % 2])
        for row, stdin in enumerate(KINDS)
        for column, stdout in enumerate(KINDS)
    ]


def test_the_cells_cover_every_pair() -> None:
    every = {(kind, other) for kind in KINDS for other in KINDS}
    assert {(cell.stdin, cell.stdout) for cell in cells()} == every
    assert {(cell.stdin, cell.stderr) for cell in cells()} == every
    assert {(cell.stdout, cell.stderr) for cell in cells()} == every
    for stream in ("stdin", "stdout", "stderr"):
        assert len({(getattr(cell, stream), cell.role) for cell in cells()}) == 2 * len(KINDS)


def script(cell: Cell, folder: Path, terminals: dict[str, str]) -> str:
    """Return a shell script that runs the side under test on its streams, and writes its exit code to `code`."""
    (folder / "in").write_bytes(cell.given)
    (folder / "shut").touch()
    slowly = "( head -c 30000 in; sleep 1; tail -c +30001 in ) | "
    sources = {
        "file": ("", "<in"),
        "pipe": ("cat in | ", ""),
        "terminal": ("", f"<{terminals['stdin']}"),
        "null": ("", "</dev/null"),
        "closed": ("", "<&-"),
        "full": ("cat in | ", ""),
        "nonblocking": (slowly, ""),
        "unusable": ("", "0>>shut"),
    }
    targets = {
        "file": (">out", ""),
        "pipe": ("", " | cat >out"),
        "terminal": (f">{terminals['stdout']}", ""),
        "null": (">/dev/null", ""),
        "closed": (">&-", ""),
        "full": (">/dev/full", ""),
        "nonblocking": ("", " | ( sleep 1; cat ) >out"),
        "unusable": ("1<shut", ""),
    }
    statuses = {
        "file": "2>err",
        "pipe": "2> >(cat >err)",
        "terminal": f"2>{terminals['stderr']}",
        "null": "2>/dev/null",
        "closed": "2>&-",
        "full": "2>/dev/full",
        "nonblocking": "2> >(sleep 1; cat >err)",
        "unusable": "2<shut",
    }
    unblocked = [number for number, kind in enumerate((cell.stdin, cell.stdout, cell.stderr)) if kind == "nonblocking"]
    how = (
        f"import os, sys; [os.set_blocking(n, False) for n in {unblocked}]; "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = (
        f"{shlex.quote(sys.executable)} -c {shlex.quote(how)} -m visavis_peer pipe --interface lo --invite-file invite"
    )
    (before, source), (target, after) = sources[cell.stdin], targets[cell.stdout]
    return f"{before}{{ {command} {source} {target} {statuses[cell.stderr]}; echo $? >code; }}{after}; echo >over"


async def play(server: ServerProcess, cell: Cell, folder: Path) -> None:
    """Run both sides of a cell, and hold what comes of it against what docs/link.md says."""
    os.mkdir(folder)
    (folder / "invite").write_text(f"{url(server)}/r/{secrets.token_hex(8)}#AAECAwQFBgcICQoLDA0ODw")
    (folder / "plain-in").write_bytes(cell.expected)
    with ExitStack() as stack:
        ours, terminals = {}, {}
        for stream in ("stdin", "stdout", "stderr"):
            ours[stream], theirs = pty.openpty()
            stack.callback(os.close, ours[stream])
            stack.callback(os.close, theirs)
            if stream != "stdin":
                tty.setraw(theirs)
            os.set_blocking(ours[stream], False)
            terminals[stream] = os.ttyname(theirs)
        if cell.stdin == "terminal" and cell.given:
            os.write(ours["stdin"], TYPED + b"\x04")
        plain = (
            f"{VISAVIS} pipe --interface lo --invite-file invite <plain-in >plain-out 2>plain-err; echo $? >plain-code"
        )
        shown: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

        def over() -> bool:
            for stream, seen in shown.items():
                seen += read_now(ours[stream])
            return all((folder / name).exists() and (folder / name).stat().st_size for name in ("over", "plain-code"))

        async with job(script(cell, folder, terminals), folder), job(plain, folder):
            await until(over, DEADLINE)
        over()
        codes = tuple(int((folder / name).read_text()) for name in ("plain-code", "code"))
        told = (folder / "plain-err").read_text()
        assert codes == cell.codes, f"{cell}: {told}"
        if cell.codes == (0, 0):
            assert (folder / "plain-out").read_bytes() == cell.given, cell
        if cell.stdout in ("file", "pipe", "nonblocking"):
            assert (folder / "out").read_bytes() == cell.expected, cell
        if cell.stdout == "terminal":
            assert bytes(shown["stdout"]) == cell.expected, cell
        if cell.stderr in ("file", "pipe", "nonblocking"):
            await until(lambda: "visavis:" in (folder / "err").read_text() or "done" in (folder / "err").read_text(), 5)
            assert "Traceback" not in (folder / "err").read_text(), cell


def read_now(terminal: int) -> bytes:
    """Return what has been written to a terminal since the last time."""
    parts = []
    try:
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    except OSError:  # nothing more at the moment, or nobody has it open
        pass
    return b"".join(parts)


async def play_all(chosen: list[Cell], folder: Path) -> None:
    turn = asyncio.Semaphore(AT_A_TIME)

    async def in_turn(number: int, cell: Cell) -> None:
        async with turn:
            await play(server, cell, folder / str(number))

    async with server_process() as server:
        outcomes = await asyncio.gather(
            *(in_turn(number, cell) for number, cell in enumerate(chosen)), return_exceptions=True
        )
    failed = [f"{cell}: {error!r}" for cell, error in zip(chosen, outcomes, strict=True) if error is not None]
    assert not failed, "\n".join(failed)


@pytest.mark.timeout(180)
async def test_ten_of_the_cells(tmp_path: Path) -> None:
    await play_all(cells()[::7], tmp_path)


@pytest.mark.campaign
@pytest.mark.timeout(600)
async def test_all_other_cells(tmp_path: Path) -> None:
    await play_all([cell for number, cell in enumerate(cells()) if number % 7], tmp_path)
