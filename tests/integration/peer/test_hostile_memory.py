"""What a link takes of memory, the QUIC engine's included, while its peer does all that it can to make it more.

Each attack is long enough to show a leak: of 1 KiB a stream, or 200 bytes a datagram.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.support.victim import Attack, attack
from visavis_peer.core.link import kinds
from visavis_peer.link import control

pytestmark = pytest.mark.timeout(60)

MIB: Final = 1 << 20
BOUND: Final = 8 * MIB
"""What a link may take, all garbage and what the allocator keeps included."""
STREAMS: Final = 24_000
PACKETS: Final = 100_000
BURST: Final = 32


def reset_at_once(attacker: Attack) -> int:
    """Open streams that are reset and stopped before their first byte is sent."""
    return burst(attacker, lambda stream_id: attacker.connection.send_stream(stream_id, b""), reset=True)


def end_and_stop(attacker: Attack) -> int:
    """Send a byte on each of many streams, end them, and read nothing."""
    data = kinds.header("test") + b"x"
    return burst(attacker, lambda stream_id: attacker.connection.send_stream(stream_id, data, end=True), reset=False)


def burst(attacker: Attack, begin: Callable[[int], None], *, reset: bool) -> int:
    for count in range(BURST):
        stream_id = attacker.stream()
        if stream_id is None:
            return count
        begin(stream_id)
        if reset:
            attacker.connection.reset_stream(stream_id, 1)
        attacker.connection.stop_stream(stream_id, 1)
    return BURST


@pytest.mark.parametrize("misuse", [reset_at_once, end_and_stop])
async def test_streams_that_come_and_go_as_fast_as_they_can_leave_nothing(misuse: Callable[[Attack], int]) -> None:
    async with attack(takes=True) as attacker:
        before = (await attacker.report())["size"]
        opened = 0
        while opened < STREAMS and attacker.connection.terminated is None:
            opened += misuse(attacker)
            await attacker.turn()
        report = await attacker.report()
        assert report["closed"] is None or "more streams at a time" in report["closed"]
        assert report["size"] - before < BOUND


async def test_datagrams_that_nobody_takes_are_kept_up_to_a_bound() -> None:
    async with attack(takes=False) as attacker:
        before = (await attacker.report())["size"]
        for _ in range(PACKETS // BURST):
            for _ in range(BURST):
                attacker.connection.send_datagram(bytes((control.DATA,)) + bytes(1000))
            await attacker.turn()
        report = await attacker.report()
        assert report["closed"] is None
        assert report["size"] - before < BOUND
