"""core.backoff, core.keepalive and core.frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.backoff import PUNCH_RETRY, SIGNALING_FIRST, SIGNALING_MAX, punch_delay, signaling_delay
from visavis_peer.core.frames import DATAGRAM_SIZE, Bye, DataFrame, Frame, Ping, Pong, decode, encode
from visavis_peer.core.keepalive import EXPIRY, INTERVAL, SUSPECT_EXPIRY, Consent

FRAMES = st.one_of(
    st.binary(max_size=DATAGRAM_SIZE).map(DataFrame),
    st.binary(min_size=8, max_size=8).map(Ping),
    st.binary(min_size=8, max_size=8).map(Pong),
    st.just(Bye()),
)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_reconnections_wait_between_half_and_the_whole_of_a_bounded_delay(attempt: int, jitter: float) -> None:
    assert SIGNALING_FIRST / 2 <= signaling_delay(attempt, jitter) <= SIGNALING_MAX


def test_reconnections_wait_longer_each_time_until_the_bound() -> None:
    delays = [signaling_delay(attempt, 1.0) for attempt in range(8)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_rounds_of_checks_are_repeated_ever_more_seldom() -> None:
    assert [punch_delay(failures) for failures in (1, 2, 3, 4, 99)] == [*PUNCH_RETRY, 60.0, 60.0]


def test_consent_is_asked_for_at_intervals_and_lasts_while_answers_come() -> None:
    consent = Consent.start(0.0)
    assert consent.next_timer() == INTERVAL
    assert consent.handle_timer(1.0, 0.5) == "wait"
    assert consent.handle_timer(INTERVAL, 0.5) == "check"
    consent.on_response(INTERVAL + 0.6)
    assert consent.expires_at == INTERVAL + 0.6 + EXPIRY


def test_consent_expires_without_answers_however_often_it_was_asked_for() -> None:
    consent = Consent.start(0.0)
    now, asked = 0.0, 0
    while (verdict := consent.handle_timer(now, 0.5)) != "expired":
        asked += verdict == "check"
        now = consent.next_timer()
    assert now == EXPIRY
    assert asked == 2


def test_a_suspected_peer_is_asked_at_once_and_has_less_time() -> None:
    consent = Consent.start(0.0)
    consent.suspect(2.0)
    assert consent.next_timer() == 2.0
    assert consent.handle_timer(2.0, 0.5) == "check"
    consent.suspect(3.0)
    assert consent.handle_timer(2.0 + SUSPECT_EXPIRY, 0.5) == "expired"


def test_an_answer_clears_the_suspicion() -> None:
    consent = Consent.start(0.0)
    consent.suspect(2.0)
    consent.on_response(2.1)
    assert consent.expires_at == 2.1 + EXPIRY


@given(FRAMES)
def test_every_frame_survives_the_wire(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(FRAMES)
def test_no_frame_looks_like_stun(frame: Frame) -> None:
    assert encode(frame)[0] > 0x3F


@given(st.binary(max_size=DATAGRAM_SIZE + 10))
def test_any_datagram_is_a_frame_or_nothing(datagram: bytes) -> None:
    frame = decode(datagram)
    assert frame is None or encode(frame) == datagram


@pytest.mark.parametrize("datagram", [b"", b"\xf1short", b"\xf2" + bytes(9), b"\xf3x", b"\x80", b"\xf0" + bytes(1201)])
def test_what_is_no_frame_is_nothing(datagram: bytes) -> None:
    assert decode(datagram) is None
