"""RESUME, drain and restart over real connections."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.conditions import until
from tests.support.resuming import OPENED, connect, cut_all, members
from tests.support.server_running import http, running_server, server_process
from tests.support.ws_raw import RawClient, upgrade_request
from visavis_server.app import SignalingServer
from visavis_server.setup.keys import KeyFileError
from visavis_server.setup.settings import Settings

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(autouse=True)
async def nothing_stays_open() -> AsyncIterator[None]:
    yield
    await cut_all()


async def test_all_connections_are_cut_and_nobody_notices() -> None:
    """Ids, order, no PEER_LEFT; what was sent to those away comes once."""
    async with running_server() as server:
        rooms = await members(server.port, rooms=10, size=4)
        everybody = [member for room in rooms for member in room]
        ids = [member.peer_id for member in everybody]
        for room in rooms:
            for member in room[1:]:
                member.cut()
        await until(lambda: server.hub.rooms.resumption is not None and len(server.hub.rooms.resumption.away) == 30)
        for room in rooms:
            for number in range(5):
                for target in room[1:]:
                    room[0].offer(target, number)
            await room[0].settle()
            room[0].cut()
        for member in everybody:
            await member.resume()
        for room in rooms:
            for member in room:
                await member.settle()
            expected = [f"{room[0].peer_id}-{number}" for number in range(5)]
            assert [member.offers() for member in room] == [[], expected, expected, expected]
        assert [member.peer_id for member in everybody] == ids
        assert not any(member.events() for member in everybody)
        assert not any(message["type"] == "ERROR" for member in everybody for message in member.messages)


async def test_a_newer_connection_wins_and_the_older_one_is_closed() -> None:
    async with running_server() as server:
        ((member, other),) = await members(server.port, rooms=1, size=2)
        first = member.client
        assert first is not None
        await member.resume()
        closed = await first.closed()
        assert (closed.code, closed.reason) == (4009, "resumed on another connection")
        other.offer(member, 1)
        await other.settle()
        await member.settle()
        assert member.offers() == [f"{other.peer_id}-1"]
        assert other.events() == []


async def test_a_client_that_says_goodbye_is_gone_at_once() -> None:
    async with running_server() as server:
        ((member, other),) = await members(server.port, rooms=1, size=2)
        assert member.client is not None
        member.client.send_frame(0x8, (1000).to_bytes(2))
        await member.client.ended()
        await other.settle()
        assert [event["type"] for event in other.events()] == ["PEER_LEFT"]


async def test_resume_grace_0_keeps_nobody() -> None:
    async with running_server(resume_grace=0) as server:
        client = await connect(server.port)
        ack = await client.request(type="JOIN", room_id="r", payload={"resume": True})
        assert "resume" not in ack["payload"]
        client.abort()
        await until(lambda: not server.hub.rooms.peers)


async def test_a_killed_server_gives_everybody_their_ids_back(tmp_path: Path) -> None:
    key_file = tmp_path / "keys"
    async with server_process("--key-file", str(key_file)) as server:
        rooms = await members(server.port, rooms=5, size=4)
        os.kill(server.pid, signal.SIGKILL)
        await server.process.wait()
    assert key_file.stat().st_mode & 0o777 == 0o600
    everybody = [member for room in rooms for member in room]
    ids = [member.peer_id for member in everybody]
    async with server_process("--key-file", str(key_file)) as server:
        acks = await asyncio.gather(*(member.resume(server.port) for member in everybody))
        assert [member.peer_id for member in everybody] == ids
        assert all(ack["room_id"] == member.room_id for ack, member in zip(acks, everybody, strict=True))
        assert all(ack["payload"]["gap"] for ack in acks), "the server says that it does not know what was missed"
        for room in rooms:
            assert room[0].client is not None
            room[0].client.send(type="DISCOVER")
            await room[0].settle()
            (listed,) = [message for message in room[0].messages if message["type"] == "PEER_LIST"]
            assert {info["peer_id"] for info in listed["payload"]["peers"]} == {member.peer_id for member in room}


async def test_without_a_key_file_a_restart_refuses_the_old_tokens_and_goes_on() -> None:
    async with running_server() as server:
        ((member,),) = await members(server.port, rooms=1, size=1)
        member.cut()
    async with running_server() as server:
        client = await connect(server.port)
        error = await client.request(type="RESUME", payload={"token": member.token, "received": 0})
        assert error["payload"] == {
            "code": "UNAUTHORIZED",
            "message": "cannot resume",
            "details": "the token was not signed by this server",
        }
        assert (await client.request(type="JOIN", room_id="r"))["peer_id"] == client.peer_id


async def test_a_drain_says_goaway_and_closes_with_1012_while_others_get_1001() -> None:
    async with server_process("--drain-time", "1") as server:
        ((member, other),) = await members(server.port, rooms=1, size=2)
        old = await connect(server.port)
        assert (await http(server.port, "/ready")).json["status"] == "ready"
        server.process.send_signal(signal.SIGTERM)
        for each in (member, other):
            assert each.client is not None
            go_away = await each.client.receive()
            assert go_away["type"] == "GOAWAY"
            assert 0 <= go_away["payload"]["reconnect_after_ms"] <= 1000
            assert (await each.client.closed()).code == 1012, "and no PEER_LEFT before it"
        assert (await old.closed()).code == 1001
        assert (await server.stop())[0] == 0


async def test_while_it_drains_a_server_is_not_ready_and_takes_nobody() -> None:
    async with running_server() as server:
        server.hub.drain({}, 0)
        ready = await http(server.port, "/ready")
        assert (ready.status, ready.json["error"]) == (503, "the server is about to stop")
        assert (await http(server.port, "/health")).status == 200
        client = await RawClient.open(server.port)
        OPENED.append(client)
        client.write(upgrade_request())
        response = await client.read_response()
        assert response.startswith("HTTP/1.1 503 ")
        assert "Retry-After: 1\r\n" in response


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no key in it"),
        ("# only a comment\n", "no key in it"),
        ("zz", "line 1: not a key in hexadecimal"),
        ("00" * 32 + "\n0011", "line 2: a key needs at least 32 bytes"),
    ],
)
async def test_a_bad_key_file_is_one_clear_error(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(KeyFileError, match=message) as failure:
        await SignalingServer(Settings(host="127.0.0.1", port=0, stun=False, key_file=path)).start()
    assert content not in str(failure.value) or not content


async def test_a_key_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot make .*: No such file or directory"):
        await SignalingServer(Settings(host="127.0.0.1", port=0, key_file=tmp_path / "no" / "keys")).start()
