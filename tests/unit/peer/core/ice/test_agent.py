"""core.ice.agent: checks and their states, triggered checks, roles, nomination, candidates that trickle, sockets."""

from __future__ import annotations

from itertools import accumulate

import pytest

from tests.support.ice_agents import HOST, OURS, PEER, START, STUN, THEIRS, Alone, named
from visavis_peer.core.ice import CandidateFound, CheckReceived, Lost, OpenHole, Trust, Valid, messages
from visavis_peer.core.ice.agent import EARLY_COUNT, PACING
from visavis_peer.core.ice.pairs import PairState
from visavis_peer.core.ice.remote import TOTAL_COUNT
from visavis_peer.core.ice.transactions import CHECK_SCHEDULE, TRIGGER_INTERVAL
from visavis_peer.events import PathInfo
from visavis_peer.ice.candidates import host_candidate, relayed_candidate, server_reflexive_candidate
from visavis_shared import limits
from visavis_shared.stun import parse

PEER_2 = ("198.51.100.2", 2000)
PEER_3 = ("198.51.100.3", 2000)
HOST_2 = ("192.0.2.1", 1001)
TURN = ("203.0.113.7", 50000)
FROZEN, WAITING, IN_PROGRESS = PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS
SUCCEEDED, FAILED = PairState.SUCCEEDED, PairState.FAILED


def paths(alone: Alone) -> list[PathInfo]:
    return [event.path for event in alone.events if isinstance(event, Valid)]


def state(alone: Alone) -> PairState:
    (pair,) = alone.agent.pairs
    return pair.state


# --- checks -----------------------------------------------------------------------------------------------------------


def test_nothing_is_checked_before_the_start() -> None:
    alone = Alone()
    alone.name(named(PEER))
    alone.wait(10.0)
    assert alone.sent == []
    assert state(alone) is FROZEN
    assert alone.agent.next_timer() is None
    assert alone.agent.credentials == OURS


def test_a_check_goes_through_its_states_to_a_valid_pair() -> None:
    alone = Alone()
    alone.name(named(PEER))
    assert state(alone) is FROZEN
    alone.start()
    assert state(alone) is IN_PROGRESS
    alone.wait(0.03)
    alone.answer()
    assert state(alone) is SUCCEEDED
    (path,) = paths(alone)
    assert (path.kind, path.path, path.local, path.remote) == (
        "host-host", "direct", "192.0.2.1:1000", "198.51.100.1:2000",
    )  # fmt: skip
    assert path.rtt_ms == pytest.approx(30)
    assert alone.trusted == [Trust(0, PEER)]
    assert alone.agent.may_send
    assert repr(alone.agent).startswith("<IceAgent controlling, 1 pairs, selected <Pair 0 to 198.51.100.1")


def test_a_check_is_sent_by_its_schedule_and_fails_when_nobody_answers() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.wait(4.999)
    assert state(alone) is IN_PROGRESS
    alone.wait(0.002)
    assert state(alone) is FAILED
    assert [round(at - START, 6) for at in alone.sent_at] == [
        0.0,
        *(round(at, 6) for at in accumulate(CHECK_SCHEDULE[:-1])),
    ]
    assert len({each.data for each in alone.sent}) == 1, "a repetition is the same request"
    alone.wait(60.0)
    assert len(alone.sent) == len(CHECK_SCHEDULE)


def test_a_lost_request_is_answered_when_it_is_repeated_and_the_round_trip_is_that_of_the_repetition() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.wait(0.32)
    alone.answer()
    assert paths(alone)[0].rtt_ms == pytest.approx(20)
    alone.wait(1.0)
    assert len(alone.sent) == 3


def test_a_list_whose_checks_have_failed_lives_on_for_the_peers_check() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.wait(30.0)
    assert state(alone) is FAILED
    alone.check(nominate=True)
    assert state(alone) is IN_PROGRESS
    alone.answer()
    assert state(alone) is SUCCEEDED


def test_new_checks_are_paced() -> None:
    alone = Alone()
    alone.start(named(PEER), named(PEER_2, 3), named(PEER_3, 2))
    alone.wait(3 * PACING)
    assert [each.address for each in alone.sent] == [PEER, PEER_2, PEER_3]
    assert [round((at - START) / PACING, 6) for at in alone.sent_at] == [0.0, 1.0, 2.0]


def test_a_frozen_pair_is_checked_when_nothing_else_waits() -> None:
    alone = Alone()
    alone.start(named(PEER), named((PEER[0], 2001), 5))
    assert [pair.state for pair in alone.agent.pairs] == [IN_PROGRESS, FROZEN]
    alone.wait(PACING)
    assert [pair.state for pair in alone.agent.pairs] == [IN_PROGRESS, IN_PROGRESS]


def test_a_success_thaws_the_pairs_of_its_foundation() -> None:
    alone = Alone(controlling=False)
    alone.start(named(PEER), named((PEER[0], 2001), 5), named(PEER_2, 9))
    alone.answer()
    assert [pair.state for pair in alone.agent.pairs] == [SUCCEEDED, WAITING, WAITING]


@pytest.mark.parametrize("error", [400, 401, 500])
def test_an_error_fails_the_check(error: int) -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.answer(error=error)
    assert state(alone) is FAILED
    assert paths(alone) == []


def test_an_answer_from_elsewhere_fails_the_check() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.answer(source=PEER_2)
    assert state(alone) is FAILED
    assert alone.trusted == []


def test_an_answer_that_is_not_signed_by_the_peer_is_nothing() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.answer(password="x" * 22)
    assert state(alone) is IN_PROGRESS
    alone.answer()
    assert state(alone) is SUCCEEDED
    alone.answer(alone.requests[0])
    assert len(paths(alone)) == 1, "the second answer finds no request"


def test_an_answer_on_another_socket_is_nothing() -> None:
    alone = Alone(sockets=(HOST, HOST_2))
    alone.start(named(PEER))
    request = alone.requests[0]
    alone.receive(messages.signed(messages.success_response(request.data[8:20], HOST), THEIRS.pwd), PEER, 1)
    assert alone.agent.selected is None


def test_a_check_says_which_priority_its_base_would_have_as_a_peer_reflexive_candidate() -> None:
    alone = Alone(sockets=(HOST, HOST_2))
    alone.start(named(PEER))
    alone.wait(1.0)
    priorities = [parse(each.data).attributes["PRIORITY"] for each in alone.requests[:2]]
    assert priorities == [(110 << 24) | (65535 << 8) | 255, (110 << 24) | (65534 << 8) | 255]


# --- the peer's checks ------------------------------------------------------------------------------------------------


def test_a_check_of_the_peer_is_answered_with_where_it_came_from() -> None:
    alone = Alone()
    alone.start(named(PEER))
    (answer,) = alone.check(PEER_2)[:1]
    message = parse(answer.data)
    assert message.attributes["XOR-MAPPED-ADDRESS"] == PEER_2
    assert message.check_message_integrity(b"o" * 22)
    assert answer.address == PEER_2
    assert alone.events == [CheckReceived()]
    assert alone.trusted == [Trust(0, PEER_2)]


def test_what_no_peer_sends_gets_no_answer_and_leaves_no_trace() -> None:
    alone = Alone()
    alone.start(named(PEER))
    for data in (b"", b"\x00" * 40, messages.signed(messages.success_response(bytes(12), PEER), THEIRS.pwd)):
        assert alone.receive(data) == []
    assert (alone.events, alone.trusted) == ([], [])


def test_a_check_triggers_one_at_once_whatever_is_paced() -> None:
    alone = Alone()
    alone.start(named(PEER), named(PEER_2, 3), named(PEER_3, 2))
    _, triggered = alone.check(PEER_3)
    assert triggered.address == PEER_3
    assert alone.now == START


def test_a_check_in_progress_is_repeated_when_the_peers_comes_in_but_not_for_each_of_a_flood() -> None:
    alone = Alone()
    alone.start(named(PEER))
    assert len(alone.check()) == 1, "the request has just been sent"
    alone.wait(2 * TRIGGER_INTERVAL)
    _, repeated = alone.check()
    assert repeated.data == alone.requests[0].data
    assert len(alone.check()) == 1


def test_a_pair_that_has_succeeded_is_not_checked_again() -> None:
    alone = Alone()
    alone.connect()
    assert len(alone.check()) == 1


def test_a_check_from_an_address_that_nobody_has_named_makes_a_peer_reflexive_candidate() -> None:
    alone = Alone()
    alone.start()
    _, triggered = alone.check(PEER, priority=7, nominate=True)
    (candidate,) = alone.agent.remote_candidates
    assert (candidate.type, candidate.address, candidate.priority) == ("prflx", PEER, 7)
    alone.answer(triggered)
    assert paths(alone)[0].kind == "host-prflx"


def test_a_peer_reflexive_candidate_that_is_named_later_keeps_its_pair() -> None:
    alone = Alone()
    alone.start()
    alone.check()
    (pair,) = alone.agent.pairs
    alone.name(named(PEER, kind="srflx"))
    assert alone.agent.pairs == [pair]
    assert pair.remote.type == "srflx"
    alone.answer()
    assert paths(alone)[0].kind == "host-srflx"


def test_the_peer_sees_this_side_at_a_peer_reflexive_address() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.answer(mapped=("203.0.113.9", 1))
    assert paths(alone)[0].kind == "prflx-host"


def test_the_peer_sees_this_side_at_a_server_reflexive_address() -> None:
    alone = Alone()
    alone.perform(alone.agent.add_reflexive(server_reflexive_candidate(host_candidate(HOST, 1), ("203.0.113.9", 1))))
    alone.start(named(PEER))
    alone.answer(mapped=("203.0.113.9", 1))
    assert paths(alone)[0].kind == "srflx-host"


def test_a_peer_that_does_not_say_what_it_sees_is_believed_to_see_the_base() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.answer(mapped=None)
    assert paths(alone)[0].kind == "host-host"


def test_addresses_that_only_checks_show_have_a_bound_and_their_checks_are_still_answered() -> None:
    alone = Alone()
    alone.start()
    for port in range(1, 2 * TOTAL_COUNT):
        alone.check(("198.51.100.9", port))
    assert len(alone.agent.remote_candidates) == TOTAL_COUNT
    assert len(alone.check(("198.51.100.9", 60000))) == 1


def test_checks_that_come_before_the_start_are_answered_at_once_and_acted_on_then() -> None:
    alone = Alone(controlling=False, known=False)
    assert len(alone.check(nominate=True)) == 1
    assert alone.agent.pairs == []
    assert alone.events == [CheckReceived()]
    alone.agent.set_remote(THEIRS)
    alone.start()
    alone.answer()
    assert paths(alone)[0].kind == "host-prflx"


def test_of_checks_that_come_early_only_so_many_are_kept() -> None:
    alone = Alone()
    for port in range(EARLY_COUNT + 50):
        alone.check((PEER[0], 1 + port))
    assert len(alone.sent) == EARLY_COUNT + 50
    alone.start()
    assert len(alone.agent.remote_candidates) == min(EARLY_COUNT, TOTAL_COUNT)
    assert alone.agent.remote_candidates[0].port == 51, "the oldest have made way"


def test_an_early_check_on_a_socket_that_is_gone_is_forgotten() -> None:
    alone = Alone(sockets=(HOST, HOST_2))
    alone.check(socket=1)
    alone.perform(alone.agent.remove_socket(1))
    alone.start()
    assert alone.agent.pairs == []


# --- nomination -------------------------------------------------------------------------------------------------------


def test_the_controlling_side_nominates_with_every_check() -> None:
    alone = Alone()
    alone.start(named(PEER), named(PEER_2, 3))
    alone.wait(1.0)
    assert all("USE-CANDIDATE" in parse(each.data).attributes for each in alone.requests)
    assert all("ICE-CONTROLLING" in parse(each.data).attributes for each in alone.requests)


def test_the_controlled_side_uses_what_the_peer_nominates_before_its_own_check_is_answered() -> None:
    alone = Alone(controlling=False)
    alone.start(named(PEER))
    request = parse(alone.requests[0].data)
    assert "USE-CANDIDATE" not in request.attributes
    assert "ICE-CONTROLLED" in request.attributes
    alone.check(nominate=True)
    assert paths(alone) == []
    alone.answer()
    assert len(paths(alone)) == 1


def test_the_controlled_side_uses_what_the_peer_nominates_after_its_own_check_is_answered() -> None:
    alone = Alone(controlling=False)
    alone.start(named(PEER))
    alone.answer()
    assert not alone.agent.may_send
    alone.check()
    assert paths(alone) == []
    alone.check(nominate=True)
    assert len(paths(alone)) == 1
    alone.check(nominate=True)
    assert len(paths(alone)) == 1


def test_a_nomination_by_the_controlled_side_is_none() -> None:
    alone = Alone(controlling=True)
    alone.start(named(PEER))
    alone.check(nominate=True)
    (pair,) = alone.agent.pairs
    assert not pair.remote_nominated


def test_a_better_pair_takes_over_when_it_becomes_valid_and_a_worse_one_does_not() -> None:
    alone = Alone()
    alone.start(named(PEER), named(PEER_2, 9), named(PEER_3, 5))
    alone.wait(2 * PACING)
    first, second, third = alone.requests[:3]
    alone.answer(second)
    alone.answer(third)
    assert [path.remote for path in paths(alone)] == ["198.51.100.2:2000"]
    alone.answer(first)
    assert [path.remote for path in paths(alone)] == ["198.51.100.2:2000", "198.51.100.1:2000"]


# --- role conflicts ---------------------------------------------------------------------------------------------------

LESS, MORE = 0, 2**64 - 1


@pytest.mark.parametrize(("controlling", "theirs"), [(True, LESS), (False, MORE)])
def test_a_peer_that_has_to_change_its_role_is_told_so(controlling: bool, theirs: int) -> None:
    """RFC 8445 section 7.3.1.1: the larger tie-breaker controls."""
    alone = Alone(controlling=controlling)
    alone.start(named(PEER))
    (answer,) = alone.check(controlling=controlling, tie_breaker=theirs)
    assert parse(answer.data).error_code == 487
    assert alone.agent.controlling is controlling


@pytest.mark.parametrize(("controlling", "theirs"), [(True, MORE), (False, LESS)])
def test_this_side_changes_its_role_when_it_has_to_and_answers(controlling: bool, theirs: int) -> None:
    alone = Alone(controlling=controlling)
    alone.start(named(PEER))
    (answer,) = alone.check(controlling=controlling, tie_breaker=theirs)
    assert parse(answer.data).error_code is None
    assert alone.agent.controlling is not controlling


@pytest.mark.parametrize("controlling", [True, False])
def test_a_check_that_meets_a_conflict_is_sent_anew_in_the_other_role(controlling: bool) -> None:
    alone = Alone(controlling=controlling)
    alone.start(named(PEER))
    alone.answer(error=487)
    assert state(alone) is WAITING
    alone.wait(PACING)
    assert alone.agent.controlling is not controlling
    last = parse(alone.requests[-1].data)
    assert ("ICE-CONTROLLING" in last.attributes) is not controlling
    assert last.transaction_id != parse(alone.requests[0].data).transaction_id
    if controlling:
        alone.check(nominate=True)
    alone.answer()
    assert len(paths(alone)) == 1


def test_two_checks_that_meet_the_same_conflict_change_the_role_once() -> None:
    alone = Alone(controlling=True)
    alone.start(named(PEER), named(PEER_2, 3))
    alone.wait(PACING)
    first, second = alone.requests
    alone.answer(first, error=487)
    alone.answer(second, error=487)
    assert not alone.agent.controlling
    alone.wait(2 * PACING)
    assert len(alone.requests) == 4


def test_a_pair_that_waits_for_its_repetition_is_checked_once_when_the_peers_check_comes_first() -> None:
    alone = Alone(controlling=True)
    alone.start(named(PEER))
    alone.answer(error=487)
    alone.check()
    assert len(alone.requests) == 2
    alone.wait(2 * PACING)
    assert len(alone.requests) == 2


def test_a_conflict_about_consent_changes_the_role_too() -> None:
    alone = Alone(controlling=True)
    alone.connect()
    alone.wait(5.5)
    alone.answer(error=487)
    assert not alone.agent.controlling
    assert len(alone.requests) == 2


# --- candidates that trickle ------------------------------------------------------------------------------------------


def test_candidates_that_come_after_the_start_are_checked() -> None:
    alone = Alone()
    alone.start()
    assert alone.sent == []
    alone.wait(1.0)
    alone.name(named(PEER))
    assert [each.address for each in alone.sent] == [PEER], "at once, for none was checked just now"
    alone.name(named(PEER_2))
    assert len(alone.sent) == 1
    alone.wait(PACING)
    assert [each.address for each in alone.sent] == [PEER, PEER_2]


def test_a_candidate_that_promises_no_better_pair_is_not_checked_while_the_selected_one_answers() -> None:
    alone = Alone()
    alone.connect(named(PEER, 100))
    alone.name(named(PEER_2, 50))
    alone.wait(1.0)
    assert PEER_2 not in [each.address for each in alone.sent]
    alone.name(named(PEER_3, 200))
    alone.wait(PACING)
    assert alone.requests[-1].address == PEER_3


def test_candidates_of_the_other_ip_version_are_not_paired() -> None:
    alone = Alone()
    alone.start(named(("2001:db8::1", 1)))
    assert len(alone.agent.remote_candidates) == 1
    assert alone.agent.pairs == []


def test_after_the_end_of_candidates_none_is_taken() -> None:
    alone = Alone()
    alone.agent.end_remote()
    alone.start(named(PEER))
    assert alone.agent.remote_candidates == []


def test_a_local_candidate_is_told_and_a_redundant_one_is_not() -> None:
    alone = Alone()
    reflexive = server_reflexive_candidate(host_candidate(HOST, 1), ("203.0.113.9", 1))
    alone.perform(alone.agent.add_reflexive(reflexive))
    alone.perform(alone.agent.add_reflexive(reflexive))
    assert alone.events == [CandidateFound(reflexive)]
    assert alone.agent.local_candidates[1:] == [reflexive]


def test_of_local_candidates_so_many_are_told() -> None:
    alone = Alone()
    for port in range(1, 2 * limits.CANDIDATE_COUNT):
        base = host_candidate(HOST, 1)
        alone.perform(alone.agent.add_reflexive(server_reflexive_candidate(base, ("203.0.113.9", port))))
    assert len(alone.events) == limits.CANDIDATE_COUNT - 1


def test_a_relayed_socket_that_comes_later_is_paired_with_what_the_peer_has_named() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.wait(1.0)
    alone.perform(alone.agent.open_holes(alone.now))
    relayed = relayed_candidate(TURN, STUN)
    alone.perform(alone.agent.add_socket(1, relayed, alone.now))
    assert alone.events == [CandidateFound(relayed)]
    assert alone.holes == [OpenHole(0, PEER), OpenHole(1, PEER)]
    request = alone.requests[-1]
    assert request.socket == 1
    alone.answer(request, mapped=TURN)
    (path,) = paths(alone)
    assert (path.path, path.kind, path.reason) == ("relay", "relay-host", "by a TURN server")


def test_a_peers_relayed_candidate_makes_a_relayed_path() -> None:
    alone = Alone()
    alone.connect(named(TURN, kind="relay"))
    assert paths(alone)[0].path == "relay"


# --- openers and what is counted --------------------------------------------------------------------------------------


def test_holes_are_opened_to_every_candidate_and_to_those_that_come_later() -> None:
    alone = Alone(sockets=(HOST, HOST_2))
    alone.name(named(PEER))
    assert alone.holes == []
    alone.perform(alone.agent.open_holes(alone.now))
    alone.name(named(PEER_2), named(("2001:db8::1", 1)))
    assert alone.holes == [OpenHole(socket, to) for to in (PEER, PEER_2) for socket in (0, 1)]


def test_what_may_not_be_sent_is_left_out_and_its_schedule_goes_on() -> None:
    alone = Alone()
    alone.allowance.may_send = lambda host, now: now >= START + 0.25  # type: ignore[method-assign]
    alone.start(named(PEER))
    alone.perform(alone.agent.open_holes(alone.now))
    alone.wait(5.0)
    assert [round(at - START, 6) for at in alone.sent_at] == [0.3, 0.7, 1.5, 3.1]
    assert alone.holes == []
    assert state(alone) is FAILED


def test_an_address_that_has_answered_is_counted_no_more_and_a_check_earns_one_packet() -> None:
    alone = Alone()
    alone.start(named(PEER))
    assert not alone.allowance.has_answered(PEER[0])
    alone.answer()
    assert alone.allowance.has_answered(PEER[0])
    for _ in range(1000):
        alone.allowance.may_send(PEER_2[0], alone.now)
    assert not alone.allowance.may_send(PEER_2[0], alone.now)
    assert [each.address for each in alone.check(PEER_2)] == [PEER_2, PEER_2], "the response, and the check it earns"
    alone.wait(1.0)
    assert [each.address for each in alone.requests].count(PEER_2) == 1


def test_a_conflict_is_an_answer() -> None:
    alone = Alone()
    alone.start(named(PEER))
    alone.answer(error=487)
    assert alone.allowance.has_answered(PEER[0])


# --- sockets ----------------------------------------------------------------------------------------------------------


def test_a_pair_that_probing_has_found_is_checked_at_once_and_its_socket_is_used() -> None:
    alone = Alone()
    alone.start()
    beside = host_candidate(HOST_2, 0)
    alone.agent.add_beside(7, beside)
    assert not alone.agent.uses(7)
    alone.perform(alone.agent.adopt(7, beside, PEER, "birthday", alone.now))
    assert alone.agent.uses(7)
    assert (alone.requests[-1].socket, alone.requests[-1].address) == (7, PEER)
    alone.answer(mapped=("203.0.113.9", 1))
    assert (paths(alone)[0].method, paths(alone)[0].kind) == ("birthday", "prflx-prflx")


def test_a_pair_that_probing_has_found_before_the_start_is_checked_then() -> None:
    alone = Alone()
    alone.name(named(PEER))
    alone.perform(alone.agent.adopt(0, host_candidate(HOST, 1), PEER, "prediction", alone.now))
    assert alone.sent == []
    alone.start()
    alone.answer()
    assert (paths(alone)[0].method, paths(alone)[0].kind) == ("prediction", "host-host")


def test_what_probing_finds_beyond_the_bound_is_not_checked() -> None:
    alone = Alone()
    alone.start()
    for port in range(1, TOTAL_COUNT + 1):
        alone.check(("198.51.100.9", port))
    count = len(alone.sent)
    alone.perform(alone.agent.adopt(7, host_candidate(HOST_2, 0), PEER, "birthday", alone.now))
    assert len(alone.sent) == count


def test_a_socket_beside_is_taken_over_when_the_peer_finds_it() -> None:
    alone = Alone()
    alone.start()
    alone.agent.add_beside(7, host_candidate(HOST_2, 0))
    answer, triggered = alone.check(PEER, 7)
    assert (answer.socket, triggered.socket) == (7, 7)
    assert alone.agent.uses(7)


def test_a_socket_that_the_agent_does_not_know_answers_nobody() -> None:
    alone = Alone()
    alone.start()
    assert alone.check(PEER, 7) == []
    assert alone.events == []
    alone.agent.add_beside(7, host_candidate(HOST_2, 0))
    alone.perform(alone.agent.remove_socket(7))
    assert alone.check(PEER, 7) == []


def test_the_end_of_the_selected_pairs_socket_loses_the_path_until_another_pair_is_valid() -> None:
    alone = Alone(sockets=(HOST, HOST_2))
    alone.connect()
    alone.perform(alone.agent.remove_socket(0))
    assert alone.events[-1] == Lost("the local socket was closed")
    assert [pair.state for pair in alone.agent.pairs if pair.socket == 0] == [FAILED]
    alone.check(PEER_2, 1)
    alone.answer()
    assert paths(alone)[-1].local == "192.0.2.1:1001"


def test_the_end_of_another_socket_fails_its_pairs_and_no_more() -> None:
    alone = Alone(sockets=(HOST, HOST_2))
    alone.start(named(PEER))
    alone.wait(PACING)
    alone.answer(alone.requests[0])
    alone.perform(alone.agent.remove_socket(1))
    assert [pair.state for pair in alone.agent.pairs] == [SUCCEEDED, FAILED]
    assert alone.of(Lost) == []


def test_a_shell_may_ask_the_peer_on_the_selected_pair() -> None:
    alone = Alone()
    assert alone.agent.selected_request() is None
    alone.connect()
    request = alone.agent.selected_request()
    assert request is not None
    message, password = request
    assert "USE-CANDIDATE" in message.attributes
    assert password == THEIRS.pwd
