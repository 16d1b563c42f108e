"""core.signaling.room: what a peer is, apart from its connection."""

from __future__ import annotations

import json

from visavis_server.core.access.grants import Grants
from visavis_server.core.signaling.room import Peer, Room
from visavis_shared.messages import JoinPayload


def test_what_a_client_does_not_mention_again_stays() -> None:
    peer = Peer("a", 0.0)
    peer.take_description(JoinPayload(display_name="A", show_seen=True))
    peer.take_description(JoinPayload())
    peer.describe(joined_at=7)
    assert json.loads(peer.info) == {"peer_id": "a", "display_name": "A", "joined_at": 7}
    assert not peer.shows_seen, "that is asked for each time"


def test_a_ban_finds_a_peer_by_its_token_else_by_its_address() -> None:
    peer = Peer("a", 0.0, "192.0.2.1")
    assert peer.identity == "address 192.0.2.1"
    peer.grants = Grants((), subject="alice")
    assert peer.identity == "subject alice"


def test_members_stand_in_the_order_in_which_they_came() -> None:
    room = Room("r", 0, 0.0)
    peers = [Peer(peer_id, 0.0) for peer_id in ("b", "a", "c")]
    room.members.update({peer.peer_id: peer for peer in peers})
    assert room.peer_ids == ("b", "a", "c")
    assert room.others(peers[1]) == ("b", "c")
