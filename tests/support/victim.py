"""A link in a process of its own, whose memory can be measured, and a bare connection to it that keeps to no rule.

The engine's memory is not Python's, so only the size of a process tells it: `python -m tests.support.victim` is the
link's end, `Attack` the other one, in the test; between them UDP on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.support.link_pair import DIRECT, End, Wire, make_end
from visavis_peer.link.identity import Identity, Introduction
from visavis_peer.link.link import StreamReader, StreamWriter
from visavis_peer.link.quic import SecureConnection, StreamAborted, StreamStopped

PAGE: Final = 4096
TIMEOUT: Final = 10.0
"""Seconds after which a test fails rather than waits on."""
BATCH: Final = 64
"""Datagrams read at most before anything else has its turn."""


class _Path:
    """A connected UDP socket as the path of a link (DirectPath)."""

    path_datagram_size = 1200

    def __init__(self, own: socket.socket) -> None:
        self._socket = own

    def read_into(self, end: End) -> None:
        """Give the link what has come."""
        end.association.receive(_read(self._socket), "direct")

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        _write(self._socket, datagrams)

    async def find_datagram_size(self) -> int | None:
        return self.path_datagram_size

    def suspect(self) -> None:
        """Nothing is to be suspected of this path."""


def _read(own: socket.socket) -> list[bytes]:
    came: list[bytes] = []
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        while len(came) < BATCH:
            came.append(own.recv(2048))
    return came


def _write(own: socket.socket, datagrams: Sequence[bytes]) -> None:
    for datagram in datagrams:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            own.send(datagram)


async def _take_streams(end: End) -> None:
    """Be an application that takes every stream of one kind, and wants none."""

    async def take(reader: StreamReader, writer: StreamWriter) -> None:
        reader.stop(0)
        writer.reset(0)

    await end.link.serve("test", take)


async def _main() -> None:
    """Say what the peer has to know, link with it, and answer every line with what the process takes."""
    loop = asyncio.get_running_loop()
    identity = Identity()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        _say(port=own.getsockname()[1], fingerprint=identity.fingerprint)
        told = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
        own.connect(("127.0.0.1", told["port"]))
        own.setblocking(False)
        path = _Path(own)
        introduction = Introduction(**told["introduction"])
        wires = Wire("direct"), Wire("relay")
        end = make_end(identity, introduction, is_offerer=False, direct=wires[0], relay=wires[1])
        end.association.use_direct(path, DIRECT)
        loop.add_reader(own, path.read_into, end)
        await end.up.wait()
        application = asyncio.create_task(_take_streams(end) if told["takes"] else end.link.wait_closed())
        while True:
            _say(size=_resident(), closed=end.link.closed_reason)
            if not await loop.run_in_executor(None, sys.stdin.readline):
                break
        application.cancel()
        end.link.close("over")


def _say(**members: object) -> None:
    print(json.dumps(members), flush=True)


def _resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Attack:
    """The offerer's end as a bare connection, and what the process at the other end says of itself."""

    def __init__(self, process: asyncio.subprocess.Process, own: socket.socket) -> None:
        self.connection: SecureConnection
        self.refusals: Counter[tuple[type[StreamAborted | StreamStopped], int]] = Counter()
        """What the link has said of streams, by kind of frame and code."""
        self._process = process
        self._socket = own

    async def report(self) -> dict[str, Any]:
        """Return `size`, the bytes that the link's process has, and why the link is `closed`, if it is."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.line()

    async def line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found

    async def turn(self) -> None:
        """Send what there is to send, and take what has come."""
        connection, now = self.connection, time.monotonic()
        due = connection.next_timer()
        if due is not None and due <= now:
            connection.handle_timer(now)
        _write(self._socket, connection.take_datagrams(now))
        came = _read(self._socket)
        if came:
            connection.receive(came, time.monotonic())
        await asyncio.sleep(0 if came else 0.0005)
        while (event := connection.next_event()) is not None:
            if isinstance(event, StreamAborted | StreamStopped):
                self.refusals[type(event), event.code] += 1

    def stream(self) -> int | None:
        """Return the id of a stream to open, None while the link's engine allows no more."""
        return self.connection.next_stream_id() if self.connection.may_open else None


@asynccontextmanager
async def attack(*, takes: bool) -> AsyncIterator[Attack]:
    """Link with a process of its own; `takes` tells whether its application takes streams."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.victim",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        own.bind(("127.0.0.1", 0))
        own.setblocking(False)
        attacker = Attack(process, own)
        told = await attacker.line()
        identity = Identity()
        nonces = secrets.token_hex(16), secrets.token_hex(16)
        introduction = Introduction(secrets.token_hex(16), identity.fingerprint, told["fingerprint"], *nonces)
        own.connect(("127.0.0.1", told["port"]))
        line = {"port": own.getsockname()[1], "introduction": asdict(introduction), "takes": takes}
        process.stdin.write(json.dumps(line).encode() + b"\n")
        attacker.connection = SecureConnection(identity, introduction, is_offerer=True)
        attacker.connection.start(time.monotonic())
        up = asyncio.create_task(attacker.line())
        while not up.done():
            await attacker.turn()
        yield attacker
    finally:
        own.close()
        process.stdin.close()
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_main())
