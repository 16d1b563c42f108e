"""core.ice.paths: consent that is kept, expires and comes back, and pairs that make way for others."""

from __future__ import annotations

import pytest

from tests.support.ice_agents import HOST, PEER, Alone, named
from visavis_peer.core.ice import Lost, Resumed, Suspended, Transmit, Valid
from visavis_peer.core.ice.consent import EXPIRY, INTERVAL, REVIVAL, SILENCE, SUSPECT_EXPIRY, Consent
from visavis_peer.core.ice.pairs import PairState, PairTable
from visavis_peer.core.ice.paths import OTHERS_COUNT, Paths
from visavis_shared.stun import parse

HOST_2 = ("192.0.2.1", 1001)
PEER_2 = ("198.51.100.2", 2000)


def spoken(alone: Alone) -> list[object]:
    return [event for event in alone.events if isinstance(event, Suspended | Resumed | Lost)]


def remotes(alone: Alone) -> list[str]:
    return [event.path.remote for event in alone.events if isinstance(event, Valid)]


def two_pairs(*, controlling: bool = True) -> tuple[Alone, Transmit, Transmit]:
    """An agent with two valid pairs, and the checks that have made them; the better one is selected."""
    alone = Alone(controlling=controlling)
    alone.start(named(PEER), named(PEER_2, 5))
    alone.wait(0.01)
    better, worse = alone.requests
    for request in (better, worse):
        if not controlling:
            alone.check(request.address, nominate=True)
        alone.answer(request)
    assert alone.agent.selected is not None
    assert alone.agent.selected.remote.address == PEER
    # the second answer has renewed nothing, for it was on another pair
    return alone, better, worse


def keep_answering(alone: Alone, seconds: float, *remote: tuple[str, int]) -> None:
    """Let time pass; requests to these addresses are answered at once, as from a peer next door."""
    end, done = alone.now + seconds, len(alone.sent)
    while alone.now < end:
        alone.wait(0.05)
        requests = [each for each in alone.sent[done:] if not parse(each.data).message_class]
        done = len(alone.sent)
        for request in requests:
            if request.address in remote:
                alone.answer(request)


def test_consent_is_asked_for_at_random_intervals_and_renewed() -> None:
    alone = Alone()
    alone.connect()
    keep_answering(alone, 100.0, PEER)
    assert alone.sent_at[1] - alone.sent_at[0] == INTERVAL, "the check itself has given consent"
    gaps = [later - earlier for earlier, later in zip(alone.sent_at[1:], alone.sent_at[2:], strict=False)]
    assert all(0.8 * INTERVAL - 0.1 <= gap <= 1.2 * INTERVAL + 0.1 for gap in gaps)
    assert len({round(gap, 1) for gap in gaps}) > 3
    assert spoken(alone) == []


@pytest.mark.parametrize("controlling", [True, False])
def test_who_controls_nominates_the_selected_pair_with_each_request(controlling: bool) -> None:
    alone = Alone(controlling=controlling)
    alone.connect()
    alone.wait(INTERVAL * 1.3)
    assert ("USE-CANDIDATE" in parse(alone.requests[-1].data).attributes) is controlling


def test_each_request_for_consent_is_sent_once_and_stays_answerable() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(EXPIRY - 0.5)
    first, *others = alone.requests[1:]
    assert len({each.data for each in (first, *others)}) == len(others) + 1
    alone.answer(first)
    alone.wait(EXPIRY - 0.5)
    assert spoken(alone) == []


def test_without_an_answer_the_path_is_suspended_and_given_up_after_a_minute() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(EXPIRY)
    assert spoken(alone) == [Suspended()]
    assert not alone.agent.may_send
    alone.wait(REVIVAL)
    assert spoken(alone) == [Suspended(), Lost("the peer no longer answers")]
    assert alone.agent.consent is not None
    count = len(alone.sent)
    alone.wait(10 * REVIVAL)
    assert len(alone.sent) == count


def test_an_answer_resumes_a_suspended_path() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(EXPIRY + 10)
    alone.answer()
    assert spoken(alone) == [Suspended(), Resumed()]
    assert alone.agent.may_send


def test_a_late_answer_brings_back_even_a_path_that_was_given_up() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(EXPIRY + REVIVAL)
    alone.answer()
    assert spoken(alone)[-1] == Resumed()
    count = len(alone.requests)
    keep_answering(alone, 3 * EXPIRY, PEER)
    assert spoken(alone)[-1] == Resumed()
    assert len(alone.requests) > count


def test_consent_is_of_one_address_and_an_error_is_none() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(EXPIRY + 1)
    one, other = alone.requests[-2:]
    alone.answer(one, source=PEER_2)
    alone.answer(other, error=400)
    assert spoken(alone) == [Suspended()]


def test_a_suspected_peer_is_asked_at_once_and_has_less_time() -> None:
    alone = Alone()
    alone.perform(alone.agent.suspect(alone.now))
    assert alone.sent == []
    alone.connect()
    alone.wait(1.0)
    alone.perform(alone.agent.suspect(alone.now))
    assert len(alone.requests) == 2
    alone.wait(SUSPECT_EXPIRY)
    assert spoken(alone) == [Suspended()]


def test_a_suspected_peer_that_answers_is_cleared() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(1.0)
    alone.perform(alone.agent.suspect(alone.now))
    alone.answer()
    alone.wait(SUSPECT_EXPIRY)
    assert spoken(alone) == []


def test_a_check_of_the_peer_on_another_pair_is_a_reason_to_ask_at_once() -> None:
    alone, _, _ = two_pairs()
    keep_answering(alone, 1.0, PEER)
    count = len(alone.requests)
    alone.check(PEER)
    alone.wait(0.0)
    assert len(alone.requests) == count
    alone.check(PEER_2)
    alone.wait(0.0)
    assert [each.address for each in alone.requests[count:]] == [PEER]


def test_a_silent_pair_makes_way_for_one_that_answers_and_takes_its_place_again() -> None:
    alone, _, _ = two_pairs()
    keep_answering(alone, INTERVAL + 3 * SILENCE, PEER_2)
    assert remotes(alone)[-1] == "198.51.100.2:2000"
    assert spoken(alone) == []
    keep_answering(alone, 2 * INTERVAL, PEER, PEER_2)
    assert remotes(alone)[-1] == "198.51.100.1:2000"


def test_a_pair_that_stays_silent_is_given_up_and_its_name_stays() -> None:
    alone, _, _ = two_pairs()
    keep_answering(alone, REVIVAL + 4 * INTERVAL, PEER_2)
    states = {pair.remote.address: pair.state for pair in alone.agent.pairs}
    assert states == {PEER: PairState.FAILED, PEER_2: PairState.SUCCEEDED}
    assert len(alone.agent.remote_candidates) == 2


@pytest.mark.parametrize("sockets", [(HOST,), (HOST, HOST_2)])
def test_what_only_a_check_had_shown_is_forgotten_with_the_last_pair_that_is_given_up(
    sockets: tuple[tuple[str, int], ...],
) -> None:
    alone = Alone(sockets=sockets)
    alone.start(named(PEER_2, 5))
    for socket in range(len(sockets)):
        alone.check(PEER, socket, priority=2**31 - 1)
        alone.answer()
    keep_answering(alone, 3 * REVIVAL, PEER_2)
    assert [each.address for each in alone.agent.remote_candidates] == [PEER_2]
    assert {pair.remote.address for pair in alone.agent.pairs} == {PEER_2}


def test_a_pair_of_lower_priority_is_checked_once_the_selected_one_is_silent() -> None:
    alone = Alone()
    alone.connect(named(PEER))
    alone.name(named(PEER_2, 5))
    keep_answering(alone, 2.0, PEER)
    assert PEER_2 not in [each.address for each in alone.sent]
    keep_answering(alone, INTERVAL + 4 * SILENCE, PEER_2)
    assert remotes(alone)[-1] == "198.51.100.2:2000"


def test_once_the_selected_pair_answers_again_worse_ones_are_not_checked_any_more() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(INTERVAL + 1.5 * SILENCE)
    alone.name(named(PEER_2, 5))
    assert alone.requests[-1].address == PEER_2, "it was silent"
    alone.answer(next(each for each in reversed(alone.requests) if each.address == PEER))
    alone.name(named(("198.51.100.3", 2000), 6))
    keep_answering(alone, 1.0, PEER)
    assert ("198.51.100.3", 2000) not in [each.address for each in alone.sent]


def test_a_check_that_is_answered_takes_over_from_a_silent_pair_at_once() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(INTERVAL + 1.5 * SILENCE)
    alone.name(named(PEER_2, 5))
    alone.answer()
    assert remotes(alone)[-1] == "198.51.100.2:2000"


def test_an_answer_on_another_pair_renews_no_consent() -> None:
    alone = Alone()
    alone.connect()
    alone.wait(INTERVAL + SILENCE / 2)
    alone.check(PEER_2, priority=1)
    alone.answer(next(each for each in reversed(alone.requests) if each.address == PEER_2))
    assert remotes(alone) == ["198.51.100.1:2000"]
    assert alone.agent.consent is not None
    assert alone.agent.consent.asked_at is not None


def test_of_other_pairs_those_that_the_peer_was_heard_on_last_are_asked() -> None:
    alone = Alone()
    others = [named((f"198.51.100.{number}", 2000), 9) for number in range(10, 20)]
    alone.start(*others, named(PEER))
    alone.wait(0.1)
    for request in alone.requests[1:11]:
        alone.answer(request)
        alone.now += 0.001
    alone.answer(alone.requests[0])
    count = len(alone.requests)
    alone.wait(INTERVAL + 4 * SILENCE)
    asked = [each.address for each in alone.requests[count:] if each.address != PEER]
    last = [request.address for request in alone.requests[1:11]][-OTHERS_COUNT:]
    assert asked
    assert set(asked) == set(last)


def test_before_the_first_valid_pair_there_is_no_consent_to_keep() -> None:
    paths = Paths(PairTable(), [], lambda effect: None)
    assert (paths.may_send, paths.due_at, paths.handle_timer(0.0, 0.5), paths.selected) == (False, None, [], None)
    paths.suspect(0.0)
    paths.consent = Consent.start(0.0)
    assert paths.handle_timer(1.0, 0.5) == [], "nothing is due yet"
