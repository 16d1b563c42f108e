"""core.ice.transactions and core.ice.requests: when a request is sent again, and which are awaited."""

from __future__ import annotations

from itertools import accumulate

from tests.support.ice_agents import HOST, PEER, named
from visavis_peer.core.ice.pairs import Pair
from visavis_peer.core.ice.requests import CONSENT_COUNT, Request, Requests
from visavis_peer.core.ice.transactions import CHECK_SCHEDULE, TRIGGER_INTERVAL, Transaction
from visavis_peer.ice.candidates import host_candidate


def pair() -> Pair:
    return Pair(0, host_candidate(HOST, 1), named(PEER))


def request(number: int, on: Pair, *, consent: bool = False, at: float = 0.0) -> Request:
    return Request(on, Transaction(b"%12d" % number, b"", (1.0,), at), controlling=True, consent=consent)


def test_a_request_is_sent_by_its_schedule_and_then_given_up() -> None:
    transaction, now, sent = Transaction(b"", b"", CHECK_SCHEDULE, 10.0), 10.0, []
    while (due := transaction.handle_timer(now)) != "timeout":
        assert due == "send"
        sent.append(now)
        assert transaction.handle_timer(transaction.due_at - 0.001) == "wait"
        now = transaction.due_at
    assert [round(at - 10.0, 6) for at in sent] == [0.0, *(round(at, 6) for at in accumulate(CHECK_SCHEDULE[:-1]))]
    assert round(now - 10.0, 6) == 5.0


def test_a_late_timer_delays_what_follows_and_makes_up_for_nothing() -> None:
    transaction = Transaction(b"", b"", (0.1, 0.2), 0.0)
    transaction.handle_timer(0.0)
    assert transaction.handle_timer(5.0) == "send"
    assert transaction.due_at == 5.2


def test_the_round_trip_counts_from_the_last_transmission() -> None:
    transaction = Transaction(b"", b"", (0.1,), 0.0)
    assert transaction.round_trip(5.0) == 0.0, "nothing has gone out"
    transaction.on_sent(1.0)
    transaction.on_sent(2.0)
    assert transaction.round_trip(2.5) == 0.5


def test_a_trigger_repeats_what_was_not_just_sent() -> None:
    transaction = Transaction(b"", b"", (0.1,), 0.0)
    assert transaction.may_repeat(0.0)
    transaction.on_sent(1.0)
    assert not transaction.may_repeat(1.0 + TRIGGER_INTERVAL / 2)
    assert transaction.may_repeat(1.0 + 2 * TRIGGER_INTERVAL)


def test_requests_are_found_by_their_id_and_checks_by_their_pair() -> None:
    requests, one, other = Requests(), pair(), pair()
    check, consent = request(1, one, at=3.0), request(2, one, consent=True, at=2.0)
    requests.add(check)
    requests.add(consent)
    requests.add(request(3, other, at=4.0))
    assert requests.get(b"%12d" % 2) is consent
    assert requests.get(b"") is None
    assert requests.check_of(one) is check
    assert requests.due_at == 2.0
    requests.forget(one)
    assert requests.check_of(one) is None
    assert len(requests) == 1
    requests.forget(other)
    assert requests.due_at is None


def test_of_too_many_requests_for_consent_the_oldest_is_forgotten_and_no_check() -> None:
    requests, one = Requests(), pair()
    requests.add(request(0, one))
    for number in range(1, CONSENT_COUNT + 4):
        requests.add(request(number, one, consent=True))
    assert len(requests) == CONSENT_COUNT + 1
    assert requests.check_of(one) is not None
    assert [requests.get(b"%12d" % number) is None for number in range(1, 6)] == [True] * 3 + [False] * 2
