"""core.mesh: the room, and who offers to whom."""

from __future__ import annotations

import itertools

import pytest

from visavis_peer.core.counts import MEMBER_COUNT, PEER_COUNT
from visavis_peer.core.meeting.effects import (
    AddCandidate,
    DropSession,
    Effect,
    SendOffer,
    SendRefusal,
    SessionKey,
    StartSession,
    SuspectSession,
)
from visavis_peer.core.meeting.link_protocols import SPOKEN
from visavis_peer.core.meeting.mesh import Mesh
from visavis_peer.core.meeting.negotiation import ANSWER_TIMEOUT, OFFER_FALLBACK
from visavis_peer.core.meeting.session_budget import BURST, NEWCOMER_RESERVE, RATE
from visavis_shared.messages import (
    Answer,
    AnswerPayload,
    CandidateMessage,
    CandidatePayload,
    IceCredentials,
    Offer,
    OfferPayload,
    PeerInfo,
)

ICE = IceCredentials(ufrag="abcd", pwd="p" * 22)
FINGERPRINT, NONCE = "f" * 64, "0" * 32


def info(peer_id: str, name: str | None = None) -> PeerInfo:
    return PeerInfo(peer_id=peer_id, display_name=name, joined_at=1)


def joined(*others: str) -> Mesh:
    mesh = Mesh(f"s{number}" for number in itertools.count())
    mesh.on_joined("me", [*(info(other) for other in others), info("me")], 0.0)
    return mesh


def offer_from(peer_id: str | None, session_id: str = "theirs") -> Offer:
    payload = OfferPayload(session_id=session_id, ice=ICE, fingerprint=FINGERPRINT, nonce=NONCE, speaks=SPOKEN)
    return Offer(peer_id=peer_id, target_id="me", payload=payload)


def sessions(effects: list[Effect]) -> list[str]:
    return [effect.session_id for effect in effects if isinstance(effect, StartSession)]


def link_up(mesh: Mesh, peer_id: str) -> str:
    mesh.receive(offer_from(peer_id, f"session-{peer_id}"), 0.0)
    mesh.on_check_received(SessionKey(peer_id, f"session-{peer_id}"), 0.0)
    mesh.on_valid_pair(SessionKey(peer_id, f"session-{peer_id}"), 0.0)
    return f"session-{peer_id}"


def test_a_newcomer_waits_for_the_offers_of_those_who_were_there_first() -> None:
    mesh = joined("x", "y")
    assert mesh.next_timer() == OFFER_FALLBACK
    assert mesh.handle_timer(OFFER_FALLBACK - 0.1) == []


def test_a_newcomer_offers_itself_when_nobody_does() -> None:
    mesh = joined("x")
    effects = mesh.handle_timer(OFFER_FALLBACK)
    assert [type(effect) for effect in effects] == [StartSession, SendOffer]


def test_a_member_offers_to_a_newcomer_at_once() -> None:
    effects = joined().on_peer_joined(info("x"), 5.0)
    assert [type(effect) for effect in effects] == [StartSession, SendOffer]


def test_a_peer_that_is_announced_twice_is_offered_to_once() -> None:
    mesh = joined()
    mesh.on_peer_joined(info("x"), 5.0)
    assert mesh.on_peer_joined(info("x"), 5.1) == []


def test_an_offer_from_a_peer_not_yet_announced_is_answered() -> None:
    mesh = joined()
    assert sessions(mesh.receive(offer_from("x"), 0.0)) == ["theirs"]
    assert mesh.on_peer_joined(info("x"), 0.1) == []


def test_messages_without_a_sender_or_from_oneself_are_ignored() -> None:
    mesh = joined()
    assert mesh.receive(offer_from(None), 0.0) == []
    assert mesh.receive(offer_from("me"), 0.0) == []


def test_answers_and_candidates_reach_only_the_negotiation_with_their_sender() -> None:
    mesh = joined()
    mesh.on_peer_joined(info("x"), 0.0)
    payload = AnswerPayload(
        session_id="s0", accepted=True, ice=ICE, fingerprint=FINGERPRINT, nonce=NONCE, speaks=SPOKEN
    )
    assert mesh.receive(Answer(peer_id="y", target_id="me", payload=payload), 0.1) == []
    assert mesh.receive(Answer(peer_id="x", target_id="me", payload=payload), 0.1) != []
    candidate = CandidatePayload(session_id="s0", candidate="c")
    assert mesh.receive(CandidateMessage(peer_id="y", target_id="me", payload=candidate), 0.2) == []
    assert len(mesh.receive(CandidateMessage(peer_id="x", target_id="me", payload=candidate), 0.2)) == 1


def test_a_peer_that_leaves_is_forgotten_and_its_link_suspected() -> None:
    mesh = joined("x")
    session = link_up(mesh, "x")
    assert mesh.on_peer_left("x") == [SuspectSession(session, "x")]
    assert "x" not in mesh.members
    assert mesh.on_peer_left("x") == []


def test_a_lost_server_ends_negotiations_but_no_link() -> None:
    mesh = joined("x", "y")
    link_up(mesh, "x")
    mesh.receive(offer_from("y", "open"), 0.0)
    assert mesh.on_signaling_lost() == [DropSession("open", "y")]
    assert (mesh.members, mesh.negotiations) == ({}, {})


def test_a_session_that_outlived_its_negotiation_is_closed_when_it_dies() -> None:
    mesh = joined("x")
    session = link_up(mesh, "x")
    mesh.on_signaling_lost()
    assert mesh.on_session_lost(SessionKey("x", session), 1.0) == [DropSession(session, "x")]


def test_a_dead_link_to_a_member_is_negotiated_anew() -> None:
    mesh = joined("x")
    session = link_up(mesh, "x")
    assert mesh.on_session_lost(SessionKey("x", session), 1.0) == [DropSession(session, "x")]
    assert mesh.next_timer() == 1.0 + OFFER_FALLBACK


def test_a_path_that_ceases_to_answer_concerns_its_peer_only_and_is_forgotten_when_it_answers_again() -> None:
    mesh = joined("x", "y")
    session = link_up(mesh, "x")
    link_up(mesh, "y")
    assert mesh.on_session_suspended(SessionKey("x", session), 9.0) == []
    assert mesh.next_timer() == 9.0 + OFFER_FALLBACK
    assert mesh.negotiations["y"].next_timer() is None
    assert mesh.on_session_resumed(SessionKey("x", session)) == []
    assert mesh.next_timer() is None


def test_a_network_change_concerns_every_peer() -> None:
    mesh = joined("x", "y")
    link_up(mesh, "x")
    effects = mesh.on_network_changed(9.0)
    assert [effect.peer_id for effect in effects if isinstance(effect, SendOffer)] == ["x", "y"]


def test_a_closed_link_ends_its_path_and_that_of_a_stranger_changes_nothing() -> None:
    mesh = joined("x")
    session = link_up(mesh, "x")
    assert mesh.on_link_closed("stranger", 9.0) == []
    assert mesh.on_link_closed("x", 9.0) == [DropSession(session, "x")]
    assert mesh.next_timer() == 9.0 + OFFER_FALLBACK


def test_a_server_that_lists_this_agents_former_id_does_not_make_it_link_with_itself() -> None:
    mesh = joined()
    mesh.on_joined("me-again", [info("me"), info("x"), info("me-again")], 5.0)
    assert set(mesh.negotiations) == {"x"}


def test_an_agent_takes_no_more_links_than_it_has_room_for_and_says_so() -> None:
    mesh = joined(*(f"p{number}" for number in range(PEER_COUNT)))
    for number in range(PEER_COUNT):
        assert sessions(mesh.receive(offer_from(f"p{number}"), 0.0))
    assert mesh.on_peer_joined(info("one-more"), 0.0) == []
    (refusal,) = mesh.receive(offer_from("one-more"), 0.0)
    assert isinstance(refusal, SendRefusal)
    assert "one-more" in mesh.members


def test_names_are_known_for_members_only() -> None:
    mesh = joined()
    mesh.on_peer_joined(info("x", "Xenia"), 0.0)
    assert mesh.name_of("x") == "Xenia"
    assert mesh.name_of("y") is None


def test_two_peers_that_choose_one_session_id_have_a_session_each() -> None:
    mesh = joined("p", "q")
    assert [effect.peer_id for effect in mesh.receive(offer_from("p", "S1"), 0.0) if isinstance(effect, StartSession)]
    mesh.receive(offer_from("q", "S1"), 0.0)
    dropped = [effect for effect in mesh.receive(offer_from("p", "S2"), 0.1) if isinstance(effect, DropSession)]
    assert dropped == [DropSession("S1", "p")]
    candidate = CandidateMessage(peer_id="q", target_id="me", payload=CandidatePayload(session_id="S1", candidate="c"))
    assert [effect.key for effect in mesh.receive(candidate, 0.2) if isinstance(effect, AddCandidate)] == [("q", "S1")]
    assert mesh.on_valid_pair(SessionKey("p", "S1"), 0.3) == []
    assert mesh.on_session_lost(SessionKey("p", "S1"), 0.3) == [DropSession("S1", "p")]


def test_members_who_never_say_anything_lock_nobody_out() -> None:
    ghosts = [f"ghost{number}" for number in range(4 * PEER_COUNT)]
    mesh = joined(*ghosts)
    mesh.on_peer_joined(info("real"), 0.0)
    now, offered = 0.0, set()
    while "real" not in offered:
        due = mesh.next_timer()
        assert due is not None
        now = max(now, due)
        assert now < 60.0
        offered |= {effect.peer_id for effect in mesh.handle_timer(now) if isinstance(effect, SendOffer)}
        assert len(mesh.negotiations) <= PEER_COUNT


def test_whoever_says_something_gets_the_slot_of_one_that_does_not() -> None:
    mesh = joined(*(f"ghost{number}" for number in range(PEER_COUNT)))
    mesh.handle_timer(OFFER_FALLBACK)
    mesh.handle_timer(OFFER_FALLBACK + ANSWER_TIMEOUT)
    assert sessions(mesh.receive(offer_from("real"), 9.0)) == ["theirs"]
    assert len(mesh.negotiations) == PEER_COUNT


def test_whoever_says_something_need_not_wait_until_those_who_do_not_have_had_their_time() -> None:
    mesh = joined(*(f"ghost{number}" for number in range(PEER_COUNT)))
    mesh.handle_timer(OFFER_FALLBACK)
    effects = mesh.receive(offer_from("real"), OFFER_FALLBACK)
    assert [effect.peer_id for effect in effects if isinstance(effect, DropSession)] == ["ghost0"]
    assert sessions(effects) == ["theirs"]
    assert set(mesh.negotiations) == {"real", *(f"ghost{number}" for number in range(1, PEER_COUNT))}


def test_in_a_room_with_a_secret_only_who_shows_a_fresh_value_is_offered_to() -> None:
    mesh = Mesh((f"s{number}" for number in itertools.count()), sealed=True)
    mesh.on_joined("me", [info("me")], 0.0)
    assert mesh.on_peer_joined(info("old"), 0.0) == []
    effects = mesh.on_peer_joined(info("new").model_copy(update={"fresh": "0f" * 16}), 0.0)
    assert [effect.peer_id for effect in effects if isinstance(effect, SendOffer)] == ["new"]
    assert (mesh.fresh_of("old"), mesh.fresh_of("new"), mesh.fresh_of("nobody")) == (None, "0f" * 16, None)


def test_in_a_room_with_a_secret_the_sealed_name_is_the_one_that_counts() -> None:
    mesh = Mesh((f"s{number}" for number in itertools.count()), sealed=True)
    mesh.on_joined("me", [info("me"), info("x", "alice")], 0.0)
    assert mesh.name_of("x") is None
    payload = OfferPayload(
        session_id="theirs", ice=ICE, fingerprint=FINGERPRINT, nonce=NONCE, speaks=SPOKEN, name="carol"
    )
    mesh.receive(Offer(peer_id="x", target_id="me", payload=payload), 0.0)
    assert mesh.name_of("x") == "carol"
    mesh.on_peer_left("x")
    assert mesh.name_of("x") is None


@pytest.mark.parametrize("own", [False, True], ids=["one id", "ever new ids"])
def test_who_comes_and_goes_has_few_sessions_begun_and_a_friend_is_offered_to_all_the_same(own: bool) -> None:
    mesh = joined("old friend")
    begun = 0
    for number in range(500):
        now, mallory = number / 50, f"m{number if own else 0}"
        begun += len(sessions(mesh.on_peer_joined(info(mallory), now)))
        mesh.on_peer_left(mallory)
    assert 0 < begun <= BURST - NEWCOMER_RESERVE + RATE * 10
    assert sessions(mesh.receive(offer_from("old friend"), 10.0))
    soon = sessions(mesh.on_peer_joined(info("friend"), 10.0))
    assert soon or sessions(mesh.handle_timer(10.0 + OFFER_FALLBACK))


def test_the_members_that_an_agent_knows_of_have_a_bound() -> None:
    mesh = joined(*(f"p{number}" for number in range(MEMBER_COUNT - 1)))
    for number in range(3):
        mesh.on_peer_joined(info(f"late {number}"), 1.0)
    assert len(mesh.members) == MEMBER_COUNT
    mesh.on_peer_left("late 0")
    mesh.on_peer_joined(info("late 3"), 1.0)
    assert "late 3" in mesh.members


def test_who_has_just_come_leaves_something_for_those_who_are_there() -> None:
    mesh = joined("friend")
    for number in range(PEER_COUNT - 1):
        mesh.on_peer_joined(info(f"m{number}"), 0.0)
        mesh.receive(offer_from(f"m{number}", f"S{number}"), 0.0)
    assert sessions(mesh.receive(offer_from("friend"), 0.0))
