"""Outbox on the transports of the loop that the server runs on here."""

from __future__ import annotations

import asyncio

from visavis_server.sockets.outbox import Outbox
from visavis_shared.loops import fastest_loop


class Noticing(asyncio.Protocol):
    """Knows when its connection has ended."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def write_to_a_connection_that_has_ended() -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
        transport, protocol = await loop.create_connection(Noticing, *server.sockets[0].getsockname())
        transport.abort()
        await protocol.lost.wait()
        await asyncio.sleep(0)  # uvloop closes the handle when the protocol has been told
        outbox = Outbox("0123456789abcdef", transport, loop)
        assert outbox.put(b"frame")
        outbox.flush()
        assert outbox.unread == 0


def test_what_is_written_to_a_connection_that_has_ended_is_dropped() -> None:
    """uvloop raises, and all that the same turn of the loop writes to others would be lost with it."""
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(write_to_a_connection_that_has_ended())
