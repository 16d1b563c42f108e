"""Rooms that belong to somebody: rules, kicks, bans, and their end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.server_world import Message, World
from visavis_server.core.access.guessing import FAILURE_BURST
from visavis_server.core.signaling.effects import Audit
from visavis_server.core.signaling.tickets import KEY_SIZE, TicketSigner
from visavis_shared.closing import CloseCode
from visavis_shared.messages import KickPayload

SIGNER = TicketSigner([bytes(KEY_SIZE)])


@pytest.fixture
def world() -> World:
    return World(signer=SIGNER)


def join(world: World, peer_id: str, room_id: str = "r", address: str = "", **payload: Any) -> Message:
    """Connect if need be, join, and return the answer."""
    if peer_id not in world.hub.rooms.peers:
        world.connect(peer_id, address)
    return world.request(peer_id, type="JOIN", room_id=room_id, payload=payload)


def owned(world: World, **terms: Any) -> None:
    """Let `owner` make a room with these rules."""
    assert join(world, "owner", create=terms)["type"] == "ACK"


def refusal(answer: Message) -> str:
    assert answer["payload"]["code"] == "UNAUTHORIZED", answer
    return str(answer["payload"].get("details", answer["payload"]["message"]))


def test_a_password_opens_the_room(world: World) -> None:
    owned(world, password="open")
    assert refusal(join(world, "a")) == "the room has a password"
    assert refusal(join(world, "a", password="wrong")) == "the password is wrong"
    assert join(world, "a", password="open")["type"] == "ACK"


def test_wrong_passwords_end_the_connection(world: World) -> None:
    owned(world, password="open")
    for _ in range(FAILURE_BURST):
        assert refusal(join(world, "a", password="guess"))
    world.send("a", type="JOIN", room_id="r", payload={"password": "guess"})
    assert world.closed["a"][0] == CloseCode.TOO_MANY


def test_a_locked_room_lets_only_its_owner_in(world: World) -> None:
    owned(world)
    answer = world.request("owner", type="ROOM", payload={"locked": True})
    assert answer["payload"] == {"room": {"capacity": 0, "locked": True}}
    assert refusal(join(world, "a")) == "the room is locked"
    world.request("owner", type="LEAVE")
    assert join(world, "owner")["type"] == "ACK"
    world.request("owner", type="ROOM", payload={"locked": False})
    assert join(world, "a")["type"] == "ACK"


def test_the_smaller_capacity_holds(world: World) -> None:
    owned(world, capacity=2)
    join(world, "a")
    full = join(world, "b")
    assert (full["payload"]["code"], full["payload"]["details"]) == ("ROOM_FULL", "max_peers: 2")
    world.take("owner")
    world.request("owner", type="ROOM", payload={"capacity": 0})
    assert join(world, "b")["type"] == "ACK"
    strict = World(room_capacity=1)
    assert join(strict, "owner", create={"capacity": 5})["type"] == "ACK"
    assert join(strict, "a")["payload"]["details"] == "max_peers: 1"


def test_a_room_that_exists_is_not_created_again(world: World) -> None:
    join(world, "a")
    assert refusal(join(world, "b", create={})) == "it exists already"
    assert world.hub.rooms.open["r"].charter is None


def test_a_room_ends_when_its_time_is_over(world: World) -> None:
    owned(world, ttl=30)
    join(world, "a")
    world.take("owner")
    assert world.request("owner", type="ROOM", payload={"capacity": 9})["payload"]["room"]["ttl"] == 30
    world.pass_time(29)
    assert world.take("a") == []
    world.pass_time(1)
    last = world.take("a")[-1]
    assert (last["type"], last["peer_id"], last["payload"]) == (
        "PEER_LEFT",
        "a",
        {"reason": "the time of the room is over"},
    )
    assert world.hub.rooms.open == {}
    assert join(world, "a")["seq"] == 1, "a new room of that name belongs to nobody"


def test_only_the_owner_governs(world: World) -> None:
    owned(world)
    join(world, "a")
    world.take("owner")
    answer = world.request("a", type="ROOM", payload={"locked": True})
    assert refusal(answer) == "only the owner of the room may do this"
    assert refusal(world.request("a", type="KICK", target_id="owner"))
    join(world, "public", "other")
    assert refusal(world.request("public", type="ROOM", payload={}))
    world.connect("nowhere")
    assert world.request("nowhere", type="KICK", target_id="a")["payload"]["code"] == "NOT_IN_ROOM"


def test_a_kick_is_told_to_all_and_why(world: World) -> None:
    owned(world)
    join(world, "a")
    join(world, "b")
    for name in ("owner", "a"):
        world.take(name)
    world.send("owner", type="KICK", target_id="a", request_id="k", payload={"reason": "noise"})
    left, ack = world.take("owner")
    assert (left["type"], left["peer_id"], ack["request_id"]) == ("PEER_LEFT", "a", "k")
    (told,) = world.take("a")
    assert (told["type"], told["peer_id"], told["payload"]) == ("PEER_LEFT", "a", {"reason": "noise"})
    assert [message["type"] for message in world.take("b")] == ["PEER_LEFT"]
    assert join(world, "a")["type"] == "ACK", "a kick is no ban"


@pytest.mark.parametrize("target_id", ["nobody", "owner", "elsewhere", ""])
def test_who_is_not_another_member_cannot_be_kicked(world: World, target_id: str) -> None:
    owned(world)
    join(world, "elsewhere", "other")
    answer = world.request("owner", type="KICK", target_id=target_id)
    assert answer["payload"]["code"] == "PEER_NOT_FOUND"


def test_a_ban_holds_for_the_address(world: World) -> None:
    owned(world)
    join(world, "a", address="2001:db8::1")
    world.send("owner", type="KICK", target_id="a", payload={"ban": True})
    assert world.take("a")[-1]["payload"] == {"reason": "banned"}
    assert refusal(join(world, "a")) == "you are banned from the room"
    assert refusal(join(world, "again", address="2001:db8::2")) == "you are banned from the room"
    assert join(world, "other", address="2001:db8:0:1::1")["type"] == "ACK"


def test_who_is_kicked_does_not_resume_into_the_room(world: World) -> None:
    owned(world)
    token = join(world, "a", resume=True)["payload"]["resume"]["token"]
    world.send("owner", type="KICK", target_id="a", payload={"ban": True})
    world.disconnect("a")
    world.connect("fresh")
    answer = world.request("fresh", type="RESUME", payload={"token": token, "received": 0})
    assert refusal(answer) == "the token has been used"


def test_who_is_away_can_be_kicked(world: World) -> None:
    owned(world)
    token = join(world, "a", resume=True)["payload"]["resume"]["token"]
    world.disconnect("a")
    world.take("owner")
    world.send("owner", type="KICK", target_id="a")
    assert [message["type"] for message in world.take("owner")] == ["PEER_LEFT", "ACK"]
    world.connect("fresh")
    answer = world.request("fresh", type="RESUME", payload={"token": token, "received": 0})
    assert refusal(answer) == "the token has been used"


def test_members_of_a_private_room_are_not_shown_to_strangers(world: World) -> None:
    owned(world, password="p")
    world.connect("stranger")
    assert refusal(world.request("stranger", type="DISCOVER", room_id="r"))
    world.request("owner", type="ROOM", payload={"password": ""})
    assert world.request("stranger", type="DISCOVER", room_id="r")["type"] == "PEER_LIST"


def test_the_operator_kicks_closes_and_tells_everybody(world: World) -> None:
    join(world, "a")
    join(world, "b")
    world.take("a")
    assert world.hub.governing.kick("r", "nobody", KickPayload(), world.now, world.now_ms) is None
    assert world.hub.governing.kick("nowhere", "a", KickPayload(), world.now, world.now_ms) is None
    effects = world.hub.governing.kick("r", "a", KickPayload(ban=True, reason="spam"), world.now, world.now_ms)
    assert effects is not None
    assert effects[0] == Audit("admin", "ban", "r", "peer a: spam")
    world.perform(effects)
    assert world.take("a")[-1]["payload"] == {"reason": "spam"}
    assert world.hub.governing.close_room("nowhere", "x", world.now, world.now_ms) is None
    world.perform(world.hub.governing.close_room("r", "over", world.now, world.now_ms) or [])
    assert world.take("b")[-1]["payload"] == {"reason": "over"}
    assert world.hub.rooms.open == {}
    world.perform(world.hub.governing.broadcast("restart at noon", world.now_ms))
    for name in ("a", "b"):
        assert world.take(name)[-1]["payload"] == {"message": "restart at noon"}


def test_governing_is_audited_without_secrets(world: World) -> None:
    owned(world)
    effects = world.hub.receive(
        "owner", json.dumps({"type": "ROOM", "payload": {"password": "geheim"}}).encode(), world.now, world.now_ms
    )
    assert effects[0] == Audit("owner", "room", "r", "password")
