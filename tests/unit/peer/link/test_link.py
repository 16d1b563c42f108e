"""link.association: one link over paths that come and go, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.support.link_pair import DIRECT, RELAY, Pair, Wire, carried, cut, gone, linked, make_end, wires
from tests.support.transfer import Transfer
from tests.support.virtual_time import now, pass_time, virtually
from visavis_peer.core.link.liveness import HANDSHAKE_TIMEOUT
from visavis_peer.errors import AuthenticationFailed, LinkClosed, PeerAbsent, Refused
from visavis_peer.link.datagrams import RECEIVE_COUNT
from visavis_peer.link.identity import Identity, Meeting
from visavis_peer.link.link import StreamReader, StreamWriter
from visavis_peer.link.quic import DATAGRAM_SIZE
from visavis_peer.link.routing import NO_PATH

MIB = 1 << 20


# --- coming up --------------------------------------------------------------------------------------------------------


@virtually
async def test_a_link_is_up_one_round_trip_after_its_path_on_the_offerers_side() -> None:
    pair = Pair(direct=wires("direct"))
    start = now()
    pair.start()
    await pair.a.up.wait()
    assert now() - start == pytest.approx(2 * 0.02, abs=0.001)
    await pair.b.up.wait()
    assert now() - start == pytest.approx(3 * 0.02, abs=0.001)
    assert (pair.a.link.path, pair.b.link.path) == (DIRECT, DIRECT)
    pair.close()


@virtually
async def test_the_handshake_waits_for_a_path_and_survives_that_it_comes_late_on_one_side() -> None:
    pair = Pair(relay=wires("relay"))
    pair.start(direct=False)
    await pass_time(2.0)
    assert not pair.a.association.up
    assert pair.a.link.path == NO_PATH
    pair.a.association.set_relay(RELAY)
    await pass_time(2.0)
    pair.b.association.set_relay(RELAY)
    await pair.up()
    pair.close()


@pytest.mark.parametrize("late", [["a"], ["a", "b"]])
@virtually
async def test_a_relay_that_comes_late_carries_large_datagrams_all_the_same(late: list[str]) -> None:
    pair = Pair(relay=wires("relay"))
    for name in {"a", "b"} - set(late):
        getattr(pair, name).association.set_relay(RELAY)
    pair.start(direct=False)
    await pass_time(0.05)
    for name in late:
        getattr(pair, name).association.set_relay(RELAY)
    await pair.up()
    for sender, reader in ((pair.a, pair.b), (pair.b, pair.a)):
        before = carried(pair, "relay")
        await Transfer(sender.link, reader.link, MIB).done()
        assert carried(pair, "relay") - before < MIB // DATAGRAM_SIZE // 2
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
    _, writer = await pair.a.link.open_stream("test")
    writer.write(b"for b only")
    pair.a.link.send_datagram(b"for b only")
    assert await gone(pair.a) is AuthenticationFailed
    assert await gone(pair.b) is AuthenticationFailed
    assert not pair.b.up.is_set()
    with pytest.raises(LinkClosed):
        await pair.b.link.accept_stream("test")
    with pytest.raises(LinkClosed):
        await pair.b.link.receive_datagram()


@virtually
async def test_an_answerer_with_another_certificate_than_its_answer_named_hears_nothing() -> None:
    pair = Pair(direct=wires("direct"))
    impostor = make_end(Identity(), pair.introduction, is_offerer=False, direct=pair.b.direct, relay=pair.b.relay)
    pair.a.direct.to = impostor.association
    impostor.association.use_direct(pair.b.direct, DIRECT)
    pair.a.association.use_direct(pair.a.direct, DIRECT)
    pair.a.association.start()
    assert await gone(pair.a) is AuthenticationFailed
    assert await gone(impostor) is LinkClosed
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
        meeting = Meeting("s", "a", "b", "0" * 32, "")
        claim = pair.a.association.claim(meeting, "offerer", "offerer")
        assert claim == pair.b.association.claim(meeting, "offerer", "answerer")
        turned = pair.b.association.claim(meeting, "offerer", "offerer")
        assert turned == pair.a.association.claim(meeting, "offerer", "answerer") != claim
        assert claim != other.b.association.claim(meeting, "offerer", "answerer")
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
async def test_datagrams_sent_without_a_path_are_lost_and_nothing_grows() -> None:
    async with linked(relay=False) as pair:
        pair.a.association.lose_direct(pair.a.direct)
        for _ in range(10_000):
            pair.a.link.send_datagram(bytes(1000))
        before = carried(pair, "direct")
        pair.a.association.use_direct(pair.a.direct, DIRECT)
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


async def _never(reader: StreamReader, writer: StreamWriter) -> None:
    raise AssertionError("a stream that is not there is served")


@virtually
async def test_after_the_end_every_call_says_so() -> None:
    async with linked() as pair:
        reader, writer = await pair.a.link.open_stream("test")
        pair.a.link.close("enough")
        link = pair.a.link
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: link.open_stream("test"),
            lambda: link.accept_stream("test"),
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
        await link.serve("served", _never)
        pair.a.association.use_direct(pair.a.direct, DIRECT)
        pair.a.association.receive([bytes(1200)], "direct")
        assert len(pair.a.downs) == 1


@virtually
async def test_whoever_waits_when_the_link_ends_hears_of_it() -> None:
    async with linked() as pair:
        a, b = pair.a.link, pair.b.link
        reader, writer = await a.open_stream("test")
        full = [await a.open_stream("test") for _ in range(63)]
        _, stuck = full[0]
        stuck.write(bytes(MIB))
        waiting = [
            asyncio.ensure_future(each)
            for each in (
                a.open_stream("test"),
                a.accept_stream("test"),
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
            pair.a.association.receive([chance.randbytes(chance.randrange(1500)) for _ in range(3)], "direct")
            pair.b.association.receive([chance.randbytes(chance.randrange(1500))], "relay")
        await Transfer(pair.a.link, pair.b.link, 100_000).done()
