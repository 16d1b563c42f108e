"""link.streams: what waits on the control stream for a peer that acknowledges nothing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.connection_pair import Exchange, events
from visavis_peer.core.link import kinds
from visavis_peer.core.link.credits import STREAM_COUNT, Overrun
from visavis_peer.link import control
from visavis_peer.link.quic import Control, SecureConnection
from visavis_peer.link.streams import (
    CONTROL_UNSENT,
    LINGERING_COUNT,
    STREAM_STEP,
    ReceivingPart,
    SendingPart,
    StreamTable,
)

FRAME = 21
"""Bytes of a CREDIT with its length: the engine is given one of them, and a DONE, beyond the bound at most."""


class Sender:
    """A peer that keeps to its credit, whether it has heard of it or not, and acknowledges nothing."""

    def __init__(self, connection: SecureConnection, table: StreamTable, rng: random.Random) -> None:
        self.connection = connection
        self.table = table
        self.reading: list[tuple[ReceivingPart, SendingPart]] = []
        self.opened = 0
        self.sent: Counter[int] = Counter()
        """Bytes by stream, without its header."""
        self._rng = rng

    async def open(self) -> None:
        self.opened += 1
        self.table.on_data(self.opened * STREAM_STEP, kinds.header("test"), end=False)
        self.reading.append(await self.table.accept("test"))

    async def send(self, *, end: bool) -> None:
        """Send all that a stream may, and have it read."""
        index = self._rng.randrange(len(self.reading))
        reader, writer = self.reading[index]
        allowed, self.sent[reader.stream_id] = reader.limit - self.sent[reader.stream_id], reader.limit
        self.table.on_data(reader.stream_id, bytes(allowed), end=end)
        if end:
            self.reading.pop(index)
            await reader.read()
            writer.reset()
        else:
            await reader.read(1 << 20)

    def check(self, now: float) -> None:
        """Lose what is sent, and hold the bounds."""
        self.table.flush()
        self.connection.take_datagrams(now)
        assert self.connection.unsent < CONTROL_UNSENT + 2 * FRAME
        assert self.table.untold_count <= self.table.open_count <= LINGERING_COUNT + STREAM_COUNT


@given(seed=st.integers(0, 2**32), ends=st.sampled_from([0.0, 0.01, 0.5]))
@settings(max_examples=6, deadline=None)
def test_the_backlog_for_a_peer_that_acknowledges_nothing_is_bounded(seed: int, ends: float) -> None:
    async def run() -> None:
        exchange = Exchange().start()
        table = StreamTable(exchange.b, lambda: None)
        rng = random.Random(seed)
        sender = Sender(exchange.b, table, rng)
        blocked = False
        try:
            for step in range(40_000):
                if len(sender.reading) < STREAM_COUNT and (not sender.reading or rng.random() < 0.1 + ends):
                    await sender.open()
                await sender.send(end=rng.random() < ends)
                sender.check(exchange.now)
                blocked = blocked or table.untold_count > 0
                if step % 100 == 0:
                    await asyncio.sleep(0)
        except Overrun as error:
            blocked = str(error).startswith("more streams at a time")
        assert blocked, "the engine took everything: the bound has not been tried"

    asyncio.run(run())


def test_of_each_stream_the_newest_credit_is_told_once_there_is_room() -> None:
    async def run() -> None:
        exchange = Exchange().start()
        table = StreamTable(exchange.b, lambda: None)
        sender = Sender(exchange.b, table, random.Random(1))
        await sender.open()
        for _ in range(50):
            await sender.send(end=False)
        (reader, _) = sender.reading[0]
        table.flush()
        exchange.settle()
        credits = [event.frame for event in events(exchange.a) if isinstance(event, Control)]
        assert credits == [control.Credit(reader.stream_id, reader.limit)]

    asyncio.run(run())
