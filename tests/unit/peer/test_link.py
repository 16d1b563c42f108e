"""link.link: one link over paths that come and go, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.conditions import until
from tests.support.link_pair import DIRECT, RELAY, End, Pair, Wire, make_end
from tests.support.transfer import Transfer
from tests.support.virtual_time import now, pass_time, virtually
from visavis_peer.core.paths import Route
from visavis_peer.errors import AuthenticationFailed, LinkClosed, PeerAbsent, Refused
from visavis_peer.link.identity import Identity
from visavis_peer.link.link import HANDSHAKE_TIMEOUT, NO_PATH, RECEIVE_COUNT, SILENCE, SILENCE_OUTSIDE

BACK = 3.0
"""Seconds within which a transfer goes on by the relay when its direct path has died."""
DELAY = 0.02
"""Seconds of one way."""
MIB = 1 << 20


def wires(route: Route, delay: float = DELAY, loss: float = 0.0, jitter: float = 0.0) -> tuple[Wire, Wire]:
    return Wire(route, delay=delay, loss=loss, jitter=jitter), Wire(route, delay=delay, loss=loss, jitter=jitter)


@asynccontextmanager
async def linked(*, direct: bool = True, relay: bool = True, delay: float = DELAY) -> AsyncIterator[Pair]:
    pair = Pair(direct=wires("direct", delay), relay=wires("relay", delay))
    pair.start(direct=direct, relay=relay)
    await pair.up()
    yield pair
    pair.close()


def cut(pair: Pair, *routes: Route, mended: bool = False) -> None:
    for end in pair.ends:
        for route in routes:
            (end.direct if route == "direct" else end.relay).cut = not mended


def carried(pair: Pair, route: Route) -> int:
    return sum((end.direct if route == "direct" else end.relay).carried for end in pair.ends)


async def gone(end: End) -> type[Exception]:
    await end.link.wait_closed()
    assert len(end.downs) == 1
    return type(end.downs[0])


# --- coming up --------------------------------------------------------------------------------------------------------


@virtually
async def test_a_link_is_up_one_round_trip_after_its_path_on_the_offerers_side() -> None:
    pair = Pair(direct=wires("direct"))
    start = now()
    pair.start()
    await pair.a.up.wait()
    assert now() - start == pytest.approx(2 * DELAY, abs=0.001)
    await pair.b.up.wait()
    assert now() - start == pytest.approx(3 * DELAY, abs=0.001)
    assert (pair.a.link.path, pair.b.link.path) == (DIRECT, DIRECT)
    pair.close()


@virtually
async def test_the_handshake_waits_for_a_path_and_survives_that_it_comes_late_on_one_side() -> None:
    pair = Pair(relay=wires("relay"))
    pair.start(direct=False)
    await pass_time(2.0)
    assert not pair.a.link.up
    assert pair.a.link.path == NO_PATH
    pair.a.link.set_relay(RELAY)
    await pass_time(2.0)
    pair.b.link.set_relay(RELAY)
    await pair.up()
    pair.close()


@virtually
async def test_first_datagrams_that_are_lost_cost_time_and_not_the_link() -> None:
    pair = Pair(direct=wires("direct"))
    cut(pair, "direct")
    pair.start()
    await pass_time(1.0)
    cut(pair, "direct", mended=True)
    async with asyncio.timeout(2.0):
        await pair.up()
    pair.close()


@virtually
async def test_a_peer_that_does_not_speak_is_given_up() -> None:
    pair = Pair(direct=wires("direct"))
    cut(pair, "direct")
    start = now()
    pair.start()
    assert await gone(pair.a) is LinkClosed
    assert HANDSHAKE_TIMEOUT < now() - start < HANDSHAKE_TIMEOUT + 2
    assert "handshake" in str(pair.a.downs[0])
    assert not pair.a.up.is_set()
    pair.close()


@pytest.mark.parametrize("name", ["offerer_fingerprint", "answerer_fingerprint", "offerer_nonce", "answerer_nonce"])
@virtually
async def test_an_answerer_that_was_told_something_else_delivers_nothing(name: str) -> None:
    """Certificates were swapped, or OFFER and ANSWER of two sessions spliced."""
    pair = Pair(direct=wires("direct"), told_b={name: "e" * 32})
    pair.start()
    await pair.a.up.wait()
    _, writer = await pair.a.link.open_stream()
    writer.write(b"for b only")
    pair.a.link.send_datagram(b"for b only")
    assert await gone(pair.a) is AuthenticationFailed
    assert await gone(pair.b) is AuthenticationFailed
    assert not pair.b.up.is_set()
    with pytest.raises(LinkClosed):
        await pair.b.link.accept_stream()
    with pytest.raises(LinkClosed):
        await pair.b.link.receive_datagram()


@virtually
async def test_an_answerer_with_another_certificate_than_its_answer_named_hears_nothing() -> None:
    pair = Pair(direct=wires("direct"))
    impostor = make_end(Identity(), pair.introduction, is_offerer=False, direct=pair.b.direct, relay=pair.b.relay)
    pair.a.direct.to = impostor.link
    impostor.link.use_direct(pair.b.direct, DIRECT)
    pair.a.link.use_direct(pair.a.direct, DIRECT)
    pair.a.link.start()
    assert await gone(pair.a) is AuthenticationFailed
    assert await gone(impostor) is AuthenticationFailed
    assert not pair.a.up.is_set()
    assert not impostor.up.is_set()
    pair.b.link.close("")


# --- sealed or not ----------------------------------------------------------------------------------------------------


@virtually
async def test_a_link_says_whether_its_peer_is_authenticated_and_in_what_state_it_is() -> None:
    async with linked() as pair:
        assert pair.a.link.authenticated
        assert repr(pair.a.link) == "Link(b, host-host)"
        pair.a.link.close("enough")
        assert repr(pair.a.link) == "Link(b, closed: enough)"
        wire = Wire("direct")
        stranger = make_end(Identity(), pair.introduction, is_offerer=True, direct=wire, relay=wire, sealed=False)
        assert not stranger.link.authenticated
        stranger.link.close("")


@virtually
async def test_both_sides_make_the_same_claims_to_a_link_and_to_no_other() -> None:
    async with linked() as pair, linked() as other:
        assert pair.a.link.claim("s", "offerer") == pair.b.link.claim("s", "offerer")
        assert pair.a.link.claim("s", "offerer") != other.b.link.claim("s", "offerer")
        assert (pair.a.link.is_offerer, pair.b.link.is_offerer) == (True, False)


# --- datagrams and pings ----------------------------------------------------------------------------------------------


@virtually
async def test_datagrams_of_every_size_up_to_the_largest_arrive_in_order_on_a_good_path() -> None:
    async with linked() as pair:
        for source, target in ((pair.a.link, pair.b.link), (pair.b.link, pair.a.link)):
            sent = [bytes([size % 256]) * size for size in (0, 1, 7, 8, 9, 500, source.datagram_size)]
            for datagram in sent:
                source.send_datagram(datagram)
            assert [await target.receive_datagram() for _ in sent] == sent


@virtually
async def test_a_datagram_that_is_too_large_is_refused_with_the_bound() -> None:
    async with linked() as pair:
        size = pair.a.link.datagram_size
        with pytest.raises(ValueError, match=f"at most {size} bytes, not {size + 1}"):
            pair.a.link.send_datagram(bytes(size + 1))


@virtually
async def test_a_busy_reader_finds_the_latest_datagrams() -> None:
    async with linked() as pair:
        for number in range(RECEIVE_COUNT + 10):
            pair.a.link.send_datagram(number.to_bytes(2, "big"))
        await pass_time(1.0)
        assert await pair.b.link.receive_datagram() == (10).to_bytes(2, "big")
        pair.b.link.close("")
        rest = [datagram async for datagram in pair.b.link.datagrams()]
        assert len(rest) == RECEIVE_COUNT - 1
        assert rest[-1] == (RECEIVE_COUNT + 9).to_bytes(2, "big")


@virtually
async def test_a_listener_gets_datagrams_at_once_and_nothing_is_kept() -> None:
    async with linked() as pair:
        heard: list[bytes] = []
        pair.b.link.on_datagram = heard.append
        pair.a.link.send_datagram(b"now")
        await until(lambda: heard)
        pair.b.link.close("")
        with pytest.raises(LinkClosed):
            await pair.b.link.receive_datagram()


@virtually
async def test_datagrams_sent_without_a_path_are_lost_and_nothing_grows() -> None:
    async with linked(relay=False) as pair:
        pair.a.link.lose_direct(pair.a.direct)
        for _ in range(10_000):
            pair.a.link.send_datagram(bytes(1000))
        before = carried(pair, "direct")
        pair.a.link.use_direct(pair.a.direct, DIRECT)
        pair.a.link.send_datagram(b"after")
        assert await pair.b.link.receive_datagram() == b"after"
        assert carried(pair, "direct") - before < 10


@virtually
async def test_a_ping_takes_one_round_trip() -> None:
    async with linked(delay=0.3) as pair:
        assert await pair.a.link.ping(5.0) == pytest.approx(0.6, abs=0.01)
        assert await pair.b.link.ping(5.0) == pytest.approx(0.6, abs=0.01)


@virtually
async def test_many_pings_at_once_find_their_own_answers() -> None:
    async with linked() as pair:
        times = await asyncio.gather(*(pair.a.link.ping(5.0) for _ in range(50)))
        assert len(times) == 50


@virtually
async def test_a_ping_without_an_answer_says_so_after_its_timeout() -> None:
    async with linked() as pair:
        cut(pair, "direct", "relay")
        start = now()
        with pytest.raises(PeerAbsent, match=r"within 2\.5 s"):
            await pair.a.link.ping(2.5)
        assert now() - start == pytest.approx(2.5)


@virtually
async def test_a_ping_on_a_link_that_ends_meanwhile_says_why() -> None:
    async with linked() as pair:
        ping = asyncio.create_task(pair.a.link.ping(5.0))
        await pass_time(0)
        pair.b.link.close("good night")
        with pytest.raises(LinkClosed):
            await ping


# --- paths ------------------------------------------------------------------------------------------------------------


@virtually
async def test_a_transfer_moves_from_the_relay_to_the_direct_path_without_a_break() -> None:
    async with linked(direct=False) as pair:
        assert pair.a.link.path == RELAY
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        for end in pair.ends:
            end.link.use_direct(end.direct, DIRECT)
        by_relay = carried(pair, "relay")
        await transfer.done()
        assert carried(pair, "relay") == by_relay
        assert carried(pair, "direct") > 8 * MIB // 2 // 1200
        assert transfer.longest_stall < 1.0
        assert pair.a.moves == pair.b.moves == ["direct"]


@virtually
async def test_a_transfer_goes_on_by_the_relay_when_its_direct_path_dies_unnoticed() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.3)
        assert carried(pair, "relay") == 0
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
        pair.b.link.lose_direct(pair.b.direct)
        await transfer.done()
        assert transfer.longest_stall < BACK


@virtually
async def test_a_direct_path_that_is_lost_and_found_is_left_and_taken_again() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 8 * MIB)
        await transfer.arrived(0.2)
        cut(pair, "direct")
        for end in pair.ends:
            end.link.lose_direct(end.direct)
        await transfer.arrived(0.5)
        assert pair.a.link.path == RELAY
        cut(pair, "direct", mended=True)
        for end in pair.ends:
            end.link.use_direct(end.direct, DIRECT)
        by_relay = carried(pair, "relay")
        await transfer.done()
        assert carried(pair, "relay") - by_relay < 10
        assert pair.a.moves == pair.b.moves == ["relay", "direct"]


@virtually
async def test_the_loss_of_a_path_that_is_not_the_one_in_use_changes_nothing() -> None:
    async with linked() as pair:
        former = Wire("direct")
        pair.a.link.lose_direct(former)
        assert pair.a.link.direct is pair.a.direct
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
        assert pair.a.link.up
        assert pair.b.link.up
        assert await pair.a.link.ping(1.0) > 0


@virtually
async def test_a_transfer_outlives_that_the_agent_knows_of_no_path_for_20_seconds() -> None:
    async with linked() as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.arrived(0.3)
        for end in pair.ends:
            end.link.set_relay(None)
            end.link.lose_direct(end.direct)
        await pass_time(20.0)
        for end in pair.ends:
            end.link.set_relay(RELAY)
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
async def test_a_peer_that_left_the_room_and_is_silent_is_given_up_sooner() -> None:
    async with linked() as pair:
        cut(pair, "direct", "relay")
        start = now()
        pair.a.link.peer_is_outside(True)
        assert await gone(pair.a) is LinkClosed
        assert SILENCE_OUTSIDE < now() - start < SILENCE_OUTSIDE + 2
        assert pair.b.link.up


@virtually
async def test_a_peer_that_left_the_room_and_answers_stays() -> None:
    async with linked() as pair:
        pair.a.link.peer_is_outside(True)
        await pass_time(60.0)
        assert pair.a.link.up
        pair.a.link.peer_is_outside(False)


@virtually
async def test_an_idle_link_stays_up_for_hours_and_never_doubts_its_path() -> None:
    async with linked() as pair:
        await pass_time(2 * 3600.0)
        assert pair.a.link.up
        assert pair.b.link.up
        assert carried(pair, "relay") == 0
        assert pair.a.link.silence < 10


@virtually
async def test_a_round_trip_of_800_ms_is_no_reason_for_doubt() -> None:
    async with linked(delay=0.4) as pair:
        transfer = Transfer(pair.a.link, pair.b.link, 4 * MIB)
        await transfer.done()
        await pass_time(300.0)
        assert carried(pair, "relay") == 0
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
                    end.link.lose_direct(end.direct)
                case 4:
                    end = chance.choice(pair.ends)
                    end.link.use_direct(end.direct, DIRECT)
                case _:
                    end = chance.choice(pair.ends)
                    end.link.set_relay(chance.choice((None, RELAY)))
            await pass_time(chance.uniform(0, 0.3))
        cut(pair, "direct", "relay", mended=True)
        for end in pair.ends:
            end.link.set_relay(RELAY)
        await transfer.done()


# --- the end ----------------------------------------------------------------------------------------------------------


@virtually
async def test_the_reason_for_a_close_reaches_the_peer_by_the_relay_and_is_safe_to_print() -> None:
    async with linked(direct=False) as pair:
        pair.a.link.close("bye\x1b[2J")
        assert await gone(pair.b) is LinkClosed
        assert pair.b.link.closed_reason == "closed by the peer: bye\\x1b[2J"
        assert pair.a.link.closed_reason == "bye\x1b[2J"
        assert pair.a.link.error is pair.a.downs[0]
        pair.a.link.close("again")
        assert len(pair.a.downs) == 1


@virtually
async def test_a_link_that_is_not_wanted_is_refused() -> None:
    async with linked() as pair:
        pair.b.link.close("one peer only", refuse=True)
        assert await gone(pair.a) is Refused
        assert pair.a.link.closed_reason == "closed by the peer: one peer only"


@virtually
async def test_a_close_without_a_path_is_found_out_by_silence() -> None:
    async with linked() as pair:
        cut(pair, "direct", "relay")
        pair.a.link.close("unheard")
        assert await gone(pair.b) is LinkClosed
        assert pair.b.link.closed_reason == "the peer no longer answers"


@virtually
async def test_after_the_end_every_call_says_so() -> None:
    async with linked() as pair:
        reader, writer = await pair.a.link.open_stream()
        pair.a.link.close("enough")
        link = pair.a.link
        calls: list[Callable[[], Awaitable[object]]] = [
            link.open_stream,
            link.accept_stream,
            link.receive_datagram,
            lambda: link.ping(1.0),
            lambda: reader.read(1),
            writer.drain,
            writer.wait_closed,
        ]
        for call in calls:
            with pytest.raises(LinkClosed, match="enough"):
                await call()
        with pytest.raises(LinkClosed, match="enough"):
            link.send_datagram(b"")
        with pytest.raises(LinkClosed, match="enough"):
            writer.write(b"x")
        assert await link.wait_closed() == "enough"
        assert [stream async for stream in link.streams()] == []
        link.use_direct(pair.a.direct, DIRECT)
        link.receive([bytes(1200)], "direct")
        assert len(pair.a.downs) == 1


@virtually
async def test_whoever_waits_when_the_link_ends_hears_of_it() -> None:
    async with linked() as pair:
        a, b = pair.a.link, pair.b.link
        reader, writer = await a.open_stream()
        full = [await a.open_stream() for _ in range(63)]
        _, stuck = full[0]
        stuck.write(bytes(MIB))
        waiting = [
            asyncio.ensure_future(each)
            for each in (
                a.open_stream(),
                a.accept_stream(),
                a.receive_datagram(),
                a.wait_closed(),
                reader.read(1),
                writer.wait_closed(),
                stuck.drain(),
            )
        ]
        await pass_time(1.0)
        assert not any(task.done() for task in waiting)
        b.close("that was all")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(result) for result in results] == ["closed by the peer: that was all"] * len(waiting)


@virtually
async def test_garbage_on_a_path_changes_nothing() -> None:
    chance = random.Random(3)
    async with linked() as pair:
        for _ in range(300):
            pair.a.link.receive([chance.randbytes(chance.randrange(1500)) for _ in range(3)], "direct")
            pair.b.link.receive([chance.randbytes(chance.randrange(1500))], "relay")
        await Transfer(pair.a.link, pair.b.link, 100_000).done()
