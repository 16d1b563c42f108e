"""link.challenge: nothing moves to a way that has not shown where it leads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.support.link_pair import End, Pair, linked, stream_of
from tests.support.virtual_time import virtually
from visavis_peer.link import quic
from visavis_peer.link.challenge import CHALLENGE_INTERVAL, WAY_COUNT


class Offered:
    """A way from one end to the other, or to nobody."""

    def __init__(self, to: End | None = None) -> None:
        self.back: Offered | None = None
        self.sent: list[bytes] = []
        self.lost = False
        self.proven = 0
        self._to = to

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        self.sent += datagrams
        if self._to is not None and self.back is not None and not self.lost:
            asyncio.get_running_loop().call_soon(self._to.association.receive_on, self.back, list(datagrams))

    def on_proven(self) -> None:
        self.proven += 1


def ways(pair: Pair) -> tuple[Offered, Offered]:
    there, back = Offered(pair.b), Offered(pair.a)
    there.back, back.back = back, there
    return there, back


@virtually
async def test_a_way_to_the_peer_is_proven_at_both_ends_and_the_link_stays_where_it_was() -> None:
    async with linked() as pair:
        there, back = ways(pair)
        pair.a.association.challenge(there, there.on_proven)
        await asyncio.sleep(0.2)
        assert (there.proven, back.proven) == (1, 0)
        pair.b.association.challenge(back, back.on_proven)
        await asyncio.sleep(0.2)
        assert (there.proven, back.proven) == (1, 1)
        asked = len(there.sent)
        await asyncio.sleep(4 * CHALLENGE_INTERVAL)
        assert len(there.sent) == asked
        assert pair.a.link.path.path == pair.b.link.path.path == "direct"


@virtually
async def test_a_way_to_somebody_else_is_asked_in_vain_until_it_is_dropped() -> None:
    async with linked() as pair, linked() as other:
        there, back = Offered(other.b), Offered(other.a)
        there.back, back.back = back, there
        pair.a.association.challenge(there, there.on_proven)
        await asyncio.sleep(10 * CHALLENGE_INTERVAL)
        assert not there.proven
        assert len(there.sent) in (10, 11)
        pair.a.association.drop_way(there)
        await asyncio.sleep(4 * CHALLENGE_INTERVAL)
        assert len(there.sent) in (10, 11)


@virtually
async def test_lost_challenges_are_repeated() -> None:
    async with linked() as pair:
        there, _ = ways(pair)
        there.lost = True
        pair.a.association.challenge(there, there.on_proven)
        await asyncio.sleep(3 * CHALLENGE_INTERVAL)
        there.lost = False
        await asyncio.sleep(2 * CHALLENGE_INTERVAL)
        assert there.proven == 1


@virtually
async def test_an_unproven_way_carries_nothing_but_the_challenge() -> None:
    async with linked() as pair:
        (_, writer), (reader, _) = await stream_of(pair.a, pair.b)
        way = Offered()
        pair.a.association.challenge(way, way.on_proven)
        for _ in range(64):
            writer.write(bytes(32_000))
            await asyncio.sleep(0.05)
            await reader.read(1 << 20)
        assert len(way.sent) > 4
        assert max(map(len, way.sent)) < 100


@virtually
async def test_a_link_that_has_lost_every_path_finds_its_peer_on_another_way() -> None:
    async with linked(direct=False) as pair:
        (_, writer), _ = await stream_of(pair.a, pair.b)
        for end in pair.ends:
            end.association.set_relay(None)
        writer.write(bytes(64_000))
        there, back = ways(pair)
        pair.a.association.challenge(there, there.on_proven)
        pair.b.association.challenge(back, back.on_proven)
        await asyncio.sleep(2 * CHALLENGE_INTERVAL)
        assert (there.proven, back.proven) == (1, 1)
        assert max(map(len, there.sent)) <= quic.DATAGRAM_SIZE


@virtually
async def test_ways_are_bounded_and_end_with_the_link() -> None:
    async with linked() as pair:
        many = [Offered() for _ in range(WAY_COUNT + 1)]
        for way in many:
            pair.a.association.challenge(way, way.on_proven)
        await asyncio.sleep(2.5 * CHALLENGE_INTERVAL)
        assert [len(way.sent) for way in many] == [1, *[3] * WAY_COUNT]
        pair.a.link.close("enough")
        pair.a.association.challenge(many[0], many[0].on_proven)
        await asyncio.sleep(2.5 * CHALLENGE_INTERVAL)
        assert [len(way.sent) for way in many] == [1, *[3] * WAY_COUNT]
