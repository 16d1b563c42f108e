"""core.negotiation: one peer, every path of the state machine."""

from __future__ import annotations

import itertools

import pytest

from visavis_peer.core.meeting.effects import (
    UNTRUSTED_ANSWER,
    AddCandidate,
    DropSession,
    Effect,
    FailureKind,
    Introduce,
    OpenHoles,
    ReportFailure,
    SendAnswer,
    SendOffer,
    SendReady,
    SendRefusal,
    SetRemote,
    StartChecks,
    StartSession,
    SuspectSession,
    UpdateNat,
    UseSession,
)
from visavis_peer.core.meeting.link_protocols import SPOKEN
from visavis_peer.core.meeting.negotiation import (
    ANSWER_TIMEOUT,
    OFFER_FALLBACK,
    READY_TIMEOUT,
    REPORT_COUNT,
    ROUND_TIMEOUT,
    Answered,
    Checking,
    Idle,
    Negotiation,
    Offering,
)
from visavis_peer.core.meeting.session_budget import SessionBudget
from visavis_shared import limits
from visavis_shared.messages import AnswerPayload, CandidatePayload, IceCredentials, OfferPayload
from visavis_shared.nat import NatReport

ICE = IceCredentials(ufrag="abcd", pwd="p" * 22)
WHO = {"fingerprint": "f" * 64, "nonce": "0" * 32, "speaks": ["quic/1"]}


def negotiation(own_id: str = "aa", peer_id: str = "bb", offer_at: float | None = None) -> Negotiation:
    return Negotiation(own_id, peer_id, (f"s{number}" for number in itertools.count()), SessionBudget().take, offer_at)


def offer(session_id: str = "theirs", **members: object) -> OfferPayload:
    return OfferPayload.model_validate({"session_id": session_id, "ice": ICE, **WHO, **members})


def answer(session_id: str, **members: object) -> AnswerPayload:
    return AnswerPayload.model_validate({"session_id": session_id, "accepted": True, "ice": ICE, **WHO, **members})


def kinds(effects: list[Effect]) -> list[type[Effect]]:
    return [type(effect) for effect in effects]


def offering() -> Negotiation:
    machine = negotiation(offer_at=0.0)
    machine.handle_timer(0.0)
    return machine


def up_as_offerer() -> Negotiation:
    machine = offering()
    machine.receive_answer(answer("s0", instance="their-process"), 0.1)
    machine.on_valid_pair("s0", 0.2)
    return machine


def test_the_side_that_shall_offer_does_so_at_its_time_and_not_before() -> None:
    machine = negotiation(offer_at=3.0)
    assert machine.next_timer() == 3.0
    assert machine.handle_timer(2.9) == []
    assert machine.handle_timer(3.0) == [StartSession("s0", "bb", "offerer", 0), SendOffer("s0", "bb", 0)]
    assert machine.state == Offering("s0", 3.0)


def test_an_idle_negotiation_has_no_timer() -> None:
    machine = negotiation(offer_at=None)
    assert machine.next_timer() is None
    assert machine.handle_timer(1e9) == []


def test_the_answerer_opens_its_filters_before_it_answers_and_checks_only_when_told() -> None:
    machine = negotiation()
    effects = machine.receive_offer(offer(), 1.0)
    assert kinds(effects) == [StartSession, Introduce, SetRemote, OpenHoles, SendAnswer]
    assert effects[0] == StartSession("theirs", "bb", "answerer", 0)
    assert machine.receive_candidate(CandidatePayload(session_id="theirs", ready=True), 1.05) == [
        StartChecks("theirs", "bb")
    ]
    assert machine.state == Checking("theirs", 1.05, "answerer")


def test_a_check_of_the_peer_is_as_good_as_ready() -> None:
    machine = negotiation()
    machine.receive_offer(offer(), 1.0)
    assert machine.on_check_received("theirs", 1.01) == [StartChecks("theirs", "bb")]
    assert machine.on_check_received("theirs", 1.02) == []


def test_a_lost_ready_costs_its_timeout_and_no_more() -> None:
    machine = negotiation()
    machine.receive_offer(offer(), 1.0)
    assert machine.next_timer() == 1.0 + READY_TIMEOUT
    assert machine.handle_timer(1.0 + READY_TIMEOUT) == [StartChecks("theirs", "bb")]


def test_the_offerer_opens_then_says_ready_then_checks_at_once() -> None:
    machine = offering()
    effects = machine.receive_answer(answer("s0"), 0.1)
    assert kinds(effects) == [Introduce, SetRemote, OpenHoles, SendReady, StartChecks]


def test_an_answer_to_another_session_is_ignored() -> None:
    machine = offering()
    assert machine.receive_answer(answer("other"), 0.1) == []
    assert negotiation().receive_answer(answer("s0"), 0.1) == []


def test_glare_is_won_by_the_smaller_peer_id() -> None:
    smaller = negotiation("aa", "bb", offer_at=0.0)
    smaller.handle_timer(0.0)
    assert smaller.receive_offer(offer(), 0.01) == []
    assert isinstance(smaller.state, Offering)
    larger = negotiation("bb", "aa", offer_at=0.0)
    larger.handle_timer(0.0)
    assert kinds(larger.receive_offer(offer(), 0.01))[:2] == [DropSession, StartSession]
    assert larger.state == Answered("theirs", 0.01)


def test_an_offer_without_credentials_is_refused_with_the_reason() -> None:
    (effect,) = negotiation().receive_offer(OfferPayload(session_id="x"), 0.0)
    assert isinstance(effect, SendRefusal)
    assert "credentials" in effect.reason


def test_the_same_offer_twice_is_answered_once() -> None:
    machine = negotiation()
    machine.receive_offer(offer(), 0.0)
    assert machine.receive_offer(offer(), 0.1) == []


def test_a_new_offer_replaces_an_attempt_under_way() -> None:
    machine = negotiation()
    machine.receive_offer(offer("one"), 0.0)
    effects = machine.receive_offer(offer("two"), 0.1)
    assert effects[0] == DropSession("one", "bb")
    assert isinstance(machine.state, Answered)


def test_a_new_offer_while_the_link_is_up_keeps_the_old_session_until_the_new_one_is_valid() -> None:
    machine = up_as_offerer()
    effects = machine.receive_offer(offer("new"), 5.0)
    assert DropSession("s0", "bb") not in effects
    machine.on_check_received("new", 5.1)
    assert machine.on_valid_pair("new", 5.2) == [UseSession("new", "bb"), DropSession("s0", "bb")]
    assert machine.up == "new"


def test_an_offer_of_the_session_that_is_up_is_late_and_ignored() -> None:
    machine = negotiation()
    machine.receive_offer(offer("one"), 0.0)
    machine.on_check_received("one", 0.1)
    machine.on_valid_pair("one", 0.2)
    assert machine.receive_offer(offer("one"), 0.3) == []


def test_a_refusal_is_reported_with_its_reason() -> None:
    machine = offering()
    effects = machine.receive_answer(answer("s0", accepted=False, reason="busy"), 0.1)
    assert effects[0] == DropSession("s0", "bb")
    report = effects[1]
    assert isinstance(report, ReportFailure)
    assert (report.error, report.reason) == ("refused", "busy")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (AnswerPayload(session_id="s0", accepted=False), "the peer gave no reason"),
        (AnswerPayload(session_id="s0", accepted=True), "the ANSWER carries no ICE credentials"),
    ],
)
def test_an_unusable_answer_is_a_refusal(payload: AnswerPayload, reason: str) -> None:
    report = offering().receive_answer(payload, 0.1)[-1]
    assert isinstance(report, ReportFailure)
    assert report.reason == reason


def test_silence_after_an_offer_is_reported_and_tried_again() -> None:
    machine = offering()
    assert machine.next_timer() == ANSWER_TIMEOUT
    effects = machine.handle_timer(ANSWER_TIMEOUT)
    report = effects[-1]
    assert isinstance(report, ReportFailure)
    assert report.error == "no_answer"
    assert machine.next_timer() == ANSWER_TIMEOUT + 5.0


@pytest.mark.parametrize(("reason", "error"), [(UNTRUSTED_ANSWER, "authentication_failed"), ("no more", "refused")])
def test_an_offerer_that_gives_the_session_up_says_why(reason: str, error: FailureKind) -> None:
    answerer = negotiation()
    answerer.receive_offer(offer(), 0.0)
    effects = answerer.receive_candidate(CandidatePayload(session_id="theirs", failed=reason), 1.0)
    assert effects == [DropSession("theirs", "bb"), ReportFailure("bb", error, reason, None, 5.0)]
    assert answerer.receive_candidate(CandidatePayload(session_id="theirs", failed=reason), 1.0) == []


def test_a_round_lasts_as_much_longer_as_probing_began_later() -> None:
    answerer = negotiation()
    answerer.receive_offer(offer(), 0.0)
    assert answerer.on_probing("theirs", 0.5) == []
    answerer.on_check_received("theirs", 0.0)
    answerer.on_probing("another", 2.0)
    assert answerer.next_timer() == ROUND_TIMEOUT
    answerer.on_probing("theirs", 2.0)
    assert answerer.next_timer() == 2.0 + ROUND_TIMEOUT


def test_what_the_peer_learns_of_its_nat_is_handed_on() -> None:
    answerer = negotiation()
    answerer.receive_offer(offer(), 0.0)
    nat = NatReport(udp=True)
    assert answerer.receive_candidate(CandidatePayload(session_id="theirs", nat=nat), 0.0) == [
        UpdateNat("theirs", "bb", nat)
    ]
    assert answerer.remote_nat == nat


def test_a_round_without_a_valid_pair_fails_and_the_other_side_offers_next() -> None:
    offerer = offering()
    offerer.receive_answer(answer("s0", nat=NatReport(udp=False)), 0.0)
    effects = offerer.handle_timer(ROUND_TIMEOUT)
    assert effects[0] == DropSession("s0", "bb")
    assert effects[1] == ReportFailure("bb", "no_path", "", NatReport(udp=False), 5.0 + OFFER_FALLBACK)
    answerer = negotiation()
    answerer.receive_offer(offer(), 0.0)
    answerer.on_check_received("theirs", 0.0)
    answerer.handle_timer(ROUND_TIMEOUT)
    assert answerer.next_timer() == ROUND_TIMEOUT + 5.0


def test_each_round_changes_the_openers_and_tells_the_peer_its_number() -> None:
    machine = offering()
    machine.handle_timer(ANSWER_TIMEOUT)
    due = machine.next_timer()
    assert due is not None
    assert machine.handle_timer(due) == [StartSession("s1", "bb", "offerer", 1), SendOffer("s1", "bb", 1)]
    later = negotiation()
    assert later.receive_offer(offer(round=7), 0.0)[0] == StartSession("theirs", "bb", "answerer", 7)


def test_a_failed_attempt_beside_a_working_link_is_not_reported() -> None:
    machine = up_as_offerer()
    machine.receive_offer(offer("new"), 5.0)
    machine.on_check_received("new", 5.0)
    assert machine.handle_timer(5.0 + ROUND_TIMEOUT) == [DropSession("new", "bb")]
    assert machine.up == "s0"


def test_trickled_candidates_and_their_end_reach_the_session() -> None:
    machine = negotiation()
    machine.receive_offer(offer(), 0.0)
    payload = CandidatePayload(session_id="theirs", candidate="c1", end_of_candidates=True)
    assert machine.receive_candidate(payload, 0.1) == [
        AddCandidate("theirs", "bb", "c1"),
        AddCandidate("theirs", "bb", None),
    ]


def test_candidates_beyond_the_limit_are_dropped() -> None:
    machine = negotiation()
    machine.receive_offer(offer(candidates=tuple("c" * limits.CANDIDATE_COUNT)), 0.0)
    assert machine.receive_candidate(CandidatePayload(session_id="theirs", candidate="one more"), 0.1) == []


def test_candidates_of_no_session_or_another_are_ignored() -> None:
    assert negotiation().receive_candidate(CandidatePayload(session_id="x", candidate="c"), 0.0) == []
    machine = offering()
    assert machine.receive_candidate(CandidatePayload(session_id="s0", candidate="c"), 0.0) == []


def test_a_later_nat_report_is_the_one_that_a_failure_is_explained_with() -> None:
    machine = negotiation()
    machine.receive_offer(offer(), 0.0)
    machine.receive_candidate(CandidatePayload(session_id="theirs", ready=True, nat=NatReport(udp=False)), 0.0)
    report = machine.handle_timer(ROUND_TIMEOUT)[-1]
    assert isinstance(report, ReportFailure)
    assert report.remote_nat == NatReport(udp=False)


def test_a_valid_pair_moves_the_link_to_its_session() -> None:
    machine = offering()
    machine.receive_answer(answer("s0"), 0.1)
    assert machine.on_valid_pair("s0", 0.2) == [UseSession("s0", "bb")]
    assert (machine.state, machine.up, machine.failures) == (Idle(None), "s0", 0)


def test_a_valid_pair_of_another_session_changes_nothing() -> None:
    assert offering().on_valid_pair("s0", 0.1) == []


def test_the_former_offerer_of_a_dead_link_offers_at_once_and_the_other_gives_it_time() -> None:
    offerer = up_as_offerer()
    assert offerer.on_session_lost("s0", 9.0) == [DropSession("s0", "bb")]
    assert offerer.next_timer() == 9.0
    answerer = negotiation()
    answerer.receive_offer(offer(), 0.0)
    answerer.on_check_received("theirs", 0.0)
    answerer.on_valid_pair("theirs", 0.1)
    answerer.on_session_lost("theirs", 9.0)
    assert answerer.next_timer() == 9.0 + OFFER_FALLBACK


def test_a_link_that_was_closed_takes_its_path_along_and_the_peer_is_given_time_to_leave() -> None:
    machine = up_as_offerer()
    assert machine.on_link_closed(9.0) == [DropSession("s0", "bb")]
    assert (machine.up, machine.next_timer()) == (None, 9.0 + OFFER_FALLBACK)
    attempt = offering()
    assert attempt.on_link_closed(1.0) == [DropSession("s0", "bb")]
    assert attempt.state == Idle(1.0 + OFFER_FALLBACK)


def test_the_peer_is_introduced_with_what_it_said_before_anything_else_is_done_with_it() -> None:
    said = offer(instance="their-process")
    effects = negotiation().receive_offer(said, 1.0)
    assert effects[1] == Introduce("theirs", "bb", said)
    assert effects[1].instance == "their-process"
    (introduced, *_) = offering().receive_answer(answer("s0"), 0.1)
    assert isinstance(introduced, Introduce)
    assert introduced.instance == "bb"


@pytest.mark.parametrize("missing", ["fingerprint", "nonce"])
def test_a_peer_that_cannot_prove_itself_is_refused_by_either_side(missing: str) -> None:
    (refusal,) = negotiation().receive_offer(offer("theirs", **{missing: None}), 0.0)
    assert refusal == SendRefusal("theirs", "bb", "the OFFER carries no certificate fingerprint")
    report = offering().receive_answer(answer("s0", **{missing: None}), 0.1)[-1]
    assert isinstance(report, ReportFailure)
    assert (report.error, report.reason) == ("refused", "the ANSWER carries no certificate fingerprint")


# --- a path that ceases to work ---------------------------------------------------------------------------------------


def up_as_answerer() -> Negotiation:
    machine = negotiation()
    machine.receive_offer(offer(), 0.0)
    machine.on_check_received("theirs", 0.0)
    machine.on_valid_pair("theirs", 0.1)
    return machine


def test_beside_a_path_that_ceased_to_answer_the_former_offerer_looks_for_another_at_once() -> None:
    machine = up_as_offerer()
    assert machine.on_session_suspended("s0", 9.0) == []
    assert machine.next_timer() == 9.0
    assert kinds(machine.handle_timer(9.0)) == [StartSession, SendOffer]
    assert machine.up == "s0"
    other = up_as_answerer()
    other.on_session_suspended("theirs", 9.0)
    assert other.next_timer() == 9.0 + OFFER_FALLBACK


def test_a_path_that_answers_again_needs_no_other() -> None:
    machine = up_as_answerer()
    machine.on_session_suspended("theirs", 9.0)
    assert machine.on_session_resumed("theirs") == []
    assert machine.state == Idle(None)


def test_a_path_that_answers_again_lets_an_attempt_under_way_end_by_itself() -> None:
    machine = up_as_offerer()
    machine.on_session_suspended("s0", 9.0)
    machine.handle_timer(9.0)
    machine.on_session_resumed("s0")
    assert machine.next_timer() == 9.0 + ANSWER_TIMEOUT
    assert machine.handle_timer(9.0 + ANSWER_TIMEOUT) == [DropSession("s1", "bb")]
    assert machine.state == Idle(None)


def test_what_happens_to_another_sessions_path_changes_nothing() -> None:
    machine = up_as_offerer()
    machine.on_session_suspended("other", 9.0)
    assert machine.state == Idle(None)
    machine.on_session_suspended("s0", 9.0)
    machine.on_session_resumed("other")
    assert machine.state == Idle(9.0)


def test_suspension_during_an_attempt_leaves_the_attempt_alone() -> None:
    machine = up_as_offerer()
    machine.receive_offer(offer("new"), 5.0)
    machine.on_session_suspended("s0", 5.1)
    assert isinstance(machine.state, Answered)


def test_a_failed_attempt_beside_a_path_that_ceased_to_answer_is_reported_and_repeated() -> None:
    machine = up_as_offerer()
    machine.on_session_suspended("s0", 9.0)
    machine.handle_timer(9.0)
    effects = machine.handle_timer(9.0 + ANSWER_TIMEOUT)
    assert effects == [
        DropSession("s1", "bb"),
        ReportFailure("bb", "no_answer", "the peer did not answer the OFFER", None, 5),
    ]
    assert machine.next_timer() == 9.0 + ANSWER_TIMEOUT + 5.0
    assert machine.up == "s0"


def test_a_new_path_ends_the_suspension() -> None:
    machine = up_as_offerer()
    machine.on_session_suspended("s0", 9.0)
    machine.receive_offer(offer("new"), 9.1)
    machine.on_check_received("new", 9.1)
    assert machine.on_valid_pair("new", 9.2) == [UseSession("new", "bb"), DropSession("s0", "bb")]
    machine.receive_offer(offer("third"), 10.0)
    machine.on_check_received("third", 10.0)
    assert machine.handle_timer(10.0 + ROUND_TIMEOUT) == [DropSession("third", "bb")]


def test_after_a_network_change_a_path_is_looked_for_at_once_beside_the_one_there_is() -> None:
    machine = up_as_answerer()
    assert machine.restart(20.0) == [StartSession("s0", "bb", "offerer", 0), SendOffer("s0", "bb", 0)]
    assert machine.up == "theirs"


def test_a_network_change_ends_the_attempt_under_way_and_forgets_former_failures() -> None:
    machine = offering()
    machine.handle_timer(ANSWER_TIMEOUT)
    machine.receive_offer(offer("theirs", round=1), 6.0)
    assert machine.restart(6.5) == [
        DropSession("theirs", "bb"),
        StartSession("s1", "bb", "offerer", 0),
        SendOffer("s1", "bb", 0),
    ]


def test_losing_the_link_during_a_new_attempt_leaves_the_attempt_alone() -> None:
    machine = up_as_offerer()
    machine.receive_offer(offer("new"), 5.0)
    assert machine.on_session_lost("s0", 5.1) == [DropSession("s0", "bb")]
    assert isinstance(machine.state, Answered)


def test_losing_a_session_that_is_not_up_changes_nothing() -> None:
    assert offering().on_session_lost("s0", 1.0) == []


def test_a_peer_that_left_the_room_must_prove_its_link() -> None:
    machine = up_as_offerer()
    assert machine.abandon(suspect=True) == [SuspectSession("s0", "bb")]
    assert offering().abandon(suspect=True) == [DropSession("s0", "bb")]
    assert up_as_offerer().abandon(suspect=False) == []


def test_its_repr_shows_the_state() -> None:
    assert "Offering" in repr(offering())


def test_a_peer_has_no_more_to_say_of_its_nat_than_a_session_can_keep() -> None:
    machine = negotiation()
    machine.receive_offer(offer(), 0.0)
    said = CandidatePayload(session_id="theirs", nat=NatReport(last_port=1), end_of_candidates=True)
    effects = [effect for _ in range(REPORT_COUNT + 9) for effect in machine.receive_candidate(said, 0.0)]
    assert kinds(effects).count(UpdateNat) == REPORT_COUNT
    assert kinds(effects).count(AddCandidate) == 1


def test_an_offer_beyond_the_budget_is_ignored_and_leaves_what_is_under_way() -> None:
    machine = negotiation()
    taken = [bool(machine.receive_offer(offer(f"theirs-{number}"), 0.0)) for number in range(100)]
    last = max(number for number, each in enumerate(taken) if each)
    assert taken == [True] * (last + 1) + [False] * (99 - last)
    assert isinstance(machine.state, Answered)
    assert machine.state.session_id == f"theirs-{last}"
    assert machine.receive_offer(offer("later"), 60.0)


def test_an_offer_without_a_common_protocol_is_refused_each_time_and_told_once() -> None:
    machine = negotiation()
    for session_id, others in (("one", 1), ("two", 0)):
        refusal, *told = machine.receive_offer(offer(session_id, speaks=["quic/2"]), 0.0)
        assert isinstance(refusal, SendRefusal)
        assert (refusal.session_id, refusal.speaks) == (session_id, SPOKEN)
        assert refusal.reason.startswith("the OFFER names quic/2, and quic/1 is spoken here")
        assert len(told) == others
        for report in told:
            assert isinstance(report, ReportFailure)
            assert (report.error, report.retry_in) == ("refused", None)
            assert report.reason.endswith("update visavis on this machine")
    assert machine.idle
    assert SendAnswer("three", "bb") in machine.receive_offer(offer("three", speaks=["quic/2", "quic/1"]), 0.0)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(("speaks", "where"), [(["quic/2"], "this"), (["quic/0"], "the other")])
def test_an_answer_without_a_common_protocol_says_which_side_is_older(
    accepted: bool, speaks: list[str], where: str
) -> None:
    report = offering().receive_answer(answer("s0", accepted=accepted, speaks=speaks, reason="no"), 0.1)[-1]
    assert isinstance(report, ReportFailure)
    assert report.error == "refused"
    assert report.reason.endswith(f"update visavis on {where} machine")


def test_a_peer_that_names_no_protocol_is_of_an_older_version() -> None:
    report = offering().receive_answer(answer("s0", speaks=[]), 0.1)[-1]
    assert isinstance(report, ReportFailure)
    assert report.reason.endswith("update visavis on the other machine")
    (refusal, _) = negotiation().receive_offer(offer("theirs", speaks=[]), 0.0)
    assert isinstance(refusal, SendRefusal)
    assert refusal.reason.endswith("update the older of the two sides")
