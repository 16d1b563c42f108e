"""Transfers that are slow and go one way, for longer than any timeout of a link, an acknowledgement or a consent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.ordinary.test_streams import transfer
from tests.support.server_running import server_process

pytestmark = pytest.mark.timed

LINES: Final = 40
"""One in each second: longer than the 26 s after which a silent peer is missed, and than the 30 s of consent."""
DEADLINE: Final = 100
"""Seconds for a transfer of 40 s on a machine with better things to do."""


@pytest.mark.timeout(180)
async def test_a_trickle_one_way_arrives_line_by_line_over_either_path(tmp_path: Path) -> None:
    """The receiver's input is the null device, so that nothing of its own keeps the link alive."""
    trickle = f"( for n in $(seq {LINES}); do echo line $n; sleep 1; done ) | MAKE {{}} 2>told"
    # `date` shows that each line is written out as it comes, and not all of them in the end
    receive = "set -o pipefail; JOIN {} 2>err </dev/null | while read line; do echo $line $(date +%s); done >out"
    paths = {"direct": "--relay never", "through the relay": "--relay only"}
    async with server_process() as server:
        codes = await asyncio.gather(
            *(
                transfer(server, tmp_path / path, trickle.format(how), receive.format(how), deadline=DEADLINE)
                for path, how in paths.items()
            )
        )
    assert dict(zip(paths, codes, strict=True)) == dict.fromkeys(paths, (0, 0))
    for path in paths:
        lines = [line.split() for line in (tmp_path / path / "out").read_text().splitlines()]
        assert [line[:2] for line in lines] == [["line", str(number)] for number in range(1, LINES + 1)], path
        assert int(lines[-1][2]) - int(lines[0][2]) >= LINES * 3 // 4, path
        assert (tmp_path / path / "told").read_text().rstrip().endswith(f", {path}")
