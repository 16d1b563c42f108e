"""Standard streams as people have them: one way, slowly, closed, full, not blocking, at a terminal, in a pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import random
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import url
from tests.support.conditions import until
from tests.support.server_running import ServerProcess, server_process

VISAVIS: Final = f"{shlex.quote(sys.executable)} -m visavis_peer"
NONBLOCKING: Final = (
    f"{shlex.quote(sys.executable)} -c 'import os, sys; [os.set_blocking(n, False) for n in (0, 1)]; "
    'os.execv(sys.executable, [sys.executable, "-m", "visavis_peer", *sys.argv[1:]])\''
)
DEADLINE: Final = 40
"""Seconds for a whole transfer, on a machine with better things to do."""


async def shell(script: str, folder: Path, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
    """Start a shell script, in a process group of its own as a job of an interactive shell has one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    return await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=folder, env=environment, stdin=stdin,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, process_group=0,
    )  # fmt: skip


@asynccontextmanager
async def job(
    script: str, folder: Path, stdin: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script until the end of the block, at the latest."""
    process = await shell(script, folder, stdin)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def maker(server: ServerProcess) -> str:
    return f"{VISAVIS} pipe --interface lo --server {url(server)}"


async def invite_in(file: Path) -> str:
    """Wait for the invite that a sender says, and return it."""

    def found() -> str | None:
        words = file.read_text(errors="replace").split() if file.exists() else []
        return next((word for word in words if word.startswith("http") and "#" in word), None)

    await until(found, DEADLINE)
    invite = found()
    assert invite is not None
    return invite


async def transfer(
    server: ServerProcess,
    folder: Path,
    send: str,
    receive: str,
    *,
    receiver_stdin: int = asyncio.subprocess.DEVNULL,
    deadline: float = DEADLINE,
) -> tuple[int | None, int | None]:
    """Run both sides; `MAKE` and `JOIN` in the scripts stand for the commands. Return the scripts' exit codes."""
    os.makedirs(folder)
    async with job(send.replace("MAKE", maker(server)), folder) as sender:
        (folder / "invite").write_text(await invite_in(folder / "told"))
        join = f"{VISAVIS} pipe --interface lo --invite-file invite"
        async with job(receive.replace("JOIN", join), folder, receiver_stdin) as receiver:
            await asyncio.wait([asyncio.ensure_future(each.wait()) for each in (sender, receiver)], timeout=deadline)
            return sender.returncode, receiver.returncode  # None for one that has not ended


@pytest.fixture
async def server() -> AsyncIterator[ServerProcess]:
    async with server_process() as running:
        yield running


async def test_one_way_in_every_ordinary_fashion_is_exact(server: ServerProcess, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)
    file = tmp_path / "data"
    file.write_bytes(data)
    source = shlex.quote(str(file))
    plain = f"MAKE 2>told <{source}"
    slow_start = f"( head -c 500 {source}; sleep 1; tail -c +501 {source} ) | "
    cases = {
        "file to file": (plain, "JOIN >out </dev/null"),
        "nobody writes for long": (
            f"( head -c 1000 {source}; sleep 12; tail -c +1001 {source} ) | MAKE 2>told",
            "JOIN >out </dev/null",
        ),
        "its status is closed": (plain, "JOIN >out 2>&- </dev/null"),
        "its input is closed": (plain, "JOIN >out <&-"),
        "its status is full": (plain, "JOIN >out 2>/dev/full </dev/null"),
        "its input cannot be read": (plain, "JOIN >out 0>only-for-writing"),
        "nothing blocks": (plain, f"{NONBLOCKING} pipe --interface lo --invite-file invite 2>err | cat >out"),
        "input that does not block": (
            slow_start + f"{NONBLOCKING} pipe --interface lo --server {url(server)} 2>told",
            "JOIN >out </dev/null",
        ),
        "its reader is slow": (plain, "JOIN </dev/null | ( sleep 3; cat ) >out"),
        "its invite's reader goes": (f"MAKE 2> >(head -n 2 >told) <{source}", "JOIN >out </dev/null"),
    }
    pieces = [
        transfer(server, tmp_path / str(number), send, f"set -o pipefail; {receive}")
        for number, (send, receive) in enumerate(cases.values())
    ]
    codes = await asyncio.gather(*pieces)
    assert dict(zip(cases, codes, strict=True)) == dict.fromkeys(cases, (0, 0))
    for number, name in enumerate(cases):
        assert (tmp_path / str(number) / "out").read_bytes() == data, name


async def test_output_that_is_closed_takes_everything_and_nothing(server: ServerProcess, tmp_path: Path) -> None:
    assert await transfer(server, tmp_path / "closed", "echo x | MAKE 2>told", "JOIN >&- </dev/null") == (0, 0)


async def test_small_transfers_end_with_0_on_both_sides_every_time(server: ServerProcess, tmp_path: Path) -> None:
    """The end is a handshake: nobody goes before the other one knows that all has arrived."""
    for batch in range(3):
        pieces = [
            transfer(server, tmp_path / f"{batch}-{number}", "echo word | MAKE 2>told", "JOIN >out </dev/null")
            for number in range(4)
        ]
        assert await asyncio.gather(*pieces) == [(0, 0)] * 4


async def test_a_terminal_at_which_nobody_types_ends_with_the_sender(server: ServerProcess, tmp_path: Path) -> None:
    """README's example, `tar c photos | visavis pipe …` to `visavis pipe | tar x`, both at a terminal."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one").write_bytes(b"1" * 100_000)
    ours, theirs = pty.openpty()
    try:
        send = f"tar c -C {shlex.quote(str(tmp_path))} photos | MAKE 2>told"
        codes = await transfer(server, tmp_path / "t", send, "set -o pipefail; JOIN | tar x", receiver_stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert codes == (0, 0)
    assert (tmp_path / "t" / "photos" / "one").read_bytes() == b"1" * 100_000


async def test_what_is_typed_at_a_terminal_goes_on_until_ctrl_d(server: ServerProcess, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    folder = tmp_path / "t"
    try:
        moving = asyncio.ensure_future(
            transfer(server, folder, "MAKE 2>told >back </dev/null", "JOIN >out", receiver_stdin=theirs)
        )
        os.write(ours, b"typed\n")
        await until(lambda: (folder / "back").exists() and (folder / "back").read_bytes() == b"typed\n", DEADLINE)
        assert not moving.done()
        os.write(ours, b"\x04")
        assert await moving == (0, 0)
    finally:
        os.close(ours)
        os.close(theirs)


async def test_output_that_takes_no_more_is_told_to_both_sides(server: ServerProcess, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(3_000_000))
    send = f"MAKE 2>told <{shlex.quote(str(data))}"
    codes = await asyncio.gather(
        transfer(server, tmp_path / "full", send, "JOIN >/dev/full 2>err </dev/null"),
        transfer(server, tmp_path / "gone", send, "JOIN 2>err </dev/null | head -c 10 >out; exit ${PIPESTATUS[0]}"),
    )
    assert list(codes) == [(9, 1), (9, 128 + signal.SIGPIPE)]
    assert "No space left" in (tmp_path / "full" / "err").read_text()
    assert "Traceback" not in (tmp_path / "gone" / "err").read_text()


async def test_a_pipeline_that_has_enough_ends_status_commands(server: ServerProcess, tmp_path: Path) -> None:
    """However the end of the reader and the next line meet."""
    where = f"--interface lo --server {url(server)} --room r"
    listening = f"exec {VISAVIS} agent {where} --name ann"
    ping = f"{VISAVIS} ping {where} --peer ann -c 50 -i 0.1 2>err | head -2 >out; exit ${{PIPESTATUS[0]}}"
    agent = f"{VISAVIS} agent {where} --json 2>NAME | head -1 >out2; exit ${{PIPESTATUS[0]}}"
    async with asyncio.timeout(DEADLINE), job(listening, tmp_path):
        scripts = [ping, *(agent.replace("NAME", f"err{number}") for number in range(8))]
        processes = [await shell(script, tmp_path) for script in scripts]
        assert [await process.wait() for process in processes] == [128 + signal.SIGPIPE] * len(scripts)
    assert [(tmp_path / name).read_text() for name in ("err", *(f"err{number}" for number in range(8)))] == [""] * 9


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_what_a_stream_cannot_encode_is_escaped(server: ServerProcess, tmp_path: Path, encoding: str) -> None:
    where = f"--interface lo --server {url(server)} --room r"
    async with asyncio.timeout(DEADLINE):
        async with job(f"PYTHONIOENCODING={encoding} exec {VISAVIS} agent {where} >out 2>err", tmp_path) as reading:
            await until(lambda: "in room" in (tmp_path / "out").read_text() if (tmp_path / "out").exists() else False)
            async with job(f"exec {VISAVIS} agent {where} --name 'cat 😀'", tmp_path):
                await until(lambda: "\\U0001f600" in (tmp_path / "out").read_text(encoding), DEADLINE)
            assert reading.returncode is None


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
async def test_a_signal_in_mid_transfer_is_what_the_sender_dies_of(
    server: ServerProcess, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """However often it comes, and at whatever distance."""
    folder = tmp_path / "t"
    os.makedirs(folder)
    async with asyncio.timeout(DEADLINE), job(f"exec {maker(server)} 2>told </dev/zero", folder) as sender:
        (folder / "invite").write_text(await invite_in(folder / "told"))
        join = f"exec {VISAVIS} pipe --interface lo --invite-file invite >out </dev/null"
        async with job(join, folder) as receiver:
            await until(lambda: (folder / "out").exists() and (folder / "out").stat().st_size > 1_000_000, DEADLINE)
            for _ in range(3):
                sender.send_signal(number)
            async with asyncio.timeout(10):
                assert await sender.wait() == -number == 128 - code
                assert await receiver.wait() == 4
    assert "Traceback" not in (folder / "told").read_text()
