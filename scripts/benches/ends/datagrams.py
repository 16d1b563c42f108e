"""One end of a run of datagrams over an ICE pair: an IceSession of ours, or aioice's own Connection.

The ends tell each other their candidates over TCP. The receiver confirms what a delivery brings, but not fewer than
ACK_COUNT datagrams, by one of its own, so that both engines have the same number under way and nothing is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from aioice import Candidate, Connection
from scripts.benches.ends.loops import run
from scripts.benches.ends.meter import Meter

from visavis_peer.core.nat.addresses import LocalAddress
from visavis_peer.ice import IceSession
from visavis_shared.messages import IceCredentials

DATAGRAM_SIZE: Final = 1200
ACK_COUNT: Final = 32
STALL: Final = 0.2
"""Seconds after which what is under way counts as lost, which says that the window is too large for this machine."""
DATA: Final = b"\xf0" * DATAGRAM_SIZE
OnDatagrams = Callable[[list[bytes]], None]


@dataclass
class Description:
    """What one end tells the other."""

    ufrag: str
    pwd: str
    candidates: list[str]


class Engine(Protocol):
    """What is measured."""

    async def describe(self) -> Description:
        """Gather candidates."""

    async def connect(self, remote: Description, on_datagrams: OnDatagrams) -> None:
        """Find a valid pair; datagrams are delivered from then on."""

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send over the selected pair."""

    async def close(self) -> None:
        """End it."""


class Ours:
    """An IceSession."""

    def __init__(self, *, controlling: bool) -> None:
        self._session = IceSession()
        self._session.set_role(controlling=controlling)

    async def describe(self) -> Description:
        """See Engine."""
        problems = await self._session.bind([LocalAddress("127.0.0.1", "lo", 65535)])
        assert not problems, problems
        credentials = self._session.credentials
        return Description(credentials.ufrag, credentials.pwd, self._session.candidates)

    async def connect(self, remote: Description, on_datagrams: OnDatagrams) -> None:
        """See Engine."""
        self._session.deliver_to(on_datagrams)
        self._session.set_remote(IceCredentials(ufrag=remote.ufrag, pwd=remote.pwd))
        for line in remote.candidates:
            self._session.add_candidate(line)
        self._session.add_candidate(None)
        await self._session.check()

    def send(self, datagrams: Sequence[bytes]) -> None:
        """See Engine."""
        self._session.send_datagrams(datagrams)

    async def close(self) -> None:
        """See Engine."""
        await self._session.close()


class Stock:
    """aioice as it comes; on an address of this machine that is not the loopback one, for it leaves that out."""

    def __init__(self, *, controlling: bool) -> None:
        self._connection = Connection(ice_controlling=controlling)
        self._tasks: list[asyncio.Task[None]] = []
        self._outgoing: asyncio.Queue[Sequence[bytes]] = asyncio.Queue()

    async def describe(self) -> Description:
        """See Engine."""
        connection = self._connection
        await connection.gather_candidates()
        lines = [candidate.to_sdp() for candidate in connection.local_candidates]
        assert lines, "aioice uses no loopback address, and there is no other"
        return Description(connection.local_username, connection.local_password, lines)

    async def connect(self, remote: Description, on_datagrams: OnDatagrams) -> None:
        """See Engine."""
        connection = self._connection
        connection.remote_username, connection.remote_password = remote.ufrag, remote.pwd
        for line in remote.candidates:
            await connection.add_remote_candidate(Candidate.from_sdp(line))
        await connection.add_remote_candidate(None)
        await connection.connect()
        self._tasks = [asyncio.create_task(self._receive(on_datagrams)), asyncio.create_task(self._send())]

    async def _receive(self, on_datagrams: OnDatagrams) -> None:
        while True:
            on_datagrams([await self._connection.recv()])

    async def _send(self) -> None:
        while True:
            for datagram in await self._outgoing.get():
                await self._connection.send(datagram)

    def send(self, datagrams: Sequence[bytes]) -> None:
        """See Engine."""
        self._outgoing.put_nowait(datagrams)

    async def close(self) -> None:
        """See Engine."""
        for task in self._tasks:
            task.cancel()
        await self._connection.close()


def confirmation(count: int) -> bytes:
    """Return the datagram that confirms `count` datagrams."""
    return b"\xf1" + count.to_bytes(4, "big")


def datagrams_of(confirmed: bytes) -> int:
    """Return how many datagrams are confirmed."""
    return int.from_bytes(confirmed[1:], "big")


class Sender:
    """Keeps `window` datagrams under way."""

    def __init__(self, engine: Engine, window: int) -> None:
        self._engine = engine
        self._window = window
        self._under_way = 0
        self._moved = False
        self.lost = 0

    def fill(self) -> None:
        """Send what the window allows."""
        datagrams = [DATA] * (self._window - self._under_way)
        self._under_way = self._window
        self._engine.send(datagrams)

    def on_datagrams(self, datagrams: list[bytes]) -> None:
        """Take confirmations."""
        self._moved = True
        self._under_way -= sum(datagrams_of(each) for each in datagrams)
        self.fill()

    async def watch(self) -> None:
        """Begin anew where everything under way was lost."""
        while True:
            self._moved = False
            await asyncio.sleep(STALL)
            if not self._moved:
                self.lost += self._under_way
                self._under_way = 0
                self.fill()


class Receiver:
    """Counts and confirms up to `count` datagrams."""

    def __init__(self, engine: Engine, count: int, meter: Meter) -> None:
        self._engine = engine
        self._count = count
        self._meter = meter
        self._received = self._confirmed = 0
        self.done = asyncio.Event()

    def on_datagrams(self, datagrams: list[bytes]) -> None:
        """Take data."""
        if not self._received:
            self._meter.start()
        self._received += len(datagrams)
        news = self._received - self._confirmed
        if news >= ACK_COUNT:
            self._confirmed = self._received
            self._engine.send([confirmation(news)])
        if self._received >= self._count and not self.done.is_set():
            self._meter.stop()
            self.done.set()


async def exchange(
    engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_datagrams: OnDatagrams
) -> None:
    """Tell the other end who this is, and connect to it."""
    writer.write(json.dumps(asdict(await engine.describe())).encode() + b"\n")
    remote = Description(**json.loads(await reader.readline()))
    await engine.connect(remote, on_datagrams)


async def send(engine: Engine, port: int, window: int, profile: str) -> None:
    """Send until the receiver says that it has enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sender = Sender(engine, window)
    await exchange(engine, reader, writer, sender.on_datagrams)
    await reader.readline()
    meter = Meter(profile)
    meter.start()
    sender.fill()
    watch = asyncio.create_task(sender.watch())
    await reader.readline()
    meter.stop()
    watch.cancel()
    writer.close()
    if sender.lost:
        raise SystemExit(f"{sender.lost} datagrams were lost: the window is too large for this machine")


async def receive(engine: Engine, count: int, profile: str) -> None:
    """Print the port where the sender finds this end, and take `count` datagrams."""
    connected: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *pair: connected.put_nowait(pair), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader, writer = await connected.get()
    receiver = Receiver(engine, count, Meter(profile))
    await exchange(engine, reader, writer, receiver.on_datagrams)
    writer.write(b"ready\n")
    await receiver.done.wait()
    writer.write(b"enough\n")
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    server.close()


async def end(arguments: argparse.Namespace) -> None:
    """Run one end."""
    sends = arguments.role == "send"
    engine: Engine = Ours(controlling=sends) if arguments.engine == "visavis" else Stock(controlling=sends)
    if sends:
        await send(engine, int(arguments.address), arguments.window, arguments.profile)
    else:
        await receive(engine, arguments.size // DATAGRAM_SIZE, arguments.profile)
    await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["send", "receive"])
    parser.add_argument("address", nargs="?", default="", help="the port that the receiver has printed")
    parser.add_argument("--size", type=int, required=True, help="bytes in all")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--engine", choices=["visavis", "aioice"], default="visavis")
    parser.add_argument("--window", type=int, default=128, help="datagrams under way at most")
    parser.add_argument("--profile", default="", metavar="FILE")
    parsed = parser.parse_args()
    run(end(parsed), parsed.loop)
