"""scripts/demo on machines that lack something: it does without and says so, and changes nothing unasked."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.requirements import require

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds for a whole demo: five programs one after the other, on a busy machine."""
WITHHELD = {"nft", "conntrack", "apt-get"}
PLAIN_CONTAINER = ("setpriv", "--bounding-set=-sys_admin,-net_admin", "--inh-caps=-sys_admin,-net_admin")
DIRECT = "The link is direct and encrypted end to end"

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is neither apt-get nor a network namespace"),
]


async def demo(
    *options: str, answer: str | None = None, before: tuple[str, ...] = (), path: str | None = None
) -> tuple[int | None, str]:
    """Run it to its end, with somebody at a terminal where there is an `answer`; return exit code and all it says."""
    master, inner = pty.openpty()
    try:
        if answer is not None:
            os.write(master, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            *before, str(ROOT / "scripts/demo"), *options,
            stdin=asyncio.subprocess.DEVNULL if answer is None else inner,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=os.environ | ({"PATH": path} if path else {}),
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.communicate()
    finally:
        os.close(master)
        os.close(inner)
    return process.returncode, said.decode()


@pytest.fixture
def bare(tmp_path: Path) -> tuple[str, Path]:
    """A PATH without what the NATs need, whose apt-get only writes down that it was called; and where it does."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            if program.name not in WITHHELD and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    (programs / "apt-get").write_text(f'#!/bin/sh\necho "$*" >>{calls}\n')
    (programs / "apt-get").chmod(0o755)
    return str(programs), calls


async def test_root_of_a_plain_container_gets_it_on_loopback() -> None:
    before = PLAIN_CONTAINER if os.geteuid() == 0 else ()
    code, said = await demo(before=before)
    assert (code, "Traceback" in said) == (0, False), said
    assert "No NATs in this run (network namespaces need " in said
    assert "127.0.0.1" in said
    assert DIRECT in said


async def test_a_lab_that_cannot_be_built_after_all_is_done_without(tmp_path: Path) -> None:
    require("netns")
    broken = tmp_path / "ip"
    broken.write_text("#!/bin/sh\necho 'ip: not today' >&2\nexit 1\n")
    broken.chmod(0o755)
    code, said = await demo(path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (code, "Traceback" in said) == (0, False), said
    assert "no network namespaces here: ip" in said
    assert "not today" in said
    assert DIRECT in said


async def test_where_it_can_it_has_a_nat_for_each_and_tells_every_step() -> None:
    require("netns")
    code, said = await demo()
    assert code == 0, said
    steps = (
        "Building two NATs",
        "Starting the agent alice",
        "Starting the agent bob",
        "have met",
        "for the link",
        DIRECT,
    )
    positions = [said.index(step) for step in steps]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("options", "answer", "installs"),
    [((), None, False), ((), "n", False), ((), "", False), ((), "y", True), (("--yes",), None, True)],
    ids=["nobody to ask", "no", "only Enter", "yes", "agreed before"],
)
async def test_packages_are_installed_only_where_somebody_agrees(
    options: tuple[str, ...], answer: str | None, installs: bool, bare: tuple[str, Path]
) -> None:
    require("namespaces")
    programs, calls = bare
    code, said = await demo(*options, answer=answer, path=programs)
    assert (code, "Traceback" in said) == (0, False), said
    asked = "install nftables conntrack on this system" in said
    assert asked == (answer is not None)
    if installs:
        assert "install -y -qq --no-install-recommends nftables conntrack" in calls.read_text()
    else:
        assert not calls.exists()
        assert "they need nftables conntrack: they are not installed" in said
        assert ("--yes installs them" in said) == (answer is None)
    assert "No NATs in this run (not installed: nft, conntrack)" in said
    assert DIRECT in said


def test_it_needs_nothing_that_only_development_needs() -> None:
    absent = "import sys; sys.modules |= dict.fromkeys(['pytest', 'blockbuster', 'hypothesis', 'mypy', 'websockets'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{absent}; sys.argv[1:] = ['--help']; import scripts.lib.demo as demo; demo.main()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_help_is_there_before_anything_is_set_up(tmp_path: Path) -> None:
    for name in ("demo", "lib"):
        source = ROOT / "scripts" / name
        target = tmp_path / "scripts" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    done = subprocess.run(
        [tmp_path / "scripts/demo", "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: scripts/demo [--yes] [--nat KIND KIND]" in done.stdout
