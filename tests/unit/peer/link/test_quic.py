"""link.quic: two connections without I/O; nothing is delivered before both sides have proved themselves."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest

from tests.support.connection_pair import ANSWERER, OFFERER, Breaking, Exchange, Silent, end_of, events
from visavis_peer.link import control, quic
from visavis_peer.link.identity import Identity
from visavis_peer.link.quic import SecureConnection

# --- proof ------------------------------------------------------------------------------------------------------------


def test_both_sides_are_established_once_both_have_proved_themselves() -> None:
    exchange = Exchange().start()
    assert (exchange.a.established, exchange.b.established) == (True, True)
    assert events(exchange.a) == [quic.Established()]
    assert events(exchange.b) == [quic.Established()]


def test_the_offerer_ends_it_when_the_answerers_certificate_is_another() -> None:
    """A server that swapped the certificate in the ANSWER, or an answerer that is somebody else."""
    for exchange in (Exchange((OFFERER, Identity())), Exchange(told_a={"answerer_fingerprint": "e" * 64})):
        exchange.start().go_on(5.0)
        assert not end_of(exchange.a).authentic
        assert end_of(exchange.b).reason == "the handshake was broken off", "anybody on the way could say so"
        assert not exchange.a.established
        assert not exchange.b.established


def test_the_offerers_own_verdict_is_told_from_that_of_the_peer() -> None:
    exchange = Exchange((OFFERER, Identity())).start()
    exchange.go_on(5.0)
    over = end_of(exchange.a)
    assert not over.by_peer
    assert over.reason == "the certificate is not the one that the ANSWER named"


@pytest.mark.parametrize(("code", "frame_type"), [(0x12A, 0), (1, 0), (3, 0), (quic.REFUSED, None), (1, None)])
@pytest.mark.parametrize("victim", ["offerer", "answerer"])
def test_a_close_before_the_proof_is_believed_neither_its_code_nor_its_words(
    victim: str, code: int, frame_type: int | None
) -> None:
    """Whoever carries an Initial can send one that closes: its keys are no secret (RFC 9001 section 5.2)."""
    exchange = Exchange(offerer=Breaking)
    assert isinstance(exchange.a, Breaking)
    exchange.a.start(exchange.now)
    exchange.b.receive(exchange.a.take_datagrams(exchange.now), exchange.now)
    other: SecureConnection = exchange.b
    if victim == "answerer":
        assert exchange.a.break_off(code, frame_type, "words of an attacker")
        exchange.go_on(5.0)
    else:
        other = exchange.a
        exchange.a.hear_end(code, frame_type, "words of an attacker")
    over = quic.Terminated(quic.PROTOCOL_VIOLATION, "the handshake was broken off", authentic=True, by_peer=False)
    assert end_of(other) == over
    assert not other.established


def test_codes_of_the_transport_are_not_taken_for_ours() -> None:
    for code in (quic.AUTHENTICATION_FAILED, quic.REFUSED):
        exchange = Exchange(offerer=Breaking).start()
        events(exchange.a), events(exchange.b)
        assert isinstance(exchange.a, Breaking)
        assert exchange.a.break_off(code, 0, "words")
        exchange.go_on(5.0)
        over = quic.Terminated(quic.PROTOCOL_VIOLATION, "the connection broke: words", authentic=True, by_peer=False)
        assert events(exchange.b) == [over]


@pytest.mark.parametrize(
    "identities",
    [
        (Identity(), ANSWERER),  # its own certificate, which nobody announced
        (ANSWERER, ANSWERER),
    ],
)
def test_the_answerer_ends_it_when_the_offerer_is_somebody_else(identities: tuple[Identity, Identity]) -> None:
    exchange = Exchange(identities).start()
    over = end_of(exchange.b)
    assert over == quic.Terminated(
        quic.AUTHENTICATION_FAILED, "the offerer could not prove itself", authentic=False, by_peer=False
    )
    assert not exchange.b.established
    _, told = events(exchange.a)
    assert isinstance(told, quic.Terminated)
    assert (told.authentic, told.by_peer) == (False, True)


def test_the_answerer_ends_it_when_the_offerer_shows_the_announced_certificate_without_its_key() -> None:
    thief = copy.copy(Identity())
    thief.certificate = OFFERER.certificate
    thief.fingerprint = OFFERER.fingerprint
    exchange = Exchange((thief, ANSWERER)).start()
    assert not end_of(exchange.b).authentic


@pytest.mark.parametrize("name", ["link_id", "offerer_fingerprint", "offerer_nonce", "answerer_nonce"])
def test_a_proof_for_another_session_is_none(name: str) -> None:
    exchange = Exchange(told_b={name: "e" * 64}).start()
    assert not end_of(exchange.b).authentic


def test_an_answerer_without_the_key_of_its_certificate_cannot_even_begin() -> None:
    thief = copy.copy(Identity())
    thief.certificate_pem = ANSWERER.certificate_pem
    exchange = Exchange((OFFERER, thief))
    exchange.a.start(exchange.now)
    try:
        exchange.settle()
    except ValueError:  # the engine of the thief itself refuses to load such a pair
        return
    assert not exchange.a.established


def test_a_proof_recorded_in_one_connection_is_of_no_use_in_another_session() -> None:
    recorded = Exchange(offerer=Silent)
    recorded.start()
    assert isinstance(recorded.a, Silent)
    replayed = Exchange((Identity(), ANSWERER), offerer=Silent)
    replayed.start()
    assert isinstance(replayed.a, Silent)
    replayed.a.hello = recorded.a.hello
    replayed.a.prove()
    replayed.settle()
    assert not end_of(replayed.b).authentic


# --- before and after the proof ---------------------------------------------------------------------------------------


def test_nothing_of_the_offerer_is_delivered_before_its_proof_and_all_of_it_after() -> None:
    exchange = Exchange(offerer=Silent).start()
    assert isinstance(exchange.a, Silent)
    exchange.a.send_stream(4, b"early")
    exchange.a.send_datagram(b"early too")
    exchange.a.send_control(control.Credit(1, 99))
    exchange.a.reset_stream(8, 7)
    exchange.settle()
    assert not exchange.b.established
    assert events(exchange.b) == []
    exchange.a.prove()
    exchange.settle()
    established, *rest = events(exchange.b)
    assert established == quic.Established()
    assert quic.StreamData(4, b"early", end=False) in rest
    assert quic.Datagram(b"early too") in rest
    assert not any(isinstance(event, quic.Control) for event in rest)


def test_what_is_kept_for_an_offerer_that_does_not_prove_itself_is_bounded() -> None:
    exchange = Exchange(offerer=Silent).start()
    for _ in range(100):
        exchange.a.send_stream(4, bytes(100_000))
        exchange.settle()
    over = end_of(exchange.b)
    assert (over.code, over.reason) == (
        quic.PROTOCOL_VIOLATION,
        "the offerer sends much and does not prove itself",
    )
    assert exchange.b.early_size <= quic.EARLY_SIZE


def test_early_datagrams_beyond_the_bound_are_lost_and_nothing_else_is() -> None:
    exchange = Exchange(offerer=Silent).start()
    assert isinstance(exchange.a, Silent)
    count = 2 * quic.EARLY_SIZE // 1000
    for _ in range(count):
        exchange.a.send_datagram(bytes(1000))
        exchange.settle()
    exchange.a.prove()
    exchange.settle()
    delivered = events(exchange.b)
    assert exchange.b.terminated is None
    assert count // 3 < sum(isinstance(event, quic.Datagram) for event in delivered) < count * 2 // 3


@pytest.mark.parametrize("side", ["offerer", "answerer"])
def test_a_proof_that_nobody_asked_for_breaks_the_rules(side: str) -> None:
    exchange = Exchange().start()
    sender, receiver = (exchange.a, exchange.b) if side == "offerer" else (exchange.b, exchange.a)
    events(receiver)
    proof = OFFERER.sign(exchange.introduction)
    sender.send_control(control.Hello(OFFERER.certificate, proof))
    exchange.settle()
    over = end_of(receiver)
    assert (over.code, over.reason) == (quic.PROTOCOL_VIOLATION, "HELLO came unasked")
    assert events(sender)[-1] == replace(over, by_peer=True)


def test_a_control_stream_of_garbage_breaks_the_rules_before_the_proof_as_well() -> None:
    exchange = Exchange(offerer=Silent).start()
    exchange.a.send_stream(quic.CONTROL_STREAM, b"\0\0")
    exchange.settle()
    over = end_of(exchange.b)
    assert (over.code, over.authentic) == (quic.PROTOCOL_VIOLATION, True)


def test_a_proof_cut_into_single_bytes_is_one() -> None:
    exchange = Exchange(offerer=Silent).start()
    assert isinstance(exchange.a, Silent)
    assert exchange.a.hello is not None
    for byte in control.encode(exchange.a.hello):
        exchange.a.send_stream(quic.CONTROL_STREAM, bytes((byte,)))
        exchange.settle()
    assert exchange.b.established


# --- what is carried --------------------------------------------------------------------------------------------------


def test_streams_datagrams_resets_and_credit_come_as_events() -> None:
    exchange = Exchange().start()
    a, b = exchange.a, exchange.b
    events(b)
    a.send_stream(a.next_stream_id(), b"one", end=True)
    a.send_stream(a.next_stream_id(), b"two")
    a.send_control(control.Credit(5, 6))
    a.send_control(control.Done(7))
    a.send_datagram(b"three")
    exchange.settle()
    assert sorted(map(repr, events(b))) == sorted(
        map(
            repr,
            (
                quic.StreamData(4, b"one", end=True),
                quic.StreamData(8, b"two", end=False),
                quic.Control(control.Credit(5, 6)),
                quic.Control(control.Done(7)),
                quic.Datagram(b"three"),
            ),
        )
    )
    a.reset_stream(8, 21)
    b.stop_stream(8, 22)
    exchange.settle()
    assert quic.StreamAborted(8, 21) in events(b)
    b.send_stream(b.next_stream_id(), b"back")
    exchange.settle()
    assert quic.StreamData(1, b"back", end=False) in events(a)


def test_a_stop_comes_with_its_code() -> None:
    exchange = Exchange().start()
    exchange.a.send_stream(4, b"x")
    exchange.settle()
    exchange.b.stop_stream(4, 22)
    exchange.settle()
    assert quic.StreamStopped(4, 22) in events(exchange.a)


def test_calls_that_come_too_late_for_a_stream_do_nothing() -> None:
    exchange = Exchange().start()
    exchange.a.send_stream(4, b"x", end=True)
    exchange.a.stop_stream(4, 0)
    exchange.settle()
    exchange.b.reset_stream(4, 1)
    exchange.b.send_stream(4, b"late")
    exchange.b.stop_stream(4, 1)
    exchange.a.send_stream(4, b"late")
    exchange.a.reset_stream(4, 1)
    exchange.settle()
    assert exchange.a.terminated is None
    assert exchange.b.terminated is None


def test_the_peers_limit_of_streams_is_known_and_rises_when_streams_are_over() -> None:
    exchange = Exchange().start()
    a, b = exchange.a, exchange.b
    opened = []
    while a.may_open:
        opened.append(a.next_stream_id())
        a.send_stream(opened[-1], b"x", end=True)
    assert len(opened) == 99  # of the engine's 100 one is the control stream
    exchange.settle()
    assert not a.may_open
    for stream_id in opened[:3]:
        b.send_stream(stream_id, b"", end=True)
    exchange.go_on(1.0)
    assert a.may_open


def test_a_ping_is_acknowledged_and_before_the_proof_none_is_sent() -> None:
    exchange = Exchange()
    exchange.a.ping()
    exchange.start()
    events(exchange.a)
    assert not exchange.a.in_flight
    exchange.a.ping()
    datagrams = exchange.a.take_datagrams(exchange.now)
    assert exchange.a.in_flight
    exchange.b.receive(datagrams, exchange.now)
    exchange.settle()
    assert events(exchange.a) == [quic.Alive()]
    assert not exchange.a.in_flight


def test_probe_timeouts_are_counted_until_the_peer_acknowledges_something() -> None:
    exchange = Exchange().start()
    assert exchange.a.probes == 0
    exchange.a.send_stream(4, b"x")
    exchange.go_on(2.0, to_b=lambda datagrams: [])
    assert exchange.a.probes >= 3
    exchange.go_on(5.0)
    assert exchange.a.probes == 0


def test_what_the_engine_has_not_sent_is_counted() -> None:
    exchange = Exchange().start()
    assert exchange.a.unsent == 0
    exchange.a.send_stream(4, bytes(1_000_000))
    assert exchange.a.unsent == 1_000_000
    exchange.a.take_datagrams(exchange.now)
    assert 0 < exchange.a.unsent < 1_000_000


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["offerer", "answerer"])
def test_a_close_tells_the_peer_code_and_reason(side: str) -> None:
    exchange = Exchange().start()
    closer, other = (exchange.a, exchange.b) if side == "offerer" else (exchange.b, exchange.a)
    events(closer), events(other)
    closer.close(quic.REFUSED, "not you")
    closer.close(quic.CLOSED, "again")
    exchange.settle()
    over = quic.Terminated(quic.REFUSED, "not you", authentic=True, by_peer=False)
    assert events(closer) == [over]
    assert events(other) == [replace(over, by_peer=True)]
    assert closer.terminated == over


def test_after_the_end_nothing_is_sent_or_delivered() -> None:
    exchange = Exchange().start()
    exchange.a.close(quic.CLOSED, "")
    exchange.settle()
    events(exchange.a), events(exchange.b)
    exchange.a.send_stream(4, b"x")
    exchange.a.send_datagram(b"x")
    exchange.a.ping()
    exchange.b.send_stream(1, b"x")
    exchange.settle()
    assert (events(exchange.a), events(exchange.b)) == ([], [])
    assert exchange.a.next_timer() is None


def test_a_connection_that_never_began_closes_without_a_word() -> None:
    for side in (Exchange().a, Exchange().b):
        side.close(quic.CLOSED, "no")
        assert side.take_datagrams(1.0) == []
        assert (side.unsent, side.probes, side.in_flight > 0, side.may_open) == (0, 0, False, False)
        side.handle_timer(2.0)
        side.receive([bytes(1200)], 3.0)
        assert end_of(side).reason == "no"
    closed = Exchange()
    closed.b.close(quic.CLOSED, "no")
    closed.start()
    assert not closed.b.established


def test_a_lost_first_flight_is_repeated() -> None:
    exchange = Exchange()
    exchange.a.start(exchange.now)
    assert exchange.a.take_datagrams(exchange.now)
    exchange.go_on(3 * quic.INITIAL_RTT + 0.05)
    assert exchange.b.established


def test_warming_up_can_be_repeated() -> None:
    quic.warm_up()
    quic.warm_up()


def test_the_largest_datagram_fits_the_smallest_path() -> None:
    exchange = Exchange()
    exchange.a.may_grow = exchange.b.may_grow = False
    exchange.start()
    events(exchange.b)
    largest = bytes(1 + quic.DATAGRAM_SIZE - quic.DATAGRAM_OVERHEAD)
    for _ in range(200):
        exchange.a.send_datagram(largest)
        exchange.a.send_stream(4, b"x")
        datagrams = exchange.a.take_datagrams(exchange.now)
        assert all(len(datagram) <= quic.DATAGRAM_SIZE for datagram in datagrams)
        exchange.b.receive(datagrams, exchange.now)
        exchange.a.receive(exchange.b.take_datagrams(exchange.now), exchange.now)
    assert sum(event == quic.Datagram(largest) for event in events(exchange.b)) == 200


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("opener", ["offerer", "answerer"])
def test_datagrams_get_smaller_when_they_have_to_and_nothing_is_lost(opener: str, seed: int) -> None:
    """Some of the large ones are lost, and all those on their way at the change: their bytes go by small ones."""
    rng = random.Random(seed)
    exchange = Exchange()
    exchange.a.roomy = exchange.b.roomy = True
    exchange.start()
    sender, reader = (exchange.a, exchange.b) if opener == "offerer" else (exchange.b, exchange.a)
    sizes: list[int] = []
    lost = 0.05

    def lossy(datagrams: list[bytes]) -> list[bytes]:
        sizes.extend(map(len, datagrams))
        return [each for each in datagrams if rng.random() >= lost]

    data = rng.randbytes(1 << 20)
    stream_id = sender.next_stream_id()
    sender.send_stream(stream_id, data[: 1 << 19])
    exchange.go_on(0.02, lossy, lossy)
    assert quic.RELAYED_SIZE - 100 < max(sizes) <= quic.RELAYED_SIZE
    sender.send_stream(stream_id, data[1 << 19 :], end=True)
    lost = 1.0
    exchange.go_on(0.01, lossy, lossy)
    for side in (sender, reader):
        side.shrink(quic.DATAGRAM_SIZE)
    sizes.clear()
    lost = 0.05
    exchange.go_on(20.0, lossy, lossy)
    assert max(sizes) <= quic.DATAGRAM_SIZE
    received = [
        event for event in events(reader) if isinstance(event, quic.StreamData) and event.stream_id == stream_id
    ]
    assert b"".join(event.data for event in received) == data
    assert received[-1].end


def test_datagrams_are_small_once_the_handshake_is_done_when_they_have_to_be_from_its_middle_on() -> None:
    exchange = Exchange()
    exchange.a.roomy = exchange.b.roomy = True
    exchange.a.start(exchange.now)
    exchange.b.receive(exchange.a.take_datagrams(exchange.now), exchange.now)
    for side in (exchange.a, exchange.b):
        side.shrink(quic.DATAGRAM_SIZE)
    exchange.settle()
    sizes: list[int] = []

    def measured(datagrams: list[bytes]) -> list[bytes]:
        sizes.extend(map(len, datagrams))
        return datagrams

    for side in (exchange.a, exchange.b):
        side.send_stream(side.next_stream_id(), bytes(100_000))
    exchange.go_on(2.0, measured, measured)
    assert max(sizes) <= quic.DATAGRAM_SIZE
    assert sum(sizes) > 200_000
