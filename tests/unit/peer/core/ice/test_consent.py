"""core.keepalive: the timers of consent."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from visavis_peer.core.ice.consent import (
    CHECK_SPACING,
    EXPIRY,
    INTERVAL,
    REVIVAL,
    REVIVAL_INTERVAL,
    SILENCE,
    SILENT_ROUND_TRIPS,
    SUSPECT_EXPIRY,
    SUSPECT_INTERVAL,
    Consent,
)


def run(consent: Consent, now: float, until: str, jitter: float = 0.5) -> list[tuple[float, str]]:
    """Call the timer whenever it wants to be, and nobody answers; return what was due when, up to `until`."""
    done: list[tuple[float, str]] = []
    while not done or done[-1][1] != until:
        now = max(now, consent.next_timer())
        done.append((now, consent.handle_timer(now, jitter)))
    return done


def test_consent_is_asked_for_at_intervals_and_lasts_while_answers_come() -> None:
    consent = Consent.start(0.0)
    assert consent.next_timer() == INTERVAL
    assert consent.handle_timer(1.0, 0.5) == "wait"
    assert consent.handle_timer(INTERVAL, 0.5) == "check"
    assert not consent.on_response(INTERVAL + 0.6)
    assert consent.next_timer() == 2 * INTERVAL
    assert consent.expires_at == INTERVAL + 0.6 + EXPIRY


@given(st.floats(0, 1))
def test_checks_that_are_answered_are_4_to_6_seconds_apart(jitter: float) -> None:
    """RFC 7675 section 5.1."""
    consent = Consent.start(0.0)
    assert consent.handle_timer(INTERVAL, jitter) == "check"
    consent.on_response(INTERVAL + 0.1)
    assert 4.0 <= consent.next_timer() - INTERVAL <= 6.0


def test_an_unanswered_check_is_repeated_each_second_on_other_pairs_too_until_consent_expires() -> None:
    done = run(Consent.start(0.0), 0.0, "expired")
    assert done[0] == (INTERVAL, "check")
    assert done[-1] == (EXPIRY, "expired")
    searches = [now for now, verdict in done if verdict == "search"]
    assert searches == [INTERVAL + SILENCE * count for count in range(1, 10)]


def test_a_long_round_trip_is_not_taken_for_silence() -> None:
    consent = Consent.start(0.0, 0.8)
    assert consent.handle_timer(INTERVAL, 0.5) == "check"
    patience = SILENT_ROUND_TRIPS * 0.8
    assert consent.next_timer() == INTERVAL + patience
    assert not consent.is_silent(INTERVAL + patience - 0.1)
    assert consent.is_silent(INTERVAL + patience)
    consent.on_response(INTERVAL + 1.2, 1.2)
    assert consent.handle_timer(3 * INTERVAL, 0.5) == "check"
    assert not consent.is_silent(3 * INTERVAL + patience)


def test_a_suspected_peer_is_asked_at_once_and_has_less_time() -> None:
    consent = Consent.start(0.0)
    consent.suspect(2.0)
    assert consent.next_timer() == 2.0
    done = run(consent, 2.0, "expired")
    assert done[-1][0] == 2.0 + SUSPECT_EXPIRY
    assert [now for now, _ in done[:6]] == [2.0 + SUSPECT_INTERVAL * count for count in range(6)]
    assert [verdict for _, verdict in done[:3]] == ["check", "check", "search"]


def test_further_suspicion_gives_no_more_time() -> None:
    consent = Consent.start(0.0)
    consent.suspect(2.0)
    consent.suspect(3.0)
    assert consent.expires_at == 2.0 + SUSPECT_EXPIRY


def test_an_answer_clears_the_suspicion() -> None:
    consent = Consent.start(0.0)
    consent.suspect(2.0)
    consent.on_response(2.1)
    assert consent.expires_at == 2.1 + EXPIRY


def test_suspicion_over_and_over_brings_about_few_checks() -> None:
    consent = Consent.start(0.0)
    checks = []
    for step in range(100):
        now = 2.0 + step / 100
        consent.suspect(now)
        if consent.handle_timer(now, 0.5) == "check":
            checks.append(now)
            consent.on_response(now)
    assert min(later - former for former, later in itertools.pairwise(checks)) > CHECK_SPACING - 1e-9


def test_expired_consent_is_asked_for_everywhere_and_comes_back_with_an_answer() -> None:
    consent = Consent.start(0.0)
    run(consent, 0.0, "expired")
    assert consent.is_silent(EXPIRY)
    assert consent.handle_timer(EXPIRY, 0.5) == "search"
    consent.suspect(EXPIRY + 0.1)
    assert consent.next_timer() == EXPIRY + REVIVAL_INTERVAL
    assert consent.handle_timer(EXPIRY + REVIVAL_INTERVAL, 0.5) == "search"
    assert consent.on_response(EXPIRY + 1.1)
    assert consent.expires_at == EXPIRY + 1.1 + EXPIRY
    assert not consent.on_response(EXPIRY + 1.2)


def test_a_path_that_stays_silent_is_given_up() -> None:
    done = run(Consent.start(0.0), 0.0, "lost")
    assert done[-1][0] == EXPIRY + REVIVAL
    assert [verdict for _, verdict in done].count("expired") == 1


def test_a_check_of_the_peer_renews_nothing_and_changes_nothing_while_all_is_well() -> None:
    consent = Consent.start(0.0)
    consent.on_peer_check(2.0, elsewhere=False)
    assert consent.next_timer() == INTERVAL
    assert consent.expires_at == EXPIRY


def test_a_check_of_the_peer_on_another_pair_is_a_reason_to_ask_at_once_but_not_too_often() -> None:
    consent = Consent.start(0.0)
    consent.on_peer_check(2.0, elsewhere=True)
    assert consent.handle_timer(2.0, 0.5) == "check"
    consent.on_peer_check(2.01, elsewhere=True)
    assert consent.next_timer() == 2.0 + CHECK_SPACING


def test_a_check_of_the_peer_after_consent_has_expired_is_a_reason_to_ask_at_once() -> None:
    consent = Consent.start(0.0)
    run(consent, 0.0, "expired")
    consent.handle_timer(EXPIRY, 0.5)
    consent.on_peer_check(EXPIRY + 0.5, elsewhere=False)
    assert consent.next_timer() == EXPIRY + 0.5
