"""link.association: a link whose peer is silent waits for it, and goes on where it was."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.link_pair import RELAY, carried, cut, gone, linked
from tests.support.transfer import Transfer
from tests.support.virtual_time import now, pass_time, stand_still, virtually
from visavis_peer.core.link.liveness import ASK_COUNT, SILENCE, STALE, SUSPENDED_INTERVAL, UNANSWERED_COUNT
from visavis_peer.errors import LinkClosed

MIB = 1 << 20
PATIENCE = 600.0


@pytest.mark.parametrize("silence", [SILENCE + 2, 60.0, 300.0, PATIENCE - 5])
@virtually
async def test_a_transfer_goes_on_where_it_was_after_a_silence(silence: float) -> None:
    async with linked(patience=PATIENCE) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.arrived(0.3)
        cut(pair, "direct", "relay")
        await pass_time(silence)
        assert [end.silences for end in pair.ends] == [[None], [None]]
        cut(pair, "direct", "relay", mended=True)
        back = now()
        await transfer.done()
        assert next(at for at in transfer.arrivals if at > back) - back < SUSPENDED_INTERVAL + 1
        for end in pair.ends:
            assert end.silences[1] == pytest.approx(silence, abs=SUSPENDED_INTERVAL + 2)
            assert end.association.suspended_at is None


@virtually
async def test_a_new_path_resumes_a_suspended_link_at_once() -> None:
    async with linked(patience=PATIENCE) as pair:
        await pass_time(1.0)
        cut(pair, "direct", "relay")
        for end in pair.ends:
            end.association.lose_direct(end.direct)
            end.association.set_relay(None)
        await pass_time(200.0)
        cut(pair, "relay", mended=True)
        for end in pair.ends:
            end.association.set_relay(RELAY)
        await pass_time(0.2)
        assert [len(end.silences) for end in pair.ends] == [2, 2]


@virtually
async def test_patience_ends_and_with_it_the_link() -> None:
    async with linked(patience=PATIENCE) as pair:
        await pass_time(1.0)
        cut(pair, "direct", "relay")
        start = now()
        assert [await gone(end) for end in pair.ends] == [LinkClosed, LinkClosed]
        assert PATIENCE - 5 < now() - start < PATIENCE + 2
        assert pair.a.link.closed_reason == "the peer no longer answers"


@pytest.mark.parametrize(("sealed", "patience"), [(False, PATIENCE), (True, 0.0), (True, SILENCE)])
@virtually
async def test_nobody_waits_for_a_stranger_nor_without_patience(sealed: bool, patience: float) -> None:
    async with linked(sealed=sealed, patience=patience) as pair:
        cut(pair, "direct", "relay")
        start = now()
        await gone(pair.a)
        assert now() - start < SILENCE + 2
        assert pair.a.silences == []


@pytest.mark.parametrize("told_at", [1.0, 60.0])
@virtually
async def test_a_peer_that_has_left_is_not_waited_for(told_at: float) -> None:
    async with linked(patience=PATIENCE) as pair:
        await pass_time(1.0)
        cut(pair, "direct", "relay")
        start = now()
        await pass_time(told_at)
        pair.a.association.peer_left(asleep=False)
        await gone(pair.a)
        assert now() - start < max(SILENCE, told_at) + 2
        assert pair.b.association.up


@virtually
async def test_a_peer_that_is_asleep_or_is_back_is_waited_for() -> None:
    async with linked(patience=PATIENCE) as pair:
        await pass_time(1.0)
        cut(pair, "direct", "relay")
        pair.a.association.peer_left(asleep=True)
        pair.b.association.peer_left(asleep=False)
        pair.b.association.peer_is_back()
        await pass_time(300.0)
        assert [end.silences for end in pair.ends] == [[None], [None]]


@virtually
async def test_a_suspended_link_asks_seldom_and_keeps_no_datagrams() -> None:
    async with linked(direct=False, patience=7200.0) as pair:
        await pass_time(1.0)  # the handshake is confirmed
        cut(pair, "relay")
        await pass_time(SILENCE + 2)
        sent = len(pair.a.relay.sizes)
        for _ in range(3600):
            await pass_time(1.0)
            pair.a.link.send_datagram(bytes(1000))
        questions = len(pair.a.relay.sizes) - sent
        assert 3600 / SUSPENDED_INTERVAL * 0.9 < questions < 3600 / SUSPENDED_INTERVAL * 2
        assert sum(pair.a.relay.sizes[sent:]) < 100 * questions
        cut(pair, "relay", mended=True)
        await pass_time(SUSPENDED_INTERVAL + 1)
        assert pair.a.association.suspended_at is None
        pair.a.link.send_datagram(b"after")
        async with asyncio.timeout(1.0):
            assert await pair.b.link.receive_datagram() == b"after"


@virtually
async def test_datagrams_to_a_silent_peer_end_nothing() -> None:
    async with linked(patience=PATIENCE) as pair:
        await pass_time(1.0)
        cut(pair, "direct", "relay")
        for _ in range(40):
            for _ in range(1000):
                pair.a.link.send_datagram(bytes(100))
            await pass_time(1.0)
        assert [end.silences for end in pair.ends] == [[None], [None]]
        assert len(pair.a.direct.sizes) < UNANSWERED_COUNT + ASK_COUNT
        cut(pair, "direct", "relay", mended=True)
        await pass_time(SUSPENDED_INTERVAL + 1)
        pair.a.link.send_datagram(b"after")
        async with asyncio.timeout(1.0):
            assert await pair.b.link.receive_datagram() == b"after"


@virtually
async def test_a_day_of_silence_is_outlived() -> None:
    async with linked(patience=86_400.0) as pair:
        await pass_time(1.0)
        cut(pair, "direct", "relay")
        await pass_time(86_000.0)
        cut(pair, "direct", "relay", mended=True)
        await pass_time(SUSPENDED_INTERVAL + 1)
        assert [len(end.silences) for end in pair.ends] == [2, 2]
        assert await pair.a.link.ping(1.0) > 0


@virtually
async def test_who_was_stopped_does_not_take_that_time_for_the_peers_silence() -> None:
    """A process that was stopped finds its clock ahead, and no peer had any chance to be heard meanwhile."""
    async with linked(patience=PATIENCE) as pair:
        await pass_time(0.5)
        stand_still(75.0)
        await pass_time(3.0)
        assert [end.silences for end in pair.ends] == [[], []]
        assert pair.a.association.up


@virtually
async def test_waking_up_asks_at_once() -> None:
    async with linked(patience=PATIENCE) as pair:
        await pass_time(2.0)
        sent = carried(pair, "direct")
        pair.a.association.on_woken()
        await pass_time(0.1)
        assert carried(pair, "direct") > sent
        assert pair.a.direct.suspected == 1


@virtually
async def test_a_round_trip_as_long_as_a_sleep_does_not_slow_down_what_follows() -> None:
    """The peer acknowledges what has lain in its buffers, and the engine takes that for the way's round trip."""
    async with linked(relay=False, patience=PATIENCE) as pair:
        await pass_time(1.0)
        for end in pair.ends:
            end.direct.delay = 40.0
        await pass_time(45.0)
        for end in pair.ends:
            end.direct.delay = 0.02
        await pass_time(3.0)
        start = now()
        await Transfer(pair.a.link, pair.b.link, MIB).done()
        assert now() - start < 2.0


@virtually
async def test_what_has_waited_for_this_machine_to_wake_up_is_dropped_and_comes_again() -> None:
    asleep = 0.0
    async with linked(patience=PATIENCE, boot_time=lambda: asleep) as pair:
        await pass_time(1.0)
        await pass_time(1.5)  # both have looked at that clock
        _, writer = await pair.b.link.open_stream("test")
        writer.write(b"old")
        asleep, start = 100.0, now()
        other, _ = await pair.a.link.accept_stream("test")
        assert await other.read(3) == b"old"
        assert STALE < now() - start < 1.0
        assert pair.a.association.up
