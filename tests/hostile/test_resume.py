"""RESUME brings nobody in who could not join: not around a ban, a lock or a password, nor into a closed room."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from tests.hostile.clients import Clients, Signaling, clients
from tests.support.ws_raw import TIMEOUT

pytestmark = pytest.mark.timeout(60)

OWNER, EVIL, OTHER = "192.0.2.1", "198.51.100.1", "203.0.113.1"
ADMIN: Final = "the admin token of this test, 32 characters"
GRACE: Final = ("--resume-grace", "0.2")


async def _owned(here: Clients, **rules: object) -> tuple[Signaling, Signaling]:
    """Return the owner of a room, and another member of it that may resume."""
    owner = await here.joined(OWNER, "den", create=rules or {"capacity": 8})
    evil = await here.joined(EVIL, "den", resume=True, **({"password": rules["password"]} if rules else {}))
    await owner.hears("PEER_JOINED")
    return owner, evil


async def _comes_back(here: Clients, token: str, address: str = EVIL) -> str:
    """Show a token on a new connection; return what is wrong with it, empty if nothing."""
    client = await here.connect(address)
    answer = await client.resumes(token)
    return "" if answer["type"] == "ACK" else str(answer["payload"]["code"])


@pytest.mark.parametrize("away", [False, True])
async def test_not_around_a_ban(away: bool) -> None:
    async with clients() as here:
        owner, evil = await _owned(here)
        if away:
            evil.abort()
        owner.send(type="KICK", target_id=evil.peer_id, payload={"ban": True})
        await owner.hears("PEER_LEFT", peer_id=evil.peer_id)
        assert await _comes_back(here, evil.token) == "UNAUTHORIZED"
        assert await _comes_back(here, evil.token, OTHER) == "UNAUTHORIZED", "nor from another address"


async def test_not_around_a_ban_of_another_of_its_address_by_a_token_from_before_the_join() -> None:
    """The welcome's token names no room: the one in which its peer is counts."""
    async with clients() as here:
        owner, evil = await _owned(here)
        another = await here.joined(EVIL, "den")
        owner.send(type="KICK", target_id=another.peer_id, payload={"ban": True})
        await owner.hears("PEER_LEFT", peer_id=another.peer_id)
        evil.abort()
        for token in (evil.token, evil.welcome["payload"]["resume"]["token"]):
            assert await _comes_back(here, token) == "UNAUTHORIZED"


async def test_a_token_from_before_the_join_serves_who_has_not_got_its_answer() -> None:
    async with clients() as here:
        _, member = await _owned(here)
        member.abort()
        assert await _comes_back(here, member.welcome["payload"]["resume"]["token"]) == ""


@pytest.mark.parametrize("change", [{"locked": True}, {"password": "another"}])
async def test_not_around_a_lock_or_a_new_password_once_the_place_is_given_up(change: dict[str, object]) -> None:
    async with clients(*GRACE) as here:
        owner, evil = await _owned(here, password="old")
        evil.abort()
        await owner.hears("PEER_LEFT", peer_id=evil.peer_id)
        owner.send(type="ROOM", payload=change)
        await owner.hears("ACK")
        assert await _comes_back(here, evil.token) == "UNAUTHORIZED"


async def test_who_has_kept_its_place_is_not_shut_out_by_a_lock() -> None:
    async with clients() as here:
        owner, evil = await _owned(here)
        owner.send(type="ROOM", payload={"locked": True})
        await owner.hears("ACK")
        evil.abort()
        assert await _comes_back(here, evil.token) == ""


async def _close_room(port: int, room: str) -> int:
    body = json.dumps({"room_id": room, "reason": "closed"})
    lines = [
        "POST /api/admin/close HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Authorization: Bearer {ADMIN}",
        f"Content-Length: {len(body)}",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", body]).encode())
        async with asyncio.timeout(TIMEOUT):
            return int((await reader.readline()).split()[1])
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("away", [False, True])
async def test_not_into_a_room_that_the_operator_has_closed(tmp_path: Path, away: bool) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{ADMIN}\n")
    path.chmod(0o600)
    async with clients("--admin-token-file", str(path)) as here:
        owner, evil = await _owned(here)
        if away:
            evil.abort()
        assert await _close_room(here.server.port, "den") == 200
        await owner.hears("PEER_LEFT", peer_id=owner.peer_id)
        assert await _comes_back(here, evil.token) == "UNAUTHORIZED"
        client = await here.connect(OTHER)
        client.send(type="DISCOVER", room_id="den")
        assert (await client.receive())["payload"]["code"] == "ROOM_NOT_FOUND", "it is not made again"


async def test_a_token_that_was_used_and_one_that_is_twisted_open_nothing() -> None:
    async with clients() as here:
        owner, evil = await _owned(here)
        evil.abort()
        back = await here.connect(EVIL)
        answer = await back.resumes(evil.token)
        assert answer["peer_id"] == evil.peer_id
        back.send_frame(0xA, b"")  # a pong: the new token has arrived
        back.send(type="KEEP_ALIVE")
        await back.hears("ACK")
        assert await _comes_back(here, evil.token) == "UNAUTHORIZED", "used"
        fresh = answer["payload"]["resume"]["token"]
        assert await _comes_back(here, fresh[:-2] + ("AA" if fresh[-2:] != "AA" else "BB")) == "UNAUTHORIZED"
        assert await _comes_back(here, fresh + "A" * 4000) != ""
        owner.send(type="DISCOVER")
        listed = (await owner.hears("PEER_LIST"))["payload"]["peers"]
        assert {info["peer_id"] for info in listed} == {owner.peer_id, evil.peer_id}, "nobody was put out by it"
