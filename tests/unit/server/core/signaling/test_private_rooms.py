"""Private rooms: who gets in, who sees them, and what a restart changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.server_world import Message, World
from visavis_server.core.access.guessing import FAILURE_BURST, NOTICE_INTERVAL
from visavis_server.core.rest import views
from visavis_server.core.rest.admin import Admin
from visavis_server.core.signaling.tickets import KEY_SIZE, TicketSigner
from visavis_shared.closing import CloseCode
from visavis_shared.messages import KickPayload

RIGHT, WRONG = "the right password", "another password"


@pytest.fixture
def world() -> World:
    return World(signer=TicketSigner([bytes(KEY_SIZE)]))


def join(world: World, peer_id: str, shown: str | None = RIGHT, address: str = "", **payload: Any) -> Message:
    """Connect a client and return the answer to its JOIN; without a password of the open room."""
    if peer_id not in world.hub.rooms.peers:
        world.connect(peer_id, address)
    private = {} if shown is None else {"private": {"password": shown}}
    return world.request(peer_id, type="JOIN", room_id="den", payload=private | payload)


def members(ack: Message) -> list[str]:
    return [peer["peer_id"] for peer in ack["payload"]["peers"]]


def refusal(answer: Message) -> tuple[str, str]:
    return answer["payload"]["code"], answer["payload"]["details"]


def test_who_knows_the_password_meets_in_it_and_nobody_else_gets_in(world: World) -> None:
    assert members(join(world, "a")) == ["a"]
    assert members(join(world, "b")) == ["a", "b"]
    assert refusal(join(world, "c", WRONG)) == ("UNAUTHORIZED", "private: wrong password")
    assert [message["type"] for message in world.take("a")] == ["PEER_JOINED", "NOTICE"]


def test_the_open_room_of_the_same_name_is_another_one(world: World) -> None:
    join(world, "a")
    assert members(join(world, "b", None)) == ["b"]
    assert members(join(world, "c", None)) == ["b", "c"]
    assert members(join(world, "d")) == ["a", "d"]
    # one move from the open to the private room of that name, and back
    assert members(join(world, "c")) == ["a", "d", "c"]
    assert members(join(world, "c", None)) == ["b", "c"]
    assert join(world, "c", None)["payload"]["code"] == "ALREADY_IN_ROOM"


def test_it_counts_in_totals_and_shows_nowhere(world: World) -> None:
    join(world, "a")
    stats = json.loads(views.stats(world.hub.overview, 0))
    assert (stats["rooms"], stats["peers"]["without_room"]) == ({"total": 1, "total_peers": 1}, 0)
    assert json.loads(views.rooms(world.hub.overview)) == {"rooms": []}
    assert views.room(world.hub.overview, "den") is None
    world.connect("stranger")
    asked = world.request("stranger", type="DISCOVER", room_id="den")
    assert asked["payload"]["code"] == "ROOM_NOT_FOUND"
    assert members(world.request("a", type="DISCOVER", room_id="den")) == ["a"]


def test_nobody_of_another_room_reaches_its_members(world: World) -> None:
    join(world, "a")
    join(world, "b", None)
    answer = world.request("b", type="OFFER", target_id="a", payload={})
    assert answer["payload"]["code"] == "PEER_NOT_FOUND"


def test_it_belongs_to_nobody(world: World) -> None:
    join(world, "a")
    join(world, "b")
    world.take("a")
    for message in ({"type": "ROOM", "payload": {"locked": True}}, {"type": "KICK", "target_id": "b"}):
        assert world.request("a", **message)["payload"]["code"] == "UNAUTHORIZED"


def test_the_operator_sees_and_closes_it(world: World) -> None:
    join(world, "a")
    join(world, "b", None)
    admin = Admin(world.hub.overview, world.hub.governing, world.hub.gate, lambda: (), lambda: None)
    listed, _ = admin.perform("rooms", b"", world.now, world.now_ms)
    shown = [(room["id"], room["private"]) for room in json.loads(listed)["rooms"]]
    assert sorted(shown) == [("den", False), ("den", True)]
    kicked = world.hub.governing.kick("den", "a", KickPayload(), world.now, world.now_ms)
    assert kicked is not None
    closed = world.hub.governing.close_room("den", "over", world.now, world.now_ms)
    assert closed is not None
    world.perform([*kicked, *closed])
    assert world.hub.rooms.room_count == 0


def test_once_it_is_empty_another_password_makes_it_anew(world: World) -> None:
    join(world, "a")
    world.request("a", type="LEAVE")
    assert members(join(world, "b", WRONG)) == ["b"]
    assert refusal(join(world, "a")) == ("UNAUTHORIZED", "private: wrong password")
    assert world.hub.rooms.room_count == 1


def test_wrong_passwords_count_as_failures_of_their_address(world: World) -> None:
    join(world, "a")
    for _ in range(FAILURE_BURST):
        assert join(world, "thief", WRONG, address="198.51.100.7")["type"] == "ERROR"
    world.send("thief", type="JOIN", room_id="den", payload={"private": {"password": WRONG}})
    assert world.closed["thief"][0] == CloseCode.TOO_MANY


def test_members_are_told_of_attempts_once_a_minute_and_nothing_of_whose(world: World) -> None:
    join(world, "a")
    join(world, "b")
    world.take("a")

    def told(peer_id: str) -> list[str]:
        return [message["payload"]["message"] for message in world.take(peer_id) if message["type"] == "NOTICE"]

    attempt = "somebody has tried to come in with a wrong secret"
    join(world, "eve", WRONG, name="\x1b[2Jeve")
    assert (told("a"), told("b")) == ([attempt], [attempt])
    for _ in range(2):
        world.pass_time(NOTICE_INTERVAL / 2 - 1)
        for peer_id in ("a", "eve"):
            world.request(peer_id, type="DISCOVER", room_id="den")  # or they would be taken for gone
    join(world, "eve", WRONG)
    assert told("a") == []
    world.pass_time(2)
    join(world, "eve", WRONG)
    assert told("a") == [f"{attempt} (2 times since this was last said)"]


def test_a_restart_brings_it_back_with_its_password(world: World) -> None:
    token = join(world, "a", resume=True)["payload"]["resume"]["token"]
    world.start()
    world.connect("fresh")
    world.send("fresh", type="RESUME", payload={"token": token, "received": 0})
    assert members(world.take("a")[0]) == ["a"]
    assert views.room(world.hub.overview, "den") is None
    assert refusal(join(world, "thief", WRONG)) == ("UNAUTHORIZED", "private: wrong password")
    assert members(join(world, "b")) == ["a", "b"]


def test_a_token_of_one_room_does_not_open_another_one_of_its_name(world: World) -> None:
    token = join(world, "a", resume=True)["payload"]["resume"]["token"]
    world.start()
    join(world, "squatter", WRONG)
    world.connect("fresh")
    answer = world.request("fresh", type="RESUME", payload={"token": token, "received": 0})
    assert refusal(answer) == ("UNAUTHORIZED", "private: wrong password")


@pytest.mark.parametrize("more", [{"create": {}}, {"password": "x"}])
def test_it_is_no_room_with_rules_as_well(world: World, more: dict[str, Any]) -> None:
    answer = join(world, "a", **more)
    assert refusal(answer)[0] == "INVALID_MESSAGE"


def test_what_a_process_has_drawn_is_shown_to_the_members(world: World) -> None:
    drawn = "0123456789abcdef" * 2
    join(world, "a", fresh=drawn)
    ack = join(world, "b")
    assert [peer.get("fresh") for peer in ack["payload"]["peers"]] == [drawn, None]
    world.take("a")
    join(world, "c", fresh=drawn[::-1])
    (event,) = world.take("a")
    assert event["payload"]["fresh"] == drawn[::-1]


def test_the_room_is_told_why_a_member_is_gone(world: World) -> None:
    join(world, "a")
    for peer_id in ("leaves", "closes", "sleeps"):
        join(world, peer_id)
    for peer_id in world.hub.rooms.peers:
        world.take(peer_id)
    world.request("leaves", type="LEAVE")
    world.disconnect("closes")
    for _ in range(4):
        world.pass_time(world.rules.stale_timeout / 4)
        world.hub.edge.touch("a", world.now)
    gone = {message["peer_id"]: message["cause"] for message in world.take("a")}
    assert gone == {"leaves": "left", "closes": "closed", "sleeps": "silent"}


def test_who_is_kept_and_does_not_come_back_was_closed(world: World) -> None:
    join(world, "a")
    join(world, "b", resume=True)
    world.take("a")
    world.disconnect("b")
    world.hub.edge.touch("a", world.now + world.rules.resume_grace)
    world.pass_time(world.rules.resume_grace)
    assert [(each["type"], each["cause"]) for each in world.take("a")] == [("PEER_LEFT", "closed")]
