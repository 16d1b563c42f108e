"""core.signaling.hub without a socket: what the seed's black box does not show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.server_world import WELCOME, World
from visavis_server.core.relay.relay import Forward, Relay, RelayRules
from visavis_server.core.signaling.edge import ServerFull
from visavis_server.core.signaling.effects import Send
from visavis_server.core.signaling.hub import Hub
from visavis_server.core.signaling.rules import Exposure, Rules
from visavis_shared.messages import WelcomePayload


@pytest.fixture
def world() -> World:
    return World()


def code_of(message: dict[str, object]) -> str:
    payload = message["payload"]
    assert isinstance(payload, dict)
    return str(payload["code"])


def test_defaults_are_the_originals_where_it_has_one() -> None:
    assert Rules() == Rules(0, 10_000, 10_000, 25.0, 60.0, 300.0, Exposure.SEED)


def test_a_join_is_one_step_with_the_ack_first(world: World) -> None:
    world.joined("a", "r")
    world.connect("b")
    effects = world.hub.receive("b", b'{"type":"JOIN","room_id":"r"}', world.now, world.now_ms)
    assert [effect.to for effect in effects if isinstance(effect, Send)] == [("b",), ("a",)]


def test_one_announcement_is_encoded_once_for_the_whole_room(world: World) -> None:
    for name in "abc":
        world.joined(name, "r")
    world.connect("d")
    effects = world.hub.receive("d", b'{"type":"JOIN","room_id":"r"}', world.now, world.now_ms)
    assert [effect.to for effect in effects if isinstance(effect, Send)] == [("d",), ("a", "b", "c")]


def test_a_move_tells_the_old_room_before_the_new_one(world: World) -> None:
    world.joined("old", "1")
    world.joined("new", "2")
    world.joined("mover", "1")
    effects = world.hub.receive("mover", b'{"type":"JOIN","room_id":"2"}', world.now, world.now_ms)
    assert [effect.to for effect in effects if isinstance(effect, Send)] == [("old",), ("mover",), ("new",)]


def test_members_are_listed_in_the_order_of_their_joins(world: World) -> None:
    for name in "cab":
        world.joined(name, "r")
    world.send("c", type="LEAVE")
    world.take("c")
    world.send("c", type="JOIN", room_id="r")
    (ack,) = world.take("c")
    assert [info["peer_id"] for info in ack["payload"]["peers"]] == ["a", "b", "c"]


def test_seq_counts_both_kinds_of_events_and_starts_at_one(world: World) -> None:
    world.connect("a")
    assert world.request("a", type="JOIN", room_id="r")["seq"] == 1
    world.joined("b", "r")
    world.send("b", type="LEAVE")
    assert [message["seq"] for message in world.take("a")] == [2, 3]
    assert world.request("a", type="DISCOVER")["seq"] == 3


def test_a_part_of_the_description_that_is_given_replaces_only_itself(world: World) -> None:
    world.connect("a")
    endpoint = {"ip": "192.0.2.1", "port": 5}
    world.request("a", type="JOIN", room_id="1", payload={"display_name": "A", "endpoint": endpoint})
    ack = world.request("a", type="JOIN", room_id="2", payload={"display_name": "B"})
    assert ack["payload"]["peers"] == [
        {"peer_id": "a", "display_name": "B", "endpoint": endpoint, "joined_at": world.now_ms}
    ]
    ack = world.request("a", type="JOIN", room_id="3", payload={"display_name": ""})
    assert ack["payload"]["peers"][0]["display_name"] == "B", "empty is as absent"


def test_a_refused_join_changes_nothing(world: World) -> None:
    world = World(room_capacity=1)
    world.joined("a", "full")
    world.joined("b", "mine")
    refused = world.request("b", type="JOIN", room_id="full", payload={"display_name": "new"})
    assert code_of(refused) == "ROOM_FULL"
    assert "display_name" not in world.request("b", type="DISCOVER")["payload"]["peers"][0]
    world.send("b", type="JOIN", room_id="other", payload={"endpoint": 5})
    assert code_of(world.take("b")[0]) == "INVALID_MESSAGE"
    assert set(world.hub.rooms.open) == {"full", "mine"}


def test_a_place_in_a_full_room_that_is_given_up_is_free(world: World) -> None:
    world = World(room_capacity=1)
    world.joined("a", "r")
    world.disconnect("a")
    world.joined("b", "r")


def test_the_limit_of_peers_refuses_connections_and_nothing_else() -> None:
    world = World(peer_limit=2)
    world.joined("a", "r")
    world.connect("b")
    with pytest.raises(ServerFull, match="2 connections"):
        world.hub.connect("c", WELCOME, world.now, world.now_ms)
    assert list(world.hub.rooms.peers) == ["a", "b"]
    world.disconnect("b")
    world.connect("c")


def test_at_the_limit_of_rooms_the_longest_empty_one_makes_way() -> None:
    world = World(room_limit=3)
    for peer_id, room_id in (("a", "1"), ("b", "2"), ("c", "3")):
        world.joined(peer_id, room_id)
    world.request("b", type="LEAVE")
    world.now += 1
    world.request("a", type="LEAVE")
    world.joined("d", "4")
    assert set(world.hub.rooms.open) == {"1", "3", "4"}


def test_at_the_limit_of_rooms_with_none_empty_a_new_one_is_refused() -> None:
    world = World(room_limit=1)
    world.joined("a", "1")
    world.connect("b")
    answer = world.request("b", type="JOIN", room_id="2")
    assert answer["payload"] == {
        "code": "ROOM_FULL",
        "message": "no space for another room",
        "details": "the server has its 1 rooms",
    }
    assert world.request("b", type="JOIN", room_id="1")["type"] == "ACK"


def test_an_empty_room_goes_when_its_time_is_over_and_not_before() -> None:
    world = World(empty_room_ttl=10)
    world.joined("a", "1")
    world.joined("b", "2")
    world.pass_time(5)
    world.request("a", type="LEAVE")
    world.pass_time(5)
    world.request("b", type="LEAVE")
    world.pass_time(4.9)
    assert set(world.hub.rooms.open) == {"1", "2"}
    world.pass_time(0.1)
    assert set(world.hub.rooms.open) == {"2"}
    world.pass_time(5)
    assert not world.hub.rooms.open


def test_a_room_that_is_entered_again_is_empty_no_more() -> None:
    world = World(empty_room_ttl=10)
    world.joined("a", "1")
    world.request("a", type="LEAVE")
    world.pass_time(9)
    assert world.request("a", type="JOIN", room_id="1")["seq"] == 3, "the room is the same one"
    world.pass_time(9)
    assert set(world.hub.rooms.open) == {"1"}


def test_a_peer_is_stale_only_after_the_whole_timeout() -> None:
    world = World(stale_timeout=60)
    world.joined("a", "r")
    world.joined("b", "r")
    world.pass_time(59)
    world.hub.edge.touch("a", world.now)
    world.take("a")
    world.pass_time(1)
    assert world.closed == {"b": (1011, "no traffic for 60 s")}
    assert [(message["type"], message["peer_id"]) for message in world.take("a")] == [("PEER_LEFT", "b")]
    assert list(world.hub.rooms.peers) == ["a"]


def test_a_whole_room_may_go_stale_at_once(world: World) -> None:
    world.joined("a", "r")
    world.joined("b", "r")
    world.pass_time(60)
    assert set(world.closed) == {"a", "b"}
    assert not world.hub.rooms.open["r"].members


def test_every_peer_is_pinged_once_an_interval_whatever_it_sends() -> None:
    world = World(ping_interval=25)
    world.connect("a")
    world.pass_time(5)
    world.connect("b")
    for _ in range(14):
        world.pass_time(5)
        world.send("a", type="KEEP_ALIVE")
        world.send("b", type="KEEP_ALIVE")
    assert world.pinged == ["a", "b", "a", "b", "a"]


def test_disconnecting_twice_is_as_once(world: World) -> None:
    world.joined("a", "r")
    world.joined("b", "r")
    world.take("a")
    world.disconnect("b")
    world.disconnect("b")
    assert len(world.take("a")) == 1


def test_a_failure_inside_is_reported_and_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.connect("a")
    error = RuntimeError("a bug")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setitem(world.hub.handlers, "JOIN", fail)
    answer = world.request("a", type="JOIN", room_id="r", request_id="q")
    assert (code_of(answer), answer["request_id"]) == ("INTERNAL_ERROR", "q")
    assert world.reports == [error]
    assert world.request("a", type="KEEP_ALIVE")["type"] == "ACK"


def test_bad_utf8_ends_a_text_and_is_refused_in_binary(world: World) -> None:
    world.joined("a", "r")
    world.joined("b", "r")
    world.take("a")
    world.send_bytes("b", b"\xff", text=False)
    assert world.take("b")[0]["payload"]["message"] == "invalid JSON"
    world.send_bytes("b", b"\xff")
    assert world.closed == {"b": (1007, "invalid UTF-8")}
    assert world.take("a")[0]["type"] == "PEER_LEFT"


def test_a_forwarded_message_is_written_with_its_payload_untouched(world: World) -> None:
    world.joined("a", "r")
    world.joined("b", "r")
    payload = b'{"z" :1e400, "a":"\\u003c/","a":[ ]}'
    data = b'{"payload":' + payload + b',"target_id":"a","type":"CANDIDATE","request_id":"\\"\xc3\xa9"}'
    (effect,) = world.hub.receive("b", data, world.now, world.now_ms)
    expected = (
        b'{"type":"CANDIDATE","peer_id":"b","target_id":"a","payload":'
        + payload
        + b',"timestamp":%d,"request_id":"\\"\xc3\xa9"}' % world.now_ms
    )
    assert effect == Send(("a",), expected)


def test_a_payload_may_be_nested_64_deep_and_no_deeper(world: World) -> None:
    world.joined("a", "r")
    world.joined("b", "r")
    world.take("a")
    for depth, accepted in ((64, True), (65, False)):
        payload = '{"x":' * (depth - 1) + "{}" + "}" * (depth - 1)
        world.send_bytes("b", f'{{"type":"OFFER","target_id":"a","payload":{payload}}}'.encode())
        assert bool(world.take("a")) is accepted
        assert bool(world.take("b")) is not accepted


def test_text_of_clients_cannot_break_out_of_a_message(world: World) -> None:
    """Names, room ids and request ids are the only texts of clients that the server writes."""
    nasty = '","peer_id":"spoof","x":"\\'
    world.joined("a", nasty)
    world.connect("b")
    world.send("b", type="JOIN", room_id=nasty, request_id=nasty, payload={"display_name": nasty})
    (ack,) = world.take("b")
    assert (ack["peer_id"], ack["room_id"], ack["request_id"]) == ("b", nasty, nasty)
    (announced,) = world.take("a")
    assert (announced["peer_id"], announced["payload"]["display_name"]) == ("b", nasty)


def test_records_show_their_state(world: World) -> None:
    world.joined("a", "r")
    assert repr(world.hub.rooms.peers["a"]) == "<Peer a in <Room 'r' 1 members seq 1>>"


def test_hidden_rooms_are_hidden_also_from_who_is_in_another(world: World) -> None:
    world = World(exposure=Exposure.COUNTS)
    world.joined("a", "1")
    world.joined("b", "2")
    assert code_of(world.request("a", type="DISCOVER", room_id="2")) == "UNAUTHORIZED"
    assert code_of(world.request("a", type="DISCOVER", room_id="3")) == "UNAUTHORIZED"
    assert world.request("a", type="DISCOVER", room_id="1")["type"] == "PEER_LIST"


def test_all_eight_codes_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(room_capacity=1, exposure=Exposure.MEMBERS)
    world.joined("a", "r")
    world.connect("b")
    answers = [
        world.request("b", type="NOPE"),
        world.request("b", type="OFFER", target_id="x", payload={}),
        world.request("b", type="LEAVE"),
        world.request("a", type="JOIN", room_id="r"),
        world.request("b", type="JOIN", room_id="r"),
        world.request("b", type="DISCOVER", room_id="r"),
    ]
    seed = World()
    seed.connect("c")
    answers.append(seed.request("c", type="DISCOVER", room_id="nope"))
    monkeypatch.setitem(seed.hub.handlers, "LEAVE", lambda *_: json.loads("{"))
    answers.append(seed.request("c", type="LEAVE"))
    assert [code_of(answer) for answer in answers] == [
        "INVALID_MESSAGE",
        "PEER_NOT_FOUND",
        "NOT_IN_ROOM",
        "ALREADY_IN_ROOM",
        "ROOM_FULL",
        "UNAUTHORIZED",
        "ROOM_NOT_FOUND",
        "INTERNAL_ERROR",
    ]


def test_who_asks_for_it_is_seen_by_those_it_offers_to(world: World) -> None:
    for name, shows in (("a", True), ("b", None)):
        world.connect(name, address=f"192.0.2.{ord(name)}")
        world.request(name, type="JOIN", room_id="r", payload={"show_seen": shows} if shows else {})
    world.take("a")
    payload = {"session_id": "s", "seen": "203.0.113.9"}
    for sender, target in (("a", "b"), ("b", "a")):
        for kind in ("OFFER", "ANSWER", "CANDIDATE"):
            world.send(sender, type=kind, target_id=target, payload=payload, seen="203.0.113.9")
    assert [message.get("seen") for message in world.take("b")] == ["192.0.2.97", "192.0.2.97", None]
    assert [message.get("seen") for message in world.take("a")] == [None, None, None]


@pytest.mark.parametrize(
    ("payload", "opens"),
    [
        ({"session_id": "s", "accepted": True}, True),
        ({"session_id": "s"}, True),
        ({"session_id": "s", "accepted": False}, False),
    ],
)
def test_an_answer_that_refuses_does_not_open_the_relay(payload: dict[str, Any], opens: bool) -> None:
    relay = Relay(RelayRules())
    hub = Hub(Rules(), relay)
    for peer_id in ("aa" * 8, "bb" * 8):
        hub.connect(peer_id, WelcomePayload(message="connected"), 0.0, 0)
        relay.admit(peer_id, peer_id)
        hub.receive(peer_id, b'{"type":"JOIN","room_id":"r"}', 0.0, 0)
        relay.connect(peer_id, "192.0.2.1", 0.0)
    for sender, target, kind in (("aa" * 8, "bb" * 8, "OFFER"), ("bb" * 8, "aa" * 8, "ANSWER")):
        message = {"type": kind, "target_id": target, "payload": payload}
        hub.receive(sender, json.dumps(message).encode(), 0.0, 0)
    assert isinstance(relay.forward("aa" * 8, bytes.fromhex("bb" * 8) + b"x", 0.0), Forward) is opens
