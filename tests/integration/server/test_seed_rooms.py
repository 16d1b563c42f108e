"""seed-behaviour sections 2 and 3: JOIN, LEAVE, DISCOVER, KEEP_ALIVE. Each test names its line."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.conditions import until
from tests.support.server_running import http, joined, running_server
from tests.support.ws_raw import Message, RawClient
from visavis_server.app import SignalingServer
from visavis_server.core.signaling.effects import Effect

ALICE = {"display_name": "Alice", "endpoint": {"ip": "203.0.113.1", "port": 12345}}


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with running_server() as running:
        yield running


def error_of(message: Message) -> tuple[str, str]:
    assert message["type"] == "ERROR", message
    return message["payload"]["code"], message["payload"]["message"]


async def test_a_join_is_acknowledged_with_the_members_and_announced(server: SignalingServer) -> None:
    """Section 2, keep: the transcript of two joins, the joiner itself in its list, in join order."""
    async with await RawClient.connect(server.port) as a, await RawClient.connect(server.port) as b:
        a.send(
            type="JOIN", room_id="r1", request_id="q1", peer_id="spoof", timestamp=5, payload=ALICE, unknown={"x": [1]}
        )
        ack = await a.receive()
        joined_at = ack["payload"]["peers"][0]["joined_at"]
        alice = {"peer_id": a.peer_id, **ALICE, "joined_at": joined_at}
        assert ack == {
            "type": "ACK",
            "peer_id": a.peer_id,
            "room_id": "r1",
            "payload": {"room_id": "r1", "peers": [alice]},
            "timestamp": ack["timestamp"],
            "request_id": "q1",
            "seq": 1,
        }
        assert abs(ack["timestamp"] - time.time() * 1000) < 10_000

        ack = await b.request(type="JOIN", room_id="r1")
        bob = {"peer_id": b.peer_id, "joined_at": ack["payload"]["peers"][1]["joined_at"]}
        assert ack["payload"] == {"room_id": "r1", "peers": [alice, bob]}
        assert "request_id" not in ack
        announced = await a.receive()
        assert announced == {
            "type": "PEER_JOINED",
            "peer_id": b.peer_id,
            "room_id": "r1",
            "payload": bob,
            "timestamp": announced["timestamp"],
            "seq": 2,
        }


async def test_members_of_a_message_stand_in_the_original_order(server: SignalingServer) -> None:
    """Section 1, keep: type, peer_id, target_id, room_id, payload, timestamp, request_id; ours follow."""
    async with await RawClient.connect(server.port) as client:
        client.send(type="JOIN", room_id="r", request_id="q")
        names = re.findall(
            rb'[{,]"(type|peer_id|room_id|payload|timestamp|request_id|seq)":', await client.receive_bytes()
        )
        top_level = [name for name in names if name != b"peer_id"]
        assert top_level == [b"type", b"room_id", b"payload", b"room_id", b"timestamp", b"request_id", b"seq"]


async def test_joined_at_is_the_time_of_the_join(server: SignalingServer) -> None:
    """Section 2, fix: not of the connection, and new with every JOIN."""
    async with await RawClient.connect(server.port) as client:
        before = time.time_ns() // 1_000_000
        first = (await client.request(type="JOIN", room_id="a"))["payload"]["peers"][0]["joined_at"]
        assert first >= before
        await until(lambda: time.time_ns() // 1_000_000 > first)
        second = (await client.request(type="JOIN", room_id="b"))["payload"]["peers"][0]["joined_at"]
        assert second > first


async def test_joining_the_same_room_again_changes_nothing(server: SignalingServer) -> None:
    """Section 2, choose: ALREADY_IN_ROOM, and the new name is not stored."""
    async with await joined(server, "r", **ALICE) as client, await joined(server, "r") as other:
        await client.receive()
        again = await client.request(type="JOIN", room_id="r", payload={"display_name": "Mallory"}, request_id="again")
        assert error_of(again) == ("ALREADY_IN_ROOM", "already in this room")
        assert again["request_id"] == "again"
        listed = await client.request(type="DISCOVER")
        assert listed["payload"]["peers"][0]["display_name"] == "Alice"
        assert listed["seq"] == 2
        await other.nothing_more()


async def test_moving_to_another_room_leaves_the_first(server: SignalingServer) -> None:
    """Section 2, fix: the old room gets its PEER_LEFT."""
    async with await joined(server, "old") as stays, await joined(server, "old") as moves:
        await stays.receive()
        ack = await moves.request(type="JOIN", room_id="new")
        assert (ack["type"], ack["room_id"]) == ("ACK", "new")
        left = await stays.receive()
        assert left == {
            "type": "PEER_LEFT",
            "peer_id": moves.peer_id,
            "room_id": "old",
            "timestamp": left["timestamp"],
            "seq": 3,
            "cause": "left",
        }


async def test_name_and_endpoint_stay_with_the_connection(server: SignalingServer) -> None:
    """Section 2, keep: over LEAVE and a JOIN without payload."""
    async with await joined(server, "a", **ALICE) as client:
        await client.request(type="LEAVE")
        (info,) = (await client.request(type="JOIN", room_id="b"))["payload"]["peers"]
        assert {name: info[name] for name in ALICE} == ALICE


@pytest.mark.parametrize("room_id", [None, ""])
async def test_a_join_needs_a_room_id(server: SignalingServer, room_id: str | None) -> None:
    """Section 2: absent and empty are the same."""
    async with await RawClient.connect(server.port) as client:
        answer = await client.request(type="JOIN", room_id=room_id)
        assert error_of(answer) == ("INVALID_MESSAGE", "room_id is required")
        assert answer["payload"]["details"] == "room_id"


@pytest.mark.parametrize("room_id", ["x" * 129, "x" * 5000, "\0", "a\nb", " a", "a ", "\x7f", "a\u2028b", "\x85"])
async def test_room_ids_are_bounded(server: SignalingServer, room_id: str) -> None:
    """Section 2, fix: length and characters."""
    async with await RawClient.connect(server.port) as client:
        for kind in ("JOIN", "DISCOVER"):
            answer = await client.request(type=kind, room_id=room_id)
            assert error_of(answer)[0] == "INVALID_MESSAGE"
            assert answer["payload"]["details"].startswith("room_id: ")
    assert not server.hub.rooms.open


async def test_any_other_text_is_a_room(server: SignalingServer) -> None:
    """Section 2, keep: slashes, dots, spaces inside, any script; case-sensitive."""
    async with await RawClient.connect(server.port) as client:
        for room_id in ("a/b", "../x", "a b", "é", "房间", "R", "r", "x" * 128, '"', "\\"):
            assert (await client.request(type="JOIN", room_id=room_id))["room_id"] == room_id
    assert {"R", "r"} <= set(server.hub.rooms.open)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ("str", "payload"),
        (5, "payload"),
        ([], "payload"),
        ({"endpoint": "x"}, "payload.endpoint"),
        ({"endpoint": {}}, "payload.endpoint.ip"),
        ({"endpoint": {"ip": 5, "port": 1}}, "payload.endpoint.ip"),
        ({"endpoint": {"ip": "not-an-ip", "port": 1}}, "payload.endpoint.ip"),
        ({"endpoint": {"ip": "fe80::1%eth0", "port": 1}}, "payload.endpoint.ip"),
        ({"endpoint": {"ip": "192.0.2.1", "port": -1}}, "payload.endpoint.port"),
        ({"endpoint": {"ip": "192.0.2.1", "port": 0}}, "payload.endpoint.port"),
        ({"endpoint": {"ip": "192.0.2.1", "port": 99999}}, "payload.endpoint.port"),
        ({"endpoint": {"ip": "192.0.2.1", "port": "80"}}, "payload.endpoint.port"),
        ({"endpoint": {"ip": "192.0.2.1"}}, "payload.endpoint.port"),
        ({"display_name": "x" * 65}, "payload.display_name"),
        ({"display_name": "a\x1b[2Jb"}, "payload.display_name"),
        ({"display_name": 5}, "payload.display_name"),
    ],
)
async def test_a_bad_join_payload_is_refused_by_field(server: SignalingServer, payload: Any, field: str) -> None:
    """Section 2, fix: INVALID_MESSAGE naming the field, and nobody has joined."""
    async with await RawClient.connect(server.port) as client:
        answer = await client.request(type="JOIN", room_id="r", payload=payload, request_id="bad")
        assert error_of(answer) == ("INVALID_MESSAGE", "invalid message")
        assert answer["payload"]["details"].startswith(f"{field}: ")
        assert answer["request_id"] == "bad"
    assert not server.hub.rooms.open


async def test_an_empty_or_null_payload_is_as_none(server: SignalingServer) -> None:
    """Section 2: absent, `null` and `{}` are the same."""
    async with await RawClient.connect(server.port) as client:
        for room_id, payload in (("a", None), ("b", {}), ("c", {"display_name": None})):
            ack = await client.request(type="JOIN", room_id=room_id, payload=payload)
            assert set(ack["payload"]["peers"][0]) == {"peer_id", "joined_at"}


async def test_a_full_room_refuses_and_the_peer_stays_where_it_was() -> None:
    """Section 2, fix: ROOM_FULL is checked first, then the peer moves."""
    async with (
        running_server(room_capacity=1) as server,
        await joined(server, "full"),
        await joined(server, "mine") as client,
    ):
        answer = await client.request(type="JOIN", room_id="full", request_id="q")
        assert error_of(answer) == ("ROOM_FULL", "room is full")
        assert answer["request_id"] == "q"
        assert (await client.request(type="DISCOVER"))["room_id"] == "mine"
        await client.nothing_more()


async def test_without_a_capacity_rooms_are_unlimited(server: SignalingServer) -> None:
    """Section 2: default max_peers is 0."""
    clients = [await joined(server, "r") for _ in range(40)]
    assert len(server.hub.rooms.open["r"].members) == 40
    for client in clients:
        client.abort()


async def test_leave_ignores_the_room_and_tells_the_others(server: SignalingServer) -> None:
    """Section 3, keep: the ACK, and PEER_LEFT without payload."""
    async with await joined(server, "r1") as leaver, await joined(server, "r1") as other:
        await leaver.receive()
        ack = await leaver.request(type="LEAVE", room_id="whatever", request_id="l1")
        assert ack == {
            "type": "ACK",
            "peer_id": leaver.peer_id,
            "payload": {"message": "left room"},
            "timestamp": ack["timestamp"],
            "request_id": "l1",
        }
        left = await other.receive()
        assert (left["type"], left["peer_id"], left["room_id"]) == ("PEER_LEFT", leaver.peer_id, "r1")
        assert "payload" not in left


async def test_a_lost_connection_is_announced_like_a_leave(server: SignalingServer) -> None:
    """Section 3, keep: the same PEER_LEFT on disconnect."""
    async with await joined(server, "r1") as stays:
        goes = await joined(server, "r1")
        await stays.receive()
        goes.abort()
        left = await stays.receive()
        assert (left["type"], left["peer_id"], left["room_id"]) == ("PEER_LEFT", goes.peer_id, "r1")


async def test_leave_outside_a_room_is_refused(server: SignalingServer) -> None:
    """Section 3, keep."""
    async with await RawClient.connect(server.port) as client:
        assert error_of(await client.request(type="LEAVE")) == ("NOT_IN_ROOM", "not in any room")


async def test_discover_lists_the_own_room(server: SignalingServer) -> None:
    """Section 3, keep: PEER_LIST with oneself included."""
    async with await joined(server, "r1") as client:
        listed = await client.request(type="DISCOVER", request_id="d")
        assert listed == {
            "type": "PEER_LIST",
            "peer_id": client.peer_id,
            "room_id": "r1",
            "payload": {"room_id": "r1", "peers": listed["payload"]["peers"]},
            "timestamp": listed["timestamp"],
            "request_id": "d",
            "seq": 1,
        }
        assert [info["peer_id"] for info in listed["payload"]["peers"]] == [client.peer_id]
        same = await client.request(type="DISCOVER", room_id="r1")
        assert same["payload"] == listed["payload"]


@pytest.mark.parametrize("room_id", [None, ""])
async def test_discover_without_a_room_is_refused(server: SignalingServer, room_id: str | None) -> None:
    """Section 3, keep."""
    async with await RawClient.connect(server.port) as client:
        answer = await client.request(type="DISCOVER", room_id=room_id)
        assert error_of(answer) == ("NOT_IN_ROOM", "no room specified and not in any room")


async def test_discover_of_an_unknown_room_is_refused(server: SignalingServer) -> None:
    """Section 3, keep."""
    async with await RawClient.connect(server.port) as client:
        answer = await client.request(type="DISCOVER", room_id="nope")
        assert error_of(answer) == ("ROOM_NOT_FOUND", "room not found")
        assert answer["payload"]["details"] == "room_id: nope"


async def test_anybody_may_discover_any_room(server: SignalingServer) -> None:
    """Section 3, keep by default: DISCOVER of a room one is not in."""
    async with await joined(server, "r1") as member, await RawClient.connect(server.port) as stranger:
        listed = await stranger.request(type="DISCOVER", room_id="r1")
        assert (listed["type"], listed["peer_id"]) == ("PEER_LIST", stranger.peer_id)
        assert [info["peer_id"] for info in listed["payload"]["peers"]] == [member.peer_id]


@pytest.mark.parametrize("exposure", ["members", "counts"])
async def test_members_may_be_hidden_from_strangers(exposure: str) -> None:
    """Section 3, choose: UNAUTHORIZED behind an option, the same whether the room exists or not."""
    async with (
        running_server(exposure=exposure) as server,
        await joined(server, "r1") as member,
        await RawClient.connect(server.port) as stranger,
    ):
        for room_id in ("r1", "nope"):
            answer = await stranger.request(type="DISCOVER", room_id=room_id)
            assert error_of(answer) == ("UNAUTHORIZED", "only members may list this room")
        assert (await member.request(type="DISCOVER", room_id="r1"))["type"] == "PEER_LIST"


async def test_keep_alive_is_acknowledged_without_payload(server: SignalingServer) -> None:
    """Section 3, keep."""
    async with await RawClient.connect(server.port) as client:
        ack = await client.request(type="KEEP_ALIVE", request_id="k1")
        assert ack == {"type": "ACK", "peer_id": client.peer_id, "timestamp": ack["timestamp"], "request_id": "k1"}


async def test_an_empty_room_still_exists(server: SignalingServer) -> None:
    """Section 3, keep: no members rather than ROOM_NOT_FOUND, for DISCOVER and REST, until the cleanup."""
    async with await joined(server, "r1") as client:
        await client.request(type="LEAVE")
        assert (await client.request(type="DISCOVER", room_id="r1"))["payload"]["peers"] == []
        assert (await http(server.port, "/api/rooms/r1")).json["peers"] == []


async def test_an_empty_room_lives_from_when_it_became_empty() -> None:
    """Section 3, fix: the time to live does not count from the creation of the room."""
    async with running_server(cleanup_interval=0.01) as server, await joined(server, "r1") as client:
        room = server.hub.rooms.open["r1"]
        room.created_at -= 10 * 60 * 1000
        await client.request(type="LEAVE")
        sweeps = count_sweeps(server)
        await until(lambda: len(sweeps) > 3)
        assert "r1" in server.hub.rooms.open, "older than its time to live, but empty only now"
        room.empty_at -= 300
        await until(lambda: "r1" not in server.hub.rooms.open)
        assert error_of(await client.request(type="DISCOVER", room_id="r1"))[0] == "ROOM_NOT_FOUND"


def count_sweeps(server: SignalingServer) -> list[float]:
    """Return a list that grows with every sweep."""
    sweeps: list[float] = []
    handle_timer = server.hub.handle_timer

    def counting(now: float, now_ms: int) -> list[Effect]:
        sweeps.append(now)
        return handle_timer(now, now_ms)

    server.hub.handle_timer = counting  # type: ignore[method-assign]
    return sweeps
