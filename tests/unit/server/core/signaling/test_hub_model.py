"""The hub against a model that fits on a page, driven by hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.support.server_world import World

CAPACITY = 3
ROOMS = st.sampled_from(["x", "y", "z"])
Message = dict[str, Any]


class HubMachine(RuleBasedStateMachine):
    """Clients connect, join, leave, offer and vanish.

    The model is where each peer is, and the order in which they came. Besides, every simulated client keeps the
    membership of its room from nothing but the messages it was sent: at all times that must be the truth.
    """

    peers = Bundle("peers")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(room_capacity=CAPACITY, stale_timeout=60, empty_room_ttl=100)
        self.rooms: dict[str, list[str]] = {}
        """The model: members in the order of their joins."""
        self.room_of: dict[str, str | None] = {}
        self.views: dict[str, tuple[str, list[str], int]] = {}
        """What each member knows: its room, the members, and the last seq."""
        self.count = 0

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(target=peers)
    def connect(self) -> str:
        self.count += 1
        peer_id = f"{self.count:016x}"
        self.world.connect(peer_id)
        self.room_of[peer_id] = None
        return peer_id

    @rule(peer_id=peers, room_id=ROOMS)
    def join(self, peer_id: str, room_id: str) -> None:
        if peer_id not in self.room_of:
            return
        self.world.send(peer_id, type="JOIN", room_id=room_id, request_id="q")
        answer = self.answer(peer_id)
        if self.room_of[peer_id] == room_id:
            assert answer["payload"]["code"] == "ALREADY_IN_ROOM"
        elif len(self.rooms.get(room_id, [])) >= CAPACITY:
            assert answer["payload"]["code"] == "ROOM_FULL"
        else:
            self.depart(peer_id)
            self.rooms.setdefault(room_id, []).append(peer_id)
            self.room_of[peer_id] = room_id
            assert answer["type"] == "ACK"
            listed = [info["peer_id"] for info in answer["payload"]["peers"]]
            assert listed == self.rooms[room_id]
            self.views[peer_id] = (room_id, listed, answer["seq"])

    @rule(peer_id=peers)
    def leave(self, peer_id: str) -> None:
        if peer_id not in self.room_of:
            return
        self.world.send(peer_id, type="LEAVE", request_id="q")
        answer = self.answer(peer_id)
        if self.room_of[peer_id] is None:
            assert answer["payload"]["code"] == "NOT_IN_ROOM"
        else:
            assert answer["type"] == "ACK"
            self.depart(peer_id)

    @rule(peer_id=peers, room_id=st.none() | ROOMS)
    def discover(self, peer_id: str, room_id: str | None) -> None:
        if peer_id not in self.room_of:
            return
        self.world.send(peer_id, type="DISCOVER", room_id=room_id, request_id="q")
        answer = self.answer(peer_id)
        asked = room_id or self.room_of[peer_id]
        if asked is None:
            assert answer["payload"]["code"] == "NOT_IN_ROOM"
        elif asked not in self.rooms:
            assert answer["payload"]["code"] == "ROOM_NOT_FOUND"
        else:
            assert [info["peer_id"] for info in answer["payload"]["peers"]] == self.rooms[asked]
            if asked == self.room_of[peer_id]:
                assert answer["seq"] == self.views[peer_id][2], "a list and the events say the same"

    @rule(source=peers, to=peers)
    def offer(self, source: str, to: str) -> None:
        if source not in self.room_of:
            return
        self.world.send(source, type="OFFER", target_id=to, payload={"from": source}, request_id="q")
        if to == source:
            assert self.answer(source)["payload"]["code"] == "INVALID_MESSAGE"
        elif to not in self.room_of or self.room_of[to] != self.room_of[source]:
            assert self.answer(source)["payload"]["code"] == "PEER_NOT_FOUND"
        else:
            got = self.answer(to)
            assert (got["type"], got["peer_id"], got["payload"]) == ("OFFER", source, {"from": source})

    @rule(peer_id=consumes(peers))
    def vanish(self, peer_id: str) -> None:
        if peer_id not in self.room_of:
            return
        self.world.disconnect(peer_id)
        self.forget(peer_id)

    @rule(seconds=st.integers(1, 40))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds)
        for peer_id in self.world.closed.keys() & self.room_of.keys():
            self.forget(peer_id)
        self.rooms = {
            room_id: members for room_id, members in self.rooms.items() if room_id in self.world.hub.rooms.open
        }

    @rule(peer_id=peers)
    def keep_alive(self, peer_id: str) -> None:
        if peer_id in self.room_of:
            self.world.send(peer_id, type="KEEP_ALIVE", request_id="q")
            assert self.answer(peer_id)["type"] == "ACK"

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def answer(self, peer_id: str) -> Message:
        """Return the one message with our request_id; the others are room events for `views_are_true`."""
        mine = [message for message in self.world.received[peer_id] if message.get("request_id") == "q"]
        assert len(mine) == 1
        self.world.received[peer_id].remove(mine[0])
        return mine[0]

    def depart(self, peer_id: str) -> None:
        room_id = self.room_of[peer_id]
        if room_id is not None:
            self.rooms[room_id].remove(peer_id)
            self.room_of[peer_id] = None
            del self.views[peer_id]

    def forget(self, peer_id: str) -> None:
        self.depart(peer_id)
        del self.room_of[peer_id]
        self.world.take(peer_id)

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def views_are_true(self) -> None:
        for peer_id in self.room_of:
            for message in self.world.take(peer_id):
                room_id, members, seq = self.views[peer_id]
                assert message["room_id"] == room_id, "only the own room's events come in"
                assert message["seq"] == seq + 1, "no event is missed or repeated"
                if message["type"] == "PEER_JOINED":
                    assert message["peer_id"] not in members, "listed or announced, never both"
                    members.append(message["peer_id"])
                else:
                    assert message["type"] == "PEER_LEFT"
                    members.remove(message["peer_id"])
                self.views[peer_id] = (room_id, members, seq + 1)
        for peer_id, (room_id, members, _) in self.views.items():
            assert self.room_of[peer_id] == room_id
            assert members == self.rooms[room_id]

    @invariant()
    def the_hub_agrees_with_the_model(self) -> None:
        hub = self.world.hub
        assert hub.rooms.peers.keys() == self.room_of.keys()
        assert hub.edge.connection_count == len(hub.rooms.peers)
        assert {room_id: list(room.members) for room_id, room in hub.rooms.open.items()} == self.rooms
        empty = {room_id for room_id, members in self.rooms.items() if not members}
        assert {room.room_id for room in hub.rooms.empty} == empty


HubMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHub = HubMachine.TestCase
