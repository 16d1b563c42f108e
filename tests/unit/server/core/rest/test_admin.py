"""core.rest.admin: the operator's requests, without HTTP."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from tests.support.server_world import World
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.guessing import FAILURE_BURST
from visavis_server.core.rest.admin import COMMANDS, Admin, AdminRefused
from visavis_server.core.signaling.effects import Audit

HERE = "192.0.2.1"
TOKEN = "an operator's"


@pytest.fixture
def world() -> World:
    return World()


def new_admin(world: World, stopped: list[str] | None = None) -> Admin:
    def stop() -> None:
        assert stopped is not None
        stopped.append("asked")

    return Admin(world.hub.overview, world.hub.governing, world.hub.gate, lambda: (TOKEN,), stop)


def status(admin: Admin, token: str) -> HTTPStatus:
    with pytest.raises(AdminRefused) as caught:
        admin.authorize(token, HERE, 0.0, 0)
    return caught.value.status


def test_wrong_tokens_are_counted_and_in_the_end_not_looked_at(world: World) -> None:
    admin = new_admin(world)
    assert status(admin, "") is HTTPStatus.UNAUTHORIZED
    admin.authorize(TOKEN, HERE, 0.0, 0)
    assert [status(admin, "wrong") for _ in range(FAILURE_BURST)] == [HTTPStatus.UNAUTHORIZED] * FAILURE_BURST
    assert status(admin, TOKEN) is HTTPStatus.TOO_MANY_REQUESTS
    assert world.hub.refusals == {Cause.WRONG_TOKEN: FAILURE_BURST, Cause.GUESSES: 1}


def test_the_list_shows_members_rules_and_who_is_away(world: World) -> None:
    world.connect("a")
    world.request("a", type="JOIN", room_id="r", payload={"display_name": "A", "create": {"capacity": 3}})
    answer, effects = new_admin(world).perform("rooms", b"", world.now, world.now_ms)
    (room,) = json.loads(answer)["rooms"]
    assert (room["id"], room["private"], room["owner_id"], room["rules"]["capacity"]) == ("r", False, "a", 3)
    (peer,) = room["peers"]
    assert (peer["peer_id"], peer["display_name"], peer["away"], peer["subject"]) == ("a", "A", False, "")
    assert effects == []


def test_commands_are_audited_and_what_is_not_there_is_said(world: World) -> None:
    stopped: list[str] = []
    admin = new_admin(world, stopped)
    world.joined("a", "r")
    bodies = {
        "broadcast": b'{"message":"soon"}',
        "kick": b'{"room_id":"r","peer_id":"a"}',
        "close": b'{"room_id":"r","reason":"over"}',
        "drain": b"{}",
    }
    assert bodies.keys() == COMMANDS.keys() - {"rooms"}
    for command, body in bodies.items():
        answer, effects = admin.perform(command, body, world.now, world.now_ms)
        assert json.loads(answer) == {"done": True}
        assert [each.action for each in effects if isinstance(each, Audit)] == [command]
    assert stopped == ["asked"]
    for command in ("kick", "close"):
        with pytest.raises(AdminRefused) as caught:
            admin.perform(command, bodies[command], world.now, world.now_ms)
        assert caught.value.status is HTTPStatus.NOT_FOUND


def test_a_body_that_is_wrong_is_named(world: World) -> None:
    with pytest.raises(AdminRefused, match="message: Field required") as caught:
        new_admin(world).perform("broadcast", b"{}", world.now, world.now_ms)
    assert caught.value.status is HTTPStatus.BAD_REQUEST
