"""core.backoff, core.keepalive and core.resume."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.backoff import PUNCH_RETRY, SIGNALING_FIRST, SIGNALING_MAX, punch_delay, signaling_delay
from visavis_peer.core.keepalive import EXPIRY, INTERVAL, REVIVAL, REVIVAL_INTERVAL, SUSPECT_EXPIRY, Consent
from visavis_peer.core.resume import ResumeState
from visavis_shared.messages import ResumeOffer


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


def test_expired_consent_is_asked_for_and_comes_back_with_an_answer() -> None:
    consent = Consent.start(0.0)
    assert consent.handle_timer(EXPIRY, 0.5) == "expired"
    assert consent.handle_timer(EXPIRY, 0.5) == "check"
    consent.suspect(EXPIRY + 0.1)
    assert consent.handle_timer(EXPIRY + REVIVAL_INTERVAL, 0.5) == "check"
    assert consent.on_response(EXPIRY + 1.1)
    assert consent.expires_at == EXPIRY + 1.1 + EXPIRY
    assert not consent.on_response(EXPIRY + 1.2)


def test_a_path_that_stays_silent_is_given_up() -> None:
    consent = Consent.start(0.0)
    now, verdicts = 0.0, []
    while (verdict := consent.handle_timer(now, 0.5)) != "lost":
        verdicts.append(verdict)
        now = consent.next_timer()
    assert now == EXPIRY + REVIVAL
    assert verdicts.count("expired") == 1


def test_a_session_to_resume_begins_with_an_ack_and_keeps_its_count_over_new_tokens() -> None:
    state = ResumeState()
    state.refresh(ResumeOffer(token="unasked", grace=30.0))
    assert vars(state)["token"] is None
    state.begin(ResumeOffer(token="first", grace=30.0))
    state.count(3)
    state.refresh(ResumeOffer(token="second", grace=30.0))
    assert (state.token, state.received) == ("second", 3)
    state.begin(None)
    assert vars(state) == {"token": None, "received": 0}
    state.begin(ResumeOffer(token="third", grace=30.0))
    state.forget()
    assert vars(state)["token"] is None
