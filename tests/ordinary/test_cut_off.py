"""A pipe that is cut off in the middle: both sides say so, and how much has come through."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from tests.support.commands import Process, end, read_invite, start, stop_reading, url
from tests.support.server_running import ServerProcess, server_process

LO: Final = ("--interface", "lo")
PIPE: Final = asyncio.subprocess.PIPE
PART: Final = bytes(100_000)
ROUTES: Final = ("never", "only")


@asynccontextmanager
async def halfway(relay: str, data: bytes = PART) -> AsyncIterator[tuple[Process, Process, ServerProcess]]:
    """Yield a sender that has more to send and a receiver that has written out `data`."""
    async with server_process() as server:
        sender = await start("pipe", *LO, "--relay", relay, "--server", url(server), stdin=PIPE)
        try:
            invite = await read_invite(sender)
            receiver = await start("pipe", *LO, "--relay", relay, stdin=PIPE, VISAVIS_INVITE=invite)
            try:
                assert sender.stdin is not None
                assert receiver.stdout is not None
                sender.stdin.write(data)
                async with asyncio.timeout(30):
                    assert await receiver.stdout.readexactly(len(data)) == data
                yield sender, receiver, server
            finally:
                await end(receiver)
        finally:
            await end(sender)


async def said(process: Process, limit: float = 20) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(limit):
        text = (await process.stderr.read()).decode()
        await process.wait()
    return text


@pytest.mark.parametrize("relay", ROUTES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_sender_that_is_stopped_leaves_a_receiver_that_knows_how_much_has_come(
    number: signal.Signals, relay: str
) -> None:
    async with halfway(relay) as (sender, receiver, _):
        sender.send_signal(number)
        theirs, ours = await asyncio.gather(said(sender), said(receiver))
    assert (sender.returncode, receiver.returncode) == (-number, 4)
    assert re.search(r"^incomplete: 100000 bytes \(100\.0 kB\) received, 0 bytes sent in [0-9.]+ s, ", ours, re.M)
    assert ours.endswith("\nvisavis: closed by the peer: it was stopped before the end\n")
    assert "incomplete: 0 bytes received, 100000 bytes (100.0 kB) sent in " in theirs
    assert "done:" not in ours + theirs


@pytest.mark.parametrize("relay", ROUTES)
async def test_a_receiver_that_is_stopped_tells_the_sender_how_much_it_has_written(relay: str) -> None:
    async with halfway(relay) as (sender, receiver, _):
        receiver.send_signal(signal.SIGINT)
        ours = await said(sender)
    assert sender.returncode == 4
    assert "incomplete: 0 bytes received, 100000 bytes (100.0 kB) sent in " in ours
    stopped = "it was stopped before the end, 100000 bytes (100.0 kB) of what was sent to it written out"
    assert ours.endswith(f"\nvisavis: closed by the peer: {stopped}\n")


async def test_a_receiver_whose_output_fails_tells_the_sender_how_much_it_has_written() -> None:
    async with halfway("never") as (sender, receiver, _):
        stop_reading(receiver)
        assert sender.stdin is not None
        sender.stdin.write(PART)
        ours = await said(sender)
    assert sender.returncode == 9
    assert "incomplete: 0 bytes received, 200000 bytes (200.0 kB) sent in " in ours
    assert re.search(r"the other side cannot write to standard output: its reader has gone, after [0-9]+ bytes", ours)


@pytest.mark.timeout(120)
async def test_a_side_that_is_killed_is_told_in_plain_words_and_with_what_is_known() -> None:
    """It takes the 26 s after which nothing more is expected, so all four are played side by side."""
    large = os.urandom(4_000_000)

    async def play(relay: str, victim: int) -> tuple[Process, str]:
        async with halfway(relay, large) as sides:
            victims, server = sides[:2], sides[2]
            victims[victim].kill()
            other = victims[1 - victim]
            text = await said(other, 60)
            assert "WARNING" not in server.errors, "peers go, as they do"
            return other, text

    played = await asyncio.gather(*(play(relay, victim) for relay in ROUTES for victim in (0, 1)), play("auto", 1))
    for process, text in played:
        assert process.returncode == 4, text
        assert text.count("incomplete: ") == 1
        assert "OFFER" not in text
    for _, text in (played[0], played[2]):
        assert "incomplete: 4000000 bytes (4.0 MB) received, 0 bytes sent" in text
    for _, text in (played[1], played[3], played[4]):
        known = re.search(r"4000000 bytes \(4\.0 MB\) sent \(written out on the other side: at least (\d+) bytes", text)
        assert known, text
        assert 1_000_000 <= int(known[1]) <= 4_000_000
    assert played[4][1].count("relay") <= 3, played[4][1]  # as it links, as its path is lost, and at the end
