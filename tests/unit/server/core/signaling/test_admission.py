"""Guesses at passwords, rooms by the hundred, and resume tokens that would lead around what a JOIN meets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.server_world import Message, World
from visavis_server.core.access.auth import Authorizer, make_room_token
from visavis_server.core.access.buckets import JOIN_BURST, JOIN_RATE, ROOM_BURST
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.guessing import FAILURE_BURST, KNOWN_TIME, NOTICE_COUNT
from visavis_server.core.access.rate import NETWORK_FACTOR, network_of
from visavis_server.core.signaling.rules import RESUME_GRACE
from visavis_server.core.signaling.tickets import KEY_SIZE, TicketSigner
from visavis_shared.closing import CloseCode
from visavis_shared.messages import KickPayload

SECRET = bytes(range(32))


@pytest.fixture
def world() -> World:
    return World(signer=TicketSigner([bytes(KEY_SIZE)]))


def join(world: World, peer_id: str, room_id: str = "r", address: str = "", **payload: Any) -> Message:
    """Connect if need be, join, and return the last message that this brings."""
    if peer_id not in world.hub.rooms.peers:
        world.connect(peer_id, address)
    world.send(peer_id, type="JOIN", room_id=room_id, payload=payload)
    return world.take(peer_id)[-1]


def owned(world: World) -> None:
    assert join(world, "owner", create={"password": "open"})["type"] == "ACK"


def guess(world: World, address: str, count: int, room_id: str = "r") -> list[str]:
    """Show wrong passwords, each on a connection of its own; return the codes."""
    codes = []
    for _ in range(count):
        peer_id = f"guesser {len(world.received)}"
        codes.append(join(world, peer_id, room_id, address, password="wrong")["payload"]["code"])
        if peer_id not in world.closed:
            world.disconnect(peer_id)
    return codes


def resume(world: World, token: str, address: str = "") -> Message:
    for messages in world.received.values():
        messages.clear()
    world.connect("fresh", address)
    world.send("fresh", type="RESUME", request_id="r1", payload={"token": token, "received": 0})
    return next(each for came in world.received.values() for each in came if each.get("request_id") == "r1")


def govern(world: World, **rules: Any) -> None:
    world.send("owner", type="ROOM", payload=rules)
    assert world.take("owner")[-1]["type"] == "ACK"


def reason(answer: Message) -> str:
    assert answer["type"] == "ERROR", answer
    return str(answer["payload"]["details"])


# --- guessing ---------------------------------------------------------------------------------------------------------


def test_beyond_the_tries_not_even_the_right_password_is_looked_at(world: World) -> None:
    owned(world)
    assert guess(world, "192.0.2.1", FAILURE_BURST + 1) == ["UNAUTHORIZED"] * FAILURE_BURST + ["RATE_LIMITED"]
    assert reason(join(world, "late", address="192.0.2.1", password="open")) == "limit: guesses"
    assert world.closed["late"][0] == CloseCode.TOO_MANY
    assert world.hub.refusals[Cause.GUESSES] == 2
    assert join(world, "elsewhere", address="203.0.113.1", password="open")["type"] == "ACK", "no budget of the room"


@pytest.mark.parametrize(
    ("address", "outside"),
    [("192.0.2.{}", "192.0.3.1"), ("2001:db8:0:{}::1", "2001:db8:1::1")],
)
def test_a_network_has_four_times_the_tries_of_an_address(world: World, address: str, outside: str) -> None:
    owned(world)
    codes = [code for number in range(5) for code in guess(world, address.format(number), FAILURE_BURST)]
    assert codes.count("UNAUTHORIZED") == NETWORK_FACTOR * FAILURE_BURST
    assert guess(world, outside, 1) == ["UNAUTHORIZED"]


def test_who_was_let_in_within_the_hour_is_not_kept_out_by_its_neighbours(world: World) -> None:
    owned(world)
    join(world, "member", address="192.0.2.200", password="open")
    world.request("member", type="LEAVE")
    for number in range(5):
        guess(world, f"192.0.2.{number}", FAILURE_BURST)
    assert join(world, "member", password="open")["type"] == "ACK"
    world.pass_time(KNOWN_TIME)
    world.pass_time(world.rules.empty_room_ttl)
    world.closed.clear()
    owned(world)
    for number in range(5):
        guess(world, f"192.0.2.{number}", FAILURE_BURST)
    assert reason(join(world, "later", address="192.0.2.200", password="open")) == "limit: guesses"


def test_being_let_in_somewhere_gives_no_tries_elsewhere(world: World) -> None:
    owned(world)
    join(world, "maker", "mine", "192.0.2.9", create={"password": "mine"})
    join(world, "friend", "mine", "192.0.2.7", password="mine")
    assert guess(world, "192.0.2.7", FAILURE_BURST + 1)[-1] == "RATE_LIMITED"
    assert reason(join(world, "again", address="192.0.2.7", password="open")) == "limit: guesses"


def test_a_room_that_is_guessed_at_is_counted_and_its_owner_told_once(world: World) -> None:
    owned(world)
    for number in range(3):
        guess(world, f"192.0.2.{number}", FAILURE_BURST)
    (notice,) = world.take("owner")
    assert (notice["type"], str(NOTICE_COUNT) in notice["payload"]["message"]) == ("NOTICE", True)
    refusals = world.hub.refusals
    assert (refusals[Cause.GUESSED_ROOM], refusals[Cause.WRONG_PASSWORD]) == (1, 3 * FAILURE_BURST)


def test_networks_of_addresses() -> None:
    assert network_of("192.0.2.1") == "192.0.2/24"
    assert network_of("20010db800000001/64") == network_of("20010db80000ffff/64") == "20010db80000/48"
    assert network_of("") == ""


# --- rooms ------------------------------------------------------------------------------------------------------------


def test_an_address_makes_so_many_rooms_at_once_and_others_theirs(world: World) -> None:
    world.connect("maker", "192.0.2.1")
    for number in range(ROOM_BURST):
        assert world.request("maker", type="JOIN", room_id=f"room {number}")["type"] == "ACK"
        world.now += 0.0001
    assert reason(join(world, "maker", "one more")) == "limit: room_rate"
    assert join(world, "maker", "room 0")["type"] == "ACK", "one that exists may be joined"
    assert join(world, "other", "one more", "203.0.113.1")["type"] == "ACK"
    world.now += 1
    assert join(world, "maker", "one a second")["type"] == "ACK"
    assert world.hub.refusals[Cause.ROOM_RATE] == 1


# --- RESUME -----------------------------------------------------------------------------------------------------------


def gone(world: World, peer_id: str, **payload: Any) -> str:
    """Join as a client that resumes, and be gone for too long; return its token."""
    answer = join(world, peer_id, resume=True, **payload)
    token = str(answer["payload"]["resume"]["token"])
    world.disconnect(peer_id)
    world.pass_time(RESUME_GRACE)
    return token


def test_a_lock_and_a_new_password_hold_for_who_was_gone(world: World) -> None:
    owned(world)
    token = gone(world, "a", password="open")
    govern(world, **{"locked": True})
    assert reason(resume(world, token)) == "the room is locked"
    world.disconnect("fresh")
    govern(world, **{"locked": False, "password": "new"})
    assert reason(resume(world, token)) == "the room has another password now"
    world.disconnect("fresh")
    govern(world, **{"password": "open"})
    assert resume(world, token)["peer_id"] == "a"


def test_who_has_a_connection_again_within_the_grace_stays(world: World) -> None:
    owned(world)
    token = str(join(world, "a", password="open", resume=True)["payload"]["resume"]["token"])
    world.disconnect("a")
    govern(world, **{"locked": True})
    assert resume(world, token)["peer_id"] == "a"


def test_nobody_resumes_into_a_room_that_was_closed(world: World) -> None:
    token = gone(world, "a")
    join(world, "b")
    world.perform(world.hub.governing.close_room("r", "over", world.now, world.now_ms) or [])
    assert reason(resume(world, token)) == "the room has been closed"
    assert world.hub.rooms.open == {}


def test_a_ban_is_remembered_beyond_the_room(world: World) -> None:
    token = gone(world, "a")
    world.now += 1
    join(world, "b", address="192.0.2.1")
    world.perform(world.hub.governing.kick("r", "b", KickPayload(ban=True), world.now, world.now_ms) or [])
    world.pass_time(world.rules.empty_room_ttl)
    assert world.hub.rooms.open == {}
    assert reason(resume(world, token, "192.0.2.1")) == "you are banned from the room"


def test_a_token_of_the_operators_is_asked_for_as_by_a_join(world: World) -> None:
    untold = gone(world, "a")
    world.hub.gate.authorizer = Authorizer([SECRET])
    assert reason(resume(world, untold)) == "this server asks for a token"
    world.disconnect("fresh")
    token = make_room_token(SECRET, "r", world.now_ms // 1000 + 60)
    told = gone(world, "b", token=token)
    world.start()
    world.hub.gate.authorizer = Authorizer([SECRET])
    assert resume(world, told)["peer_id"] == "b", "what it was allowed stands in the token"
    world.disconnect("b")
    world.start()
    world.hub.gate.authorizer = Authorizer([SECRET])
    world.now += 60
    assert reason(resume(world, told)) == "the token has expired"


def test_an_address_has_so_many_join_those_who_are_there_and_others_are_let_in(world: World) -> None:
    assert join(world, "member", "r", "203.0.113.1")["type"] == "ACK"
    for number in range(JOIN_BURST):
        assert join(world, f"n{number}", "r", "192.0.2.1")["type"] == "ACK"
        world.disconnect(f"n{number}")
    assert reason(join(world, "one more", "r", "192.0.2.1")) == "limit: join_rate"
    assert join(world, "friend", "r", "203.0.113.2")["type"] == "ACK"
    world.now += 1 / JOIN_RATE
    assert join(world, "one more", "r", "192.0.2.1")["type"] == "ACK"
    assert world.hub.refusals[Cause.JOIN_RATE] == 1
