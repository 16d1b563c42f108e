"""core.signaling.replies: what is spliced from parts is JSON of the protocol, whatever the texts in it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from visavis_server.core.signaling import replies
from visavis_server.core.signaling.room import Peer, Room
from visavis_shared.errors import ErrorCode
from visavis_shared.messages import (
    Departure,
    JoinPayload,
    ResumeOffer,
    RoomTerms,
    WelcomePayload,
    decode_server_message,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40)
"""What may be a display name: no white space at its ends, no control character."""
OFFER = ResumeOffer(token="t", grace=20.0)


def populated(room_id: str, name: str) -> tuple[Peer, Room]:
    peer, room = Peer("aa" * 8, 0.0), Room(room_id, 0, 0.0)
    peer.take_description(JoinPayload.model_construct(display_name=name))
    peer.describe(joined_at=7)
    peer.room = room
    room.members[peer.peer_id] = peer
    return peer, room


@given(TEXTS, NAMES, TEXTS)
def test_every_reply_is_json_and_its_texts_are_those_that_were_put_in(room_id: str, name: str, request_id: str) -> None:
    peer, room = populated(room_id, name)
    lists = [
        replies.joined(peer, room, 1, request_id, OFFER, b"[]"),
        replies.peer_list(peer, room, 1, request_id),
        replies.resumed(peer, OFFER, gap=True, taken=2, seq=3, now_ms=1, request_id=request_id),
    ]
    for data in lists:
        message = json.loads(data)
        assert (message["room_id"], message["request_id"]) == (room_id, request_id)
        assert message["payload"]["peers"][0]["display_name"] == name
    assert json.loads(replies.peer_joined(peer, room, 1))["payload"]["display_name"] == name
    assert json.loads(replies.expelled("aa", room, name, 1))["payload"] == {"reason": name}
    assert json.loads(replies.notice(name, 1))["payload"] == {"message": name}
    assert json.loads(replies.error(ErrorCode.ROOM_FULL, name, "", 1, request_id))["payload"]["message"] == name


def test_every_reply_is_a_message_that_clients_read() -> None:
    peer, room = populated("r", "A")
    for data in (
        replies.welcome("aa", WelcomePayload(message="connected"), 1),
        replies.joined(peer, room, 1, None),
        replies.resumed(peer, OFFER, gap=False, taken=None, seq=0, now_ms=1, request_id=None),
        replies.refreshed(OFFER, 1),
        replies.go_away(500, 1),
        replies.peer_list(peer, room, 1, "q", b"[]"),
        replies.left("aa", 1, "q"),
        replies.alive("aa", 1, None),
        replies.peer_joined(peer, room, 1),
        replies.peer_left("aa", room, Departure.SILENT, 1),
        replies.expelled("aa", room, "noise", 1),
        replies.governed("aa", room, RoomTerms(locked=True), 1, "q"),
        replies.notice("soon", 1),
        replies.error(ErrorCode.ROOM_FULL, "full", "", 1, None),
    ):
        decode_server_message(data)


def test_a_payload_is_forwarded_byte_for_byte() -> None:
    payload = b'{ "x" : 1.0,"y":"\\u00e9" }'
    data = replies.forwarded("OFFER", "aa", "bb", payload, 1, "q", "192.0.2.1")
    assert b'"payload":' + payload + b"," in data
    assert json.loads(data)["seen"] == "192.0.2.1"
    assert "seen" not in json.loads(replies.forwarded("OFFER", "aa", "bb", payload, 1, None))
