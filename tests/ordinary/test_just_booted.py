"""A machine that has just been started: its monotonic clock is near 0, and nothing may take that for "never".

A time namespace of Linux (5.6 and later; time_namespaces(7)) has such a clock, and the unit tests that have an event
loop run there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
UNIT_TESTS = PROJECT / "tests" / "unit"
RUN = """
import sys, time, pytest
now = time.monotonic()
assert now < 10, f"the clock shows {now} s"
sys.exit(pytest.main(sys.argv[1:]))
"""


def with_a_loop() -> list[str]:
    """Return the test modules of peer, server and shared that have an event loop; the cores are told the time."""
    modules = [path for side in ("peer", "server", "shared") for path in (UNIT_TESTS / side).rglob("test_*.py")]
    return [str(path) for path in sorted(modules) if "async def test_" in path.read_text()]


@pytest.mark.skipif(sys.platform != "linux", reason="time namespaces are Linux's")
@pytest.mark.timeout(300)
def test_the_unit_tests_pass_one_second_after_the_start() -> None:
    modules = with_a_loop()
    assert len(modules) > 10
    offset = 1 - int(time.monotonic())
    environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    done = subprocess.run(
        [
            *("unshare", "--time", "--fork", "--kill-child", f"--monotonic={offset}"),
            *(sys.executable, "-c", RUN, "-q", "-p", "no:cacheprovider", *modules),
        ],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, (
        f"in a time namespace, which needs root with CAP_SYS_ADMIN:\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    )
