"""link.association: a link outlives the paths that it rides on, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.conditions import until
from tests.support.link_pair import DIRECT, RELAY, Pair, Wire, carried, cut, gone, linked, wires
from tests.support.transfer import Transfer
from tests.support.virtual_time import now, pass_time, virtually
from visavis_peer.core.link.liveness import SILENCE
from visavis_peer.errors import LinkClosed
from visavis_peer.link.pump import HELD_COUNT

BACK = 3.0
"""Seconds within which a transfer goes on by the relay when its direct path has died."""
MIB = 1 << 20
HANDSHAKE = 100
"""Datagrams that go both ways until the handshake is confirmed, at most: a window of the first round trip."""


@virtually
async def test_a_transfer_moves_from_the_relay_to_the_direct_path_without_a_break() -> None:
    async with linked(direct=False) as pair:
        assert pair.a.link.path == RELAY
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        for end in pair.ends:
            end.association.use_direct(end.direct, DIRECT)
        await until(lambda: pair.a.link.path == pair.b.link.path == DIRECT)
        by_relay = carried(pair, "relay")
        await transfer.done()
        assert carried(pair, "relay") == by_relay
        assert carried(pair, "direct") > 8 * MIB // 2 // 1472
        assert transfer.longest_stall < 1.0
        assert pair.a.moves == pair.b.moves == ["direct"]


@virtually
async def test_a_transfer_goes_on_by_the_relay_when_its_direct_path_dies_unnoticed() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        assert carried(pair, "relay") <= HANDSHAKE
        cut(pair, "direct")
        await transfer.done()
        assert transfer.longest_stall < BACK
        assert pair.a.direct.suspected
        assert pair.a.link.path == DIRECT  # doubt is not yet a loss


@virtually
async def test_a_transfer_goes_on_by_the_relay_when_its_direct_path_dies_in_one_direction() -> None:
    """The sender still hears the reader; the ICE session that it suspects loses its consent 3 s later."""
    async with linked() as pair:
        transfer = Transfer(pair.b.link, pair.a.link, 4 * MIB)
        await transfer.arrived(0.3)
        pair.b.direct.cut = True
        await until(lambda: pair.b.direct.suspected)
        await pass_time(3.0)
        pair.b.association.lose_direct(pair.b.direct)
        await transfer.done()
        assert transfer.longest_stall < BACK


@virtually
async def test_a_direct_path_that_is_lost_and_found_is_left_and_taken_again() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.2)
        cut(pair, "direct")
        for end in pair.ends:
            end.association.lose_direct(end.direct)
        await transfer.arrived(0.5)
        assert pair.a.link.path == RELAY
        cut(pair, "direct", mended=True)
        for end in pair.ends:
            end.association.use_direct(end.direct, DIRECT)
        await until(lambda: pair.a.link.path == pair.b.link.path == DIRECT)
        by_relay = carried(pair, "relay")
        await transfer.done()
        assert carried(pair, "relay") - by_relay < 10
        assert pair.a.moves == pair.b.moves == ["relay", "direct"]


@virtually
async def test_the_loss_of_a_path_that_is_not_the_one_in_use_changes_nothing() -> None:
    async with linked() as pair:
        former = Wire("direct")
        pair.a.association.lose_direct(former)
        assert pair.a.association.direct is pair.a.direct
        assert (pair.a.link.path, pair.a.moves) == (DIRECT, [])


@virtually
async def test_a_transfer_outlives_20_seconds_without_any_path() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.arrived(0.3)
        cut(pair, "direct", "relay")
        await pass_time(20.0)
        cut(pair, "direct", "relay", mended=True)
        back = now()
        await transfer.done()
        assert next(at for at in transfer.arrivals if at > back) - back < 10.0


@virtually
async def test_an_idle_link_outlives_20_seconds_without_any_path() -> None:
    async with linked() as pair:
        for _ in range(10):
            cut(pair, "direct", "relay")
            await pass_time(20.0)
            cut(pair, "direct", "relay", mended=True)
            await pass_time(9.7)
        assert pair.a.association.up
        assert pair.b.association.up
        assert await pair.a.link.ping(1.0) > 0


@virtually
async def test_a_transfer_outlives_that_the_agent_knows_of_no_path_for_20_seconds() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.arrived(0.3)
        for end in pair.ends:
            end.association.set_relay(None)
            end.association.lose_direct(end.direct)
        await pass_time(20.0)
        for end in pair.ends:
            end.association.set_relay(RELAY)
        back = now()
        await transfer.done()
        assert next(at for at in transfer.arrivals if at > back) - back < 1.0
        assert pair.a.link.path == RELAY


@virtually
async def test_silence_ends_the_link_on_both_sides() -> None:
    async with linked() as pair:
        cut(pair, "direct", "relay")
        start = now()
        assert [await gone(end) for end in pair.ends] == [LinkClosed, LinkClosed]
        assert SILENCE < now() - start < 30 + 2
        assert pair.a.link.closed_reason == "the peer no longer answers"


@virtually
async def test_a_peer_that_left_the_room_and_answers_stays() -> None:
    async with linked() as pair:
        pair.a.association.peer_left(asleep=False)
        await pass_time(60.0)
        assert pair.a.association.up


@virtually
async def test_an_idle_link_stays_up_for_hours_and_never_doubts_its_path() -> None:
    async with linked() as pair:
        await pass_time(2 * 3600.0)
        assert pair.a.association.up
        assert pair.b.association.up
        assert carried(pair, "relay") <= HANDSHAKE
        assert pair.a.link.silence < 10


@virtually
async def test_a_round_trip_of_800_ms_is_no_reason_for_doubt() -> None:
    async with linked(delay=0.4) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.done()
        await pass_time(300.0)
        assert carried(pair, "relay") <= HANDSHAKE
        assert pair.b.direct.suspected == 0


@pytest.mark.parametrize("seed", range(3))
@virtually
async def test_loss_and_reordering_cost_no_byte(seed: int) -> None:
    direct = wires("direct", loss=0.05, jitter=0.03)
    pair = Pair(direct=direct, relay=wires("relay", loss=0.05, jitter=0.03))
    pair.start(relay=True)
    await pair.up()
    await asyncio.gather(
        *(
            Transfer(source.link, target.link, 300_000, seed).done()
            for source, target in (pair.ends, reversed(pair.ends))
        )
    )
    pair.close()


@pytest.mark.parametrize("seed", range(3))
@virtually
async def test_paths_that_flap_under_a_transfer_cost_no_byte(seed: int) -> None:
    chance = random.Random(seed)
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 16 * MIB, seed)
        for _ in range(30):
            match chance.randrange(6):
                case 0:
                    cut(pair, "direct")
                case 1:
                    cut(pair, "relay")
                case 2:
                    cut(pair, "direct", "relay", mended=True)
                case 3:
                    end = chance.choice(pair.ends)
                    end.association.lose_direct(end.direct)
                case 4:
                    end = chance.choice(pair.ends)
                    end.association.use_direct(end.direct, DIRECT)
                case _:
                    end = chance.choice(pair.ends)
                    end.association.set_relay(chance.choice((None, RELAY)))
            await pass_time(chance.uniform(0, 0.3))
        cut(pair, "direct", "relay", mended=True)
        for end in pair.ends:
            end.association.set_relay(RELAY)
        await transfer.done()


@virtually
async def test_a_path_that_turns_out_too_narrow_is_left_for_the_relay_where_there_is_one() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.arrived(0.3)
        pair.a.direct.path_datagram_size = 978
        await transfer.done()
        assert pair.a.narrowed == [978]
        assert pair.a.link.path == RELAY
        assert pair.b.link.path == DIRECT
        assert transfer.longest_stall < BACK
        pair.a.direct.path_datagram_size = 1200
        pair.a.association.use_direct(pair.a.direct, DIRECT)
        assert pair.a.link.path == DIRECT


@virtually
async def test_a_link_that_moves_from_the_relay_sends_what_the_direct_path_carries_and_asks_first() -> None:
    async with linked(direct=False) as pair:
        for end, carries in zip(pair.ends, (1472, 1400), strict=True):
            end.direct.carries = carries
        transfers = [Transfer(*ends, 2 * MIB) for ends in ((pair.a.link, pair.b.link), (pair.b.link, pair.a.link))]
        await asyncio.gather(*(transfer.arrived(0.3) for transfer in transfers))
        for end in pair.ends:
            end.association.use_direct(end.direct, DIRECT)
            assert end.association.direct is end.direct
            assert end.link.path == RELAY
            assert not end.direct.sizes
        for transfer in transfers:
            await transfer.done()
            assert transfer.longest_stall < 1.0
        assert pair.a.moves == pair.b.moves == ["direct"]
        assert 1400 < max(pair.a.direct.sizes) <= 1472
        assert 1300 < max(pair.b.direct.sizes) <= 1392


@virtually
async def test_a_link_that_begins_on_the_direct_path_finds_out_that_it_carries_more() -> None:
    async with linked(relay=False) as pair:
        await Transfer(pair.a.link, pair.b.link, 2 * MIB).done()
        assert pair.a.direct.sizes[0] == 1200
        assert 1400 < max(pair.a.direct.sizes) <= 1472


@virtually
async def test_a_path_on_which_nothing_can_be_asked_is_used_with_small_datagrams() -> None:
    async with linked(direct=False) as pair:
        pair.a.direct.cut = True
        for end in pair.ends:
            end.association.use_direct(end.direct, DIRECT)
        await until(lambda: pair.a.link.path == DIRECT)
        pair.a.direct.cut = False
        await Transfer(pair.a.link, pair.b.link, MIB).done()
        assert max(pair.a.direct.sizes) <= 1200


@virtually
async def test_a_path_that_is_lost_while_its_size_is_asked_is_not_used() -> None:
    async with linked(direct=False) as pair:
        pair.a.association.use_direct(pair.a.direct, DIRECT)
        pair.a.association.lose_direct(pair.a.direct)
        await pass_time(1.0)
        assert (pair.a.link.path, pair.a.association.direct, pair.a.moves) == (RELAY, None, [])


@virtually
@pytest.mark.parametrize("relay", [True, False])
async def test_a_path_that_silently_carries_less_than_before_costs_a_short_stall(relay: bool) -> None:
    """No router says what it drops, and small datagrams pass (RFC 8899 section 4.3)."""
    async with linked(relay=relay) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        assert max(pair.a.direct.sizes) > 1400
        for end in pair.ends:
            end.direct.carries = 1300
        await transfer.done()
        assert transfer.longest_stall < BACK
        assert max(pair.a.direct.sizes[-100:]) <= 1200
        assert pair.a.link.path == DIRECT


@virtually
async def test_an_outage_does_not_make_datagrams_smaller() -> None:
    async with linked(relay=False) as pair:
        await Transfer(pair.a.link, pair.b.link, 2 * MIB).done()
        cut(pair, "direct")
        transfer = Transfer(pair.a.link, pair.b.link, 2 * MIB)
        await pass_time(5.0)
        cut(pair, "direct", mended=True)
        await transfer.done()
        assert max(pair.a.direct.sizes[-100:]) > 1400


@virtually
async def test_datagrams_that_this_machine_refuses_get_smaller_at_once() -> None:
    async with linked(relay=False) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.arrived(0.3)
        pair.a.direct.path_datagram_size = 1200
        await transfer.done()
        assert transfer.longest_stall < 1.0
        assert max(pair.a.direct.sizes[-1000:]) <= 1200


@virtually
async def test_nothing_is_lost_where_a_faster_path_is_found_in_the_middle_of_the_handshake() -> None:
    """What is sent there right after the handshake overtakes its end, which takes one way of the relay."""
    pair = Pair(direct=wires("direct", 0.001), relay=wires("relay", 0.1))
    began = now()
    pair.start(direct=False, relay=True)
    await until(lambda: pair.a.association.up)
    for end in pair.ends:
        end.association.use_direct(end.direct, DIRECT)
    transfer = Transfer(pair.a.link, pair.b.link, 1000)
    await transfer.done()
    assert now() - began < 0.45, "a probe timeout has passed"
    pair.close()


@virtually
async def test_a_link_waits_while_the_relay_has_no_room_and_goes_on_where_it_was() -> None:
    async with linked(direct=False) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        pair.a.relay.room = 0
        await pass_time(1.0)  # what was under way arrives
        sent = pair.a.relay.carried
        for number in range(2 * HELD_COUNT):
            pair.a.link.send_datagram(bytes([number]))
        await pass_time(5.0)
        assert pair.a.relay.carried == sent
        pair.a.relay.room = 1 << 30
        pair.a.association.relay_ready()
        await transfer.done()
        pair.a.link.send_datagram(b"last")
        received = [await pair.b.link.receive_datagram() for _ in range(HELD_COUNT + 1)]
        assert received == [*(bytes([number]) for number in range(HELD_COUNT)), b"last"]


@virtually
async def test_a_direct_path_takes_what_waits_for_the_relay() -> None:
    async with linked(direct=False) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        pair.a.relay.room = 0
        for end in pair.ends:
            end.association.use_direct(end.direct, DIRECT)
        await transfer.done()


@virtually
async def test_the_notice_of_the_end_needs_no_room() -> None:
    async with linked(direct=False) as pair:
        pair.a.relay.room = 0
        pair.a.link.close("over")
        await gone(pair.b)
        assert pair.b.link.closed_reason == "closed by the peer: over"
