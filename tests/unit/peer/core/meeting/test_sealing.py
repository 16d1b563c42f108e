"""core.sealing: what one agent seals the other opens, and nothing else does."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.shared.strategies import answer_payloads, candidate_payloads, offer_payloads
from visavis_peer.core.meeting.sealing import (
    NONCE_SIZE,
    SESSION_COUNT,
    Directed,
    NoFresh,
    NotAuthentic,
    Repeated,
    RoomSeal,
    TooLong,
    _derive,
    room_password,
)
from visavis_peer.core.nat.addresses import Interface, choose_addresses
from visavis_peer.ice.candidates import host_candidate, server_reflexive_candidate, to_line
from visavis_shared import limits
from visavis_shared.messages import (
    Answer,
    AnswerPayload,
    CandidateMessage,
    CandidatePayload,
    Endpoint,
    IceCredentials,
    Offer,
    OfferPayload,
)
from visavis_shared.nat import NatReport

SECRET = bytes(range(16))
FRESH = "0f" * 16
ICE = IceCredentials(ufrag="abcd", pwd="p" * 22)
WHO: dict[str, Any] = {"fingerprint": "f" * 64, "nonce": "0" * 32}


def entropy() -> Callable[[int], bytes]:
    counter = itertools.count()
    return lambda size: next(counter).to_bytes(size, "big")


def agent(secret: bytes = SECRET, room: str = "den") -> RoomSeal:
    return RoomSeal(secret, room, entropy(), FRESH, lambda _: FRESH)


def offer(session_id: str = "s", **members: Any) -> OfferPayload:
    return OfferPayload(
        session_id=session_id, initiator_id="a", endpoint=Endpoint(ip="11.0.0.9", port=1), ice=ICE, **WHO, **members
    )


def answer(session_id: str = "s", **members: Any) -> AnswerPayload:
    return AnswerPayload(session_id=session_id, ice=ICE, **{"accepted": True, **WHO, **members})


def message(payload: OfferPayload | AnswerPayload | CandidatePayload, target: str) -> Directed:
    match payload:
        case OfferPayload():
            return Offer(target_id=target, payload=payload)
        case AnswerPayload():
            return Answer(target_id=target, payload=payload)
        case CandidatePayload():
            return CandidateMessage(target_id=target, payload=payload)


def carry(sent: Directed, sender: str) -> Directed:
    """Return a message as the server delivers it: text in between, and who sent it."""
    return type(sent).model_validate_json(sent.model_copy(update={"peer_id": sender}).model_dump_json())


class Exchange:
    """Agents a and b, and what they sealed for each other."""

    def __init__(self) -> None:
        self.a, self.b = agent(), agent()
        self.offer = carry(self.a.seal(message(offer(), "b"), "a"), "a")

    def answered(self) -> Directed:
        self.b.open(self.offer, "b")
        return carry(self.b.seal(message(answer(), "a"), "b"), "b")


def sealed_by_hand(text: bytes) -> str:
    """Return `text` sealed as the module says, from a to b in session s of the room den."""
    info = json.dumps(["den", "s", "a", "b", "offerer", FRESH]).encode()
    key = AESGCM(HKDF(SHA256(), length=32, salt=b"visavis/1 sealing", info=info).derive(SECRET))
    nonce = os.urandom(NONCE_SIZE)
    return base64.b64encode(nonce + key.encrypt(nonce, text, b"OFFER")).decode()


def with_payload(received: Directed, **members: Any) -> Directed:
    return received.model_copy(update={"payload": received.payload.model_copy(update=members)})


# --- what is sealed is opened -----------------------------------------------------------------------------------------


@given(offer_payloads, answer_payloads, st.lists(candidate_payloads, max_size=3))
@settings(max_examples=50)
def test_what_is_sealed_is_what_is_opened(
    offered: OfferPayload, answered: AnswerPayload, trickled: list[CandidatePayload]
) -> None:
    a, b = agent(), agent()
    session = {"session_id": offered.session_id}
    clear = {"initiator_id": None}  # of no use to who has a peer_id from the server, so it is not taken over
    opened = b.open(carry(a.seal(message(offered, "b"), "a"), "a"), "b")
    assert opened.payload == offered.model_copy(update=clear)
    answered = answered.model_copy(update=session)
    assert a.open(carry(b.seal(message(answered, "a"), "b"), "b"), "a").payload == answered
    for payload in (each.model_copy(update=session) for each in trickled):
        assert a.open(carry(b.seal(message(payload, "a"), "b"), "b"), "a").payload == payload
        assert b.open(carry(a.seal(message(payload, "b"), "a"), "a"), "b").payload == payload


def test_the_server_sees_the_seeds_members_and_nothing_else() -> None:
    exchange = Exchange()
    candidate = CandidatePayload(session_id="s", candidate="c", end_of_candidates=True, ready=True, nat=NatReport())
    answered = exchange.answered()
    trickled = carry(exchange.a.seal(message(candidate, "b"), "a"), "a")
    for sealed, members in (
        (exchange.offer, {"session_id", "endpoint", "initiator_id", "sealed"}),
        (answered, {"session_id", "accepted", "sealed"}),
        (trickled, {"session_id", "sealed"}),
    ):
        seen = json.loads(sealed.payload.model_dump_json(exclude_none=True, exclude_defaults=True))
        assert seen.keys() == members
        data = base64.b64decode(sealed.payload.sealed or "")
        assert b"abcd" not in data
        assert b"ffff" not in data


def test_the_longest_description_that_an_agent_makes_fits_the_bounds() -> None:
    """An IPv6 candidate has about 150 characters."""
    full = offer(
        candidates=tuple("c" * 200 for _ in range(limits.CANDIDATE_COUNT)),
        instance="i" * limits.SESSION_ID_LENGTH,
        nat=NatReport(notes=("n" * 200,) * 8),
        links=("0" * 32,) * limits.LINK_COUNT,
    )
    sealed = agent().seal(message(full, "b"), "a")
    assert len(sealed.payload.sealed or "") <= limits.SEALED_LENGTH
    assert len(carry(sealed, "a").model_dump_json()) <= limits.MESSAGE_SIZE


def test_a_machine_with_many_interfaces_of_long_names_stays_far_below_the_bounds() -> None:
    names = [f"{'interface' * 20}{number}" for number in range(64)]
    addresses = [
        tuple(f"2001:db8:{number:x}:ffff:ffff:ffff:ffff:{each + 0x1000:x}" for each in range(16))
        for number in range(64)
    ]
    choice = choose_addresses([Interface(*pair) for pair in zip(names, addresses, strict=True)])
    hosts = [host_candidate((each.ip, 65535), each.preference) for each in choice.used]
    mapped = [
        server_reflexive_candidate(host, (host.host, port)) for port in range(60000, 60004) for host in hosts
    ]  # fmt: skip
    lines = tuple(to_line(each) for each in (*hosts, *mapped))[: limits.CANDIDATE_COUNT]
    assert len(lines) == limits.CANDIDATE_COUNT
    full = offer(candidates=lines, nat=NatReport(notes=("n" * 200,) * 8), links=("0" * 32,) * limits.LINK_COUNT)
    sealed = agent().seal(message(full, "b"), "a")
    assert len(sealed.payload.sealed or "") < limits.SEALED_LENGTH * 3 // 4


def test_what_does_not_fit_is_refused_with_the_way_out() -> None:
    long = offer(
        candidates=("c" * limits.CANDIDATE_LENGTH,) * limits.CANDIDATE_COUNT, nat=NatReport(notes=("é" * 200,) * 8)
    )
    with pytest.raises(
        TooLong, match=r"its OFFER has \d+ characters sealed, and 24576 is the limit: use fewer addresses"
    ):
        agent().seal(message(long, "b"), "a")


def test_no_nonce_is_used_twice() -> None:
    exchange = Exchange()
    sealed = [exchange.offer, *(exchange.a.seal(message(CandidatePayload(session_id="s"), "b"), "a") for _ in range(9))]
    nonces = {base64.b64decode(each.payload.sealed or "")[:NONCE_SIZE] for each in sealed}
    assert len(nonces) == len(sealed)


# --- what is not -----------------------------------------------------------------------------------------------------


def refused(seal: RoomSeal, sealed: Directed, own_id: str) -> None:
    with pytest.raises(NotAuthentic) as caught:
        seal.open(sealed, own_id)
    assert SECRET.hex() not in str(caught.value)


def test_no_message_with_a_flipped_bit_is_opened() -> None:
    exchange = Exchange()
    data = base64.b64decode(exchange.offer.payload.sealed or "")
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(exchange.b, with_payload(exchange.offer, sealed=base64.b64encode(flipped).decode()), "b")
    exchange.b.open(exchange.offer, "b")


def test_no_message_that_is_cut_or_grown_is_opened() -> None:
    exchange = Exchange()
    data = base64.b64decode(exchange.offer.payload.sealed or "")
    for size in range(len(data)):
        refused(exchange.b, with_payload(exchange.offer, sealed=base64.b64encode(data[:size]).decode()), "b")
    refused(exchange.b, with_payload(exchange.offer, sealed=base64.b64encode(data + b"\0").decode()), "b")
    for text in ("", "!", "AAA", "ä", f"{exchange.offer.payload.sealed}\n"):
        refused(exchange.b, with_payload(exchange.offer, sealed=text), "b")
    exchange.b.open(exchange.offer, "b")


def test_no_mutation_of_an_answer_or_candidate_is_opened_and_the_true_one_still_is() -> None:
    exchange = Exchange()
    answered = exchange.answered()
    candidate = carry(exchange.b.seal(message(CandidatePayload(session_id="s", candidate="c"), "a"), "b"), "b")
    chance = random.Random(5)
    for true in (answered, candidate):
        data = base64.b64decode(true.payload.sealed or "")
        for _ in range(2000):
            mutated = bytearray(data)
            for _ in range(chance.randint(1, 4)):
                match chance.randrange(3):
                    case 0:
                        mutated[chance.randrange(len(mutated))] ^= chance.randint(1, 255)
                    case 1:
                        mutated.insert(chance.randrange(len(mutated)), chance.randrange(256))
                    case _:
                        del mutated[chance.randrange(len(mutated))]
            if mutated != data:
                refused(exchange.a, with_payload(true, sealed=base64.b64encode(mutated).decode()), "a")
        exchange.a.open(true, "a")


def test_a_message_in_the_clear_is_refused_in_a_room_with_a_secret() -> None:
    for payload in (offer(), answer(), CandidatePayload(session_id="s", candidate="c")):
        refused(agent(), carry(message(payload, "b"), "a"), "b")
    exchange = Exchange()
    exchange.answered()
    refused(exchange.a, carry(message(answer(), "a"), "b"), "a")


def test_nobody_opens_it_with_another_secret_or_in_another_room() -> None:
    exchange = Exchange()
    refused(agent(secret=bytes(16)), exchange.offer, "b")
    refused(agent(room="Den"), exchange.offer, "b")


def test_nothing_is_taken_as_of_another_sender_for_another_target_or_session() -> None:
    exchange = Exchange()
    refused(exchange.b, carry(exchange.offer, "c"), "b")
    refused(exchange.b, exchange.offer.model_copy(update={"peer_id": None}), "b")
    refused(exchange.b, exchange.offer, "c")
    refused(exchange.b, with_payload(exchange.offer, session_id="t"), "b")


def test_an_answer_of_one_session_does_not_open_in_another() -> None:
    exchange = Exchange()
    exchange.a.seal(message(offer("t"), "b"), "a")
    answered = exchange.answered()
    refused(exchange.a, with_payload(answered, session_id="t"), "a")
    refused(exchange.a, with_payload(answered, session_id="unheard of"), "a")
    exchange.a.open(answered, "a")


def test_a_message_of_one_kind_does_not_open_as_another() -> None:
    exchange = Exchange()
    answered = exchange.answered()
    sealed = answered.payload.sealed
    as_candidate = carry(CandidateMessage(target_id="a", payload=CandidatePayload(session_id="s", sealed=sealed)), "b")
    refused(exchange.a, as_candidate, "a")
    offered = exchange.offer.payload.sealed
    as_answer = Answer(target_id="b", payload=AnswerPayload(session_id="s", accepted=True, sealed=offered))
    refused(exchange.b, carry(as_answer, "a"), "b")


def test_an_agent_does_not_take_its_own_messages() -> None:
    exchange = Exchange()
    with pytest.raises(Repeated):
        exchange.a.open(carry(exchange.offer, "b"), "a")
    refused(exchange.a, carry(exchange.offer, "a"), "a")
    candidate = carry(exchange.a.seal(message(CandidatePayload(session_id="s"), "b"), "a"), "b")
    refused(exchange.a, candidate, "a")
    answered = exchange.answered()
    refused(exchange.b, carry(answered, "a"), "b")


def test_no_message_is_taken_twice_or_after_a_later_one() -> None:
    exchange = Exchange()
    answered = exchange.answered()
    with pytest.raises(Repeated):
        exchange.b.open(exchange.offer, "b")
    exchange.a.open(answered, "a")
    with pytest.raises(Repeated):
        exchange.a.open(answered, "a")
    first, second = (
        carry(exchange.b.seal(message(CandidatePayload(session_id="s", candidate=line), "a"), "b"), "b")
        for line in ("c1", "c2")
    )
    exchange.a.open(second, "a")
    with pytest.raises(Repeated):
        exchange.a.open(first, "a")


def test_a_forgery_does_not_use_up_the_place_of_the_true_message() -> None:
    exchange = Exchange()
    refused(exchange.b, with_payload(exchange.offer, sealed=base64.b64encode(bytes(64)).decode()), "b")
    assert exchange.b.open(exchange.offer, "b").payload.session_id == "s"


# --- members in the clear ---------------------------------------------------------------------------------------------


def test_accepted_counts_as_it_was_sealed_whatever_stands_in_the_clear() -> None:
    exchange = Exchange()
    answered = exchange.answered()
    opened = exchange.a.open(with_payload(answered, accepted=False), "a")
    assert isinstance(opened.payload, AnswerPayload)
    assert opened.payload.accepted


def test_what_a_server_adds_in_the_clear_is_not_taken_for_the_peers_word() -> None:
    exchange = Exchange()
    added = {
        "ice": IceCredentials(ufrag="evil", pwd="e" * 22),
        "candidates": ("evil",),
        "fingerprint": "e" * 64,
        "nonce": "e" * 32,
        "instance": "evil",
        "nat": NatReport(udp=False),
        "round": 999,
        "links": ("e" * 32,),
        "speaks": ("quic/9",),
        "end_of_candidates": True,
        "initiator_id": "evil",
    }
    opened = exchange.b.open(with_payload(exchange.offer, **added), "b")
    assert opened.payload == offer().model_copy(update={"initiator_id": None})


def test_the_endpoint_in_the_clear_is_the_servers_word() -> None:
    exchange = Exchange()
    elsewhere = Endpoint(ip="12.0.0.1", port=2)
    opened = exchange.b.open(with_payload(exchange.offer, endpoint=elsewhere), "b")
    assert opened.payload == offer().model_copy(update={"initiator_id": None, "endpoint": elsewhere})


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_the_refusal_of_an_offer_that_did_not_open_reaches_the_offerer_once() -> None:
    exchange = Exchange()
    refused(exchange.b, with_payload(exchange.offer, sealed=base64.b64encode(bytes(64)).decode()), "b")
    refusal = carry(exchange.b.seal(message(answer(accepted=False, reason="forged"), "a"), "b"), "b")
    opened = exchange.a.open(refusal, "a").payload
    assert isinstance(opened, AnswerPayload)
    assert (opened.accepted, opened.reason) == (False, "forged")
    with pytest.raises(Repeated):
        exchange.a.open(refusal, "a")


def test_a_refusal_by_who_does_not_know_the_secret_does_not_open() -> None:
    exchange = Exchange()
    stranger = agent(secret=bytes(16))
    refusal = carry(stranger.seal(message(answer(accepted=False), "a"), "b"), "b")
    refused(exchange.a, refusal, "a")


# --- members who know the secret and break the rules ------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"n":null}',
        b'{"n":"1"}',
        b'{"n":[]}',
        b'{"n":1.5}',
        b'{"n":true}',
        b'{"n":NaN}',
        b'{"n":' + b"9" * 5000 + b"}",
        b'{"n":1,"ice":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"n":1,"ice":' + b"[" * 9000 + b"]" * 9000 + b"}",
        b'{"n":1,"ice":{"ufrag":"x"}}',
        b'{"n":1,"instance":"\\ud800"}',
        b'{"n":1,"nat":{"foreign_rate":Infinity}}',
    ],
)
def test_what_a_member_seals_that_is_no_payload_is_refused(text: bytes) -> None:
    """Whoever has the secret may still be wrong: nothing but NotAuthentic comes out."""
    forged = Offer(target_id="b", payload=OfferPayload(session_id="s", sealed=sealed_by_hand(text)))
    refused(agent(), carry(forged, "a"), "b")


def test_another_implementation_of_the_documented_format_is_understood() -> None:
    text = b'{"n":1,"round":3,"unknown":{"later":"version"}}'
    sent = Offer(target_id="b", payload=OfferPayload(session_id="s", sealed=sealed_by_hand(text)))
    assert agent().open(carry(sent, "a"), "b").payload == OfferPayload(session_id="s", round=3)


def test_sealed_members_do_not_replace_the_session_they_came_in() -> None:
    sealed = sealed_by_hand(b'{"n":1,"session_id":"other"}')
    opened = agent().open(carry(Offer(target_id="b", payload=OfferPayload(session_id="s", sealed=sealed)), "a"), "b")
    assert opened.payload.session_id == "s"


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_an_offer_is_not_taken_twice_however_many_this_agent_has_made_since() -> None:
    exchange = Exchange()
    exchange.b.open(exchange.offer, "b")
    for number in range(SESSION_COUNT + 1):
        exchange.b.seal(message(offer(f"own{number}"), "a"), "b")
    with pytest.raises(Repeated):
        exchange.b.open(exchange.offer, "b")


def test_what_was_sealed_for_a_former_process_or_with_a_swapped_value_does_not_open() -> None:
    sealed = carry(agent().seal(message(offer(), "b"), "a"), "a")
    later = RoomSeal(SECRET, "den", entropy(), "1f" * 16, lambda _: FRESH)
    refused(later, sealed, "b")
    swapped = RoomSeal(SECRET, "den", entropy(), FRESH, lambda _: "1f" * 16)
    refused(agent(), carry(swapped.seal(message(offer(), "b"), "a"), "a"), "b")


def test_nothing_is_sealed_for_a_peer_that_shows_no_fresh_value_nor_taken_from_it() -> None:
    blind = RoomSeal(SECRET, "den", entropy(), FRESH, lambda _: None)
    with pytest.raises(NoFresh):
        blind.seal(message(offer(), "b"), "a")
    refused(blind, carry(agent().seal(message(offer(), "b"), "a"), "a"), "b")


def test_the_password_of_a_room_is_as_documented() -> None:
    hkdf = HKDF(SHA256(), length=32, salt=b"visavis/1 room", info="d\u00e9n".encode())
    expected = base64.urlsafe_b64encode(hkdf.derive(SECRET)).decode().rstrip("=")
    assert room_password(SECRET, "d\u00e9n") == expected
    assert len(expected) == 43
    assert room_password(SECRET, "den") != expected != room_password(bytes(16), "d\u00e9n")


def test_the_oldest_sessions_make_way() -> None:
    a, b = agent(), agent()
    sealed = [carry(a.seal(message(offer(f"s{number}"), "b"), "a"), "a") for number in range(SESSION_COUNT + 1)]
    for each in sealed:
        b.open(each, "b")
    with pytest.raises(Repeated):
        b.open(sealed[1], "b")
    answered = carry(b.seal(message(answer(sealed[-1].payload.session_id), "a"), "b"), "b")
    a.open(answered, "a")
    refused(a, carry(b.seal(message(answer("s0"), "a"), "b"), "b"), "a")


def test_keys_are_derived_as_the_rfc_has_it() -> None:
    for size in (0, 1, 100):
        hkdf = HKDF(SHA256(), length=32, salt=b"salt", info=b"i" * size)
        assert _derive(SECRET, b"salt", b"i" * size) == hkdf.derive(SECRET)
