"""What sleeps and comes back: agents that were stopped, and a server that was away, in the middle of things."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import Process, agent, end, next_event, read_invite, start, url
from tests.support.server_running import ServerProcess, server_process

pytestmark = pytest.mark.timed

SLEEPS: Final = (20.0, 60.0, 75.0)
"""Seconds: one that nobody notices; one that the signaling connection outlives and that suspends the link; and one
after which the server has taken the agent off its list."""
AWAY: Final = 9.0
"""Seconds that a server needs to come back."""
BACK: Final = 5.0
"""Seconds from waking until the agent is in its room and linked again."""
SUSPENDED_AFTER: Final = 26.0
"""Seconds of silence, as docs/link.md has it."""
SUSPECTED_AFTER: Final = 5.0
"""Seconds for which the last sign of life may be older than the stop."""
SETTLED: Final = 3.0
"""Seconds from the start in which a link finds its best path."""
SLACK: Final = 4.0
"""Seconds that a busy machine takes to end a process."""
LINK_CLOSED: Final = 4
"""The exit code."""
SECRET: Final = "AAECAwQFBgcICQoLDA0ODw"
SIZE: Final = 8 << 20
CHUNK: Final = 1 << 16


@asynccontextmanager
async def pipe(*arguments: str, stdin: int = asyncio.subprocess.DEVNULL, relay: str = "only") -> AsyncIterator[Process]:
    process = await start("pipe", *arguments, "--interface", "lo", "--relay", relay, stdin=stdin)
    try:
        yield process
    finally:
        await end(process)


async def digest_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    digest = hashlib.sha256()
    while data := await stream.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()


async def give(sender: Process, data: bytes) -> None:
    assert sender.stdin is not None
    sender.stdin.write(data)
    await sender.stdin.drain()


async def sleep_and_wake(server: ServerProcess, seconds: float) -> None:
    """Stop one of two linked agents for a while; it must be in its room again within BACK, and the link in use."""
    async with sealed_pair(server, f"asleep-{seconds:.0f}") as (sleeper, other):
        await asyncio.gather(next_event(sleeper, "link_up"), next_event(other, "link_up"))
        sleeper.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        sleeper.send_signal(signal.SIGCONT)
        woken_at = time.time()
        joined = await next_event(sleeper, "joined")
        moved = await next_event(sleeper, "link_up", "path", "link_down")
        assert moved["event"] == "path"
        assert joined["ts"] - woken_at < BACK
        assert moved["ts"] - woken_at < BACK
        if seconds > SUSPENDED_AFTER:
            assert (await next_event(other, "link_suspended", "link_down"))["event"] == "link_suspended"
            resumed = await next_event(other, "link_resumed", "link_down")
            assert resumed["event"] == "link_resumed"
            assert resumed["ts"] - woken_at < BACK
        sleeper.terminate()
        _, errors = await sleeper.communicate()
        assert sleeper.returncode == 0
        assert b"Traceback" not in errors


@asynccontextmanager
async def sealed_pair(server: ServerProcess, room: str) -> AsyncIterator[tuple[Process, Process]]:
    """Run two agents in a room of their own, with a secret."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(SECRET)
        file.flush()
        more = ("--room", room, "--secret-file", file.name)
        async with agent(server, *more) as one, agent(server, *more) as other:
            yield one, other


async def sleep_in_mid_transfer(
    server: ServerProcess, sleeping: str, relay: str, seconds: float, patience: float = 600.0
) -> None:
    """Stop those in the middle of a one-way transfer; every byte must arrive, and both sides must end with 0."""
    data = random.Random(0).randbytes(SIZE)
    more = ("--patience", f"{patience:g}")
    async with (
        pipe("--server", url(server), *more, stdin=asyncio.subprocess.PIPE, relay=relay) as sender,
        pipe(await read_invite(sender), *more, relay=relay) as receiver,
    ):
        arrived = asyncio.create_task(digest_of(receiver.stdout))
        told = [asyncio.create_task(each.stderr.read()) for each in (sender, receiver) if each.stderr is not None]
        assert sender.stdin is not None
        await give(sender, data[: SIZE // 2])
        await asyncio.sleep(SETTLED)
        every = {"sender": sender, "receiver": receiver, "server": server.process}
        stopped = [process for name, process in every.items() if name in sleeping]
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in stopped:
            process.send_signal(signal.SIGCONT)
        woken = time.monotonic()
        await give(sender, data[SIZE // 2 :])
        sender.stdin.close()
        assert await arrived == hashlib.sha256(data).hexdigest(), await asyncio.gather(*told)
        print(
            f"{sleeping} asleep for {seconds:.0f} s, relay {relay}: exact {time.monotonic() - woken:.2f} s after waking"
        )
        assert [await each.wait() for each in (sender, receiver)] == [0, 0]
        assert not any(b"Traceback" in each for each in await asyncio.gather(*told))


async def ends_after(server: ServerProcess, number: signal.Signals, *more: str) -> float:
    """Send a signal to one of two linked pipes; return after how many seconds the other one has ended."""
    async with (
        pipe("--server", url(server), *more, stdin=asyncio.subprocess.PIPE, relay="auto") as alive,
        pipe(await read_invite(alive), stdin=asyncio.subprocess.PIPE, relay="auto") as other,
    ):
        await give(alive, b"here")
        assert other.stdout is not None
        assert await other.stdout.readexactly(4) == b"here"
        began = time.monotonic()
        other.send_signal(number)
        assert await alive.wait() == LINK_CLOSED
        return time.monotonic() - began


async def waiting_ends(server: ServerProcess) -> None:
    """Whoever is killed is off the list soon; who only sleeps is waited for no longer than both sides want."""
    killed, impatient, patient = await asyncio.gather(
        ends_after(server, signal.SIGKILL),
        ends_after(server, signal.SIGSTOP, "--patience", "0"),
        ends_after(server, signal.SIGSTOP, "--patience", "45"),
    )
    assert SUSPENDED_AFTER - SUSPECTED_AFTER < killed < 30 + SLACK
    assert SUSPENDED_AFTER - SUSPECTED_AFTER < impatient < 30 + SLACK
    assert 45 - SUSPECTED_AFTER < patient < 45 + SLACK


@pytest.mark.timeout(240)
async def test_whoever_sleeps_is_waited_for_and_everything_goes_on_where_it_was() -> None:
    """All side by side, for most of it is waiting."""
    async with server_process() as server, server_process() as sleepy:
        await asyncio.gather(
            *(sleep_and_wake(server, seconds) for seconds in SLEEPS),
            sleep_in_mid_transfer(server, "sender", "auto", 20.0),
            sleep_in_mid_transfer(server, "receiver", "only", 20.0),
            sleep_in_mid_transfer(server, "sender", "only", 75.0),
            sleep_in_mid_transfer(server, "receiver", "auto", 75.0),
            sleep_in_mid_transfer(server, "sender receiver", "auto", 75.0),
            sleep_in_mid_transfer(sleepy, "server", "only", 40.0),
            waiting_ends(server),
        )


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seconds", [40.0, 60.0, 300.0, 900.0])
async def test_a_transfer_goes_on_after_long_sleeps(seconds: float) -> None:
    async with server_process() as server, server_process() as sleepy:
        await asyncio.gather(
            *(
                sleep_in_mid_transfer(server, sleeping, relay, seconds, patience=1200.0)
                for sleeping in ("sender", "receiver", "sender receiver")
                for relay in ("auto", "only")
            ),
            *(sleep_in_mid_transfer(sleepy, "server", relay, seconds, patience=1200.0) for relay in ("auto", "only")),
        )


@pytest.mark.timeout(120)
async def test_a_transfer_by_the_relay_survives_a_server_that_is_away_and_knows_its_clients_again(
    tmp_path: Path,
) -> None:
    keys = ("--key-file", str(tmp_path / "keys"))
    data = random.Random(0).randbytes(SIZE)
    async with (
        server_process(*keys) as server,
        pipe("--server", url(server), stdin=asyncio.subprocess.PIPE) as sender,
        pipe(await read_invite(sender)) as receiver,
    ):
        arrived = asyncio.create_task(digest_of(receiver.stdout))
        await give(sender, data[: SIZE // 2])
        server.process.kill()
        await server.ended()
        await asyncio.sleep(AWAY)
        async with server_process(*keys, "--port", str(server.port)):
            await give(sender, data[SIZE // 2 :])
            assert sender.stdin is not None
            sender.stdin.close()
            assert await arrived == hashlib.sha256(data).hexdigest()
            assert [await each.wait() for each in (sender, receiver)] == [0, 0]
