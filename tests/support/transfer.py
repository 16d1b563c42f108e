"""Bytes over a link, checked to be the ones that were sent: all of them, once, in order."""

from __future__ import annotations

import asyncio
import random

from tests.support.conditions import until
from visavis_peer.link.link import Link, StreamReader, StreamWriter

PIECE = 64 << 10
"""Bytes of one write."""


async def send(writer: StreamWriter, data: bytes) -> None:
    """Write `data` and end the stream; returns when the peer's application has read it."""
    for start in range(0, len(data), PIECE):
        writer.write(data[start : start + PIECE])
        await writer.drain()
    writer.write_eof()
    await writer.wait_closed()


class Transfer:
    """One stream from one end to the other, as fast as it goes."""

    def __init__(self, source: Link, target: Link, size: int, seed: int = 1) -> None:
        self.received = 0
        self.arrivals = [asyncio.get_running_loop().time()]
        self._data = random.Random(seed).randbytes(size)
        self._source = source
        self._target = target
        self._task = asyncio.create_task(self._run())

    async def arrived(self, share: float) -> None:
        """Wait until that share of the bytes has arrived."""
        await until(lambda: self.received >= share * len(self._data) or self._task.done(), timeout=600)

    async def done(self) -> None:
        """Wait until every byte has arrived.

        Raises AssertionError when they are not those that were sent, and what the streams raise.
        """
        await self._task

    @property
    def longest_stall(self) -> float:
        """Seconds of the loop's clock during which nothing arrived."""
        return max(later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._receive())

    async def _send(self) -> None:
        _, writer = await self._source.open_stream("test")
        await send(writer, self._data)

    async def _receive(self) -> None:
        reader: StreamReader
        reader, _ = await self._target.accept_stream("test")
        parts = []
        async for part in reader:
            parts.append(part)
            self.received += len(part)
            self.arrivals.append(asyncio.get_running_loop().time())
        assert b"".join(parts) == self._data
