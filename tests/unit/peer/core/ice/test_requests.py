"""core.ice.requests: which requests are awaited."""

from __future__ import annotations

from tests.support.ice_agents import HOST, PEER, named
from visavis_peer.core.ice.pairs import Pair
from visavis_peer.core.ice.requests import CONSENT_COUNT, Request, Requests
from visavis_peer.core.ice.transactions import Transaction
from visavis_peer.ice.candidates import host_candidate


def pair() -> Pair:
    return Pair(0, host_candidate(HOST, 1), named(PEER))


def request(number: int, on: Pair, *, consent: bool = False, at: float = 0.0) -> Request:
    return Request(on, Transaction(b"%12d" % number, b"", (1.0,), at), controlling=True, consent=consent)


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
