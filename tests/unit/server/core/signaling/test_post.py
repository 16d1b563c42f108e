"""core.signaling.post: what a step sends, and what of it is kept."""

from __future__ import annotations

import json

from visavis_server.core.signaling.counts import Counts
from visavis_server.core.signaling.effects import Send
from visavis_server.core.signaling.mailbox import Mailbox, Space
from visavis_server.core.signaling.post import Post
from visavis_server.core.signaling.room import Peer, Room
from visavis_shared.errors import ErrorCode, RemoteProtocolError


def kept_peer(space: Space) -> Peer:
    peer = Peer("a", 0.0)
    peer.mailbox = Mailbox(space, "")
    return peer


def test_a_step_ends_with_its_effects_in_order() -> None:
    post, peer = Post(Counts()), Peer("a", 0.0)
    post.send(peer, b"1")
    post.send(peer, b"2")
    assert post.take() == [Send(("a",), b"1"), Send(("a",), b"2")]
    assert post.take() == []


def test_what_is_sent_to_who_may_be_away_is_kept_for_it_too() -> None:
    space = Space()
    post, peer, room = Post(Counts()), kept_peer(space), Room("r", 0, 0.0)
    assert peer.mailbox is not None
    room.kept["a"] = peer.mailbox
    post.send(peer, b"reply")
    post.announce(room, (), b"event")
    assert space.used == len(b"reply") + len(b"event")
    assert post.take() == [Send(("a",), b"reply")], "nobody is there to hear of the event"


def test_a_refusal_is_counted_by_its_code() -> None:
    counts = Counts()
    post = Post(counts)
    post.refuse(Peer("a", 0.0), RemoteProtocolError(ErrorCode.ROOM_FULL, "full", "why"), 7, "q")
    (effect,) = post.take()
    assert isinstance(effect, Send)
    assert json.loads(effect.data) == {
        "type": "ERROR",
        "payload": {"code": "ROOM_FULL", "message": "full", "details": "why"},
        "timestamp": 7,
        "request_id": "q",
    }
    assert counts.errors == {ErrorCode.ROOM_FULL: 1}
