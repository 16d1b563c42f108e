"""seed-behaviour section 8: ordering, races, and clients that mean no good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.support.conditions import until
from tests.support.server_running import http, joined, running_server
from tests.support.ws_raw import TEXT, Message, RawClient, client_frame
from visavis_server.app import SignalingServer
from visavis_server.sockets.outbox import OUTBOX_SIZE

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with running_server(message_rate=0, pair_rate=0) as running:
        yield running


@pytest.mark.parametrize("one_segment", [True, False])
async def test_nothing_overtakes_an_announcement(server: SignalingServer, one_segment: bool) -> None:
    """Section 8, fix: JOIN, OFFER, LEAVE back to back arrive in that order, every time."""
    async with await joined(server, "r") as a, await RawClient.connect(server.port) as b:
        batch = [
            {"type": "JOIN", "room_id": "r"},
            {"type": "OFFER", "target_id": a.peer_id, "payload": {}},
            {"type": "LEAVE"},
        ]
        frames = [client_frame(TEXT, json.dumps(message).encode()) for message in batch]
        for _ in range(100):
            if one_segment:
                b.write(b"".join(frames))
            else:
                for frame in frames:
                    b.write(frame)
                    await b.writer.drain()
        seen = [(await a.receive())["type"] for _ in range(300)]
        assert seen == ["PEER_JOINED", "OFFER", "PEER_LEFT"] * 100


async def test_of_two_concurrent_joins_each_sees_the_other_exactly_once(server: SignalingServer) -> None:
    """Section 8, fix: either in the list or announced, the ACK first."""

    async def join(client: RawClient, room_id: str) -> list[Message]:
        client.send(type="JOIN", room_id=room_id)
        return [await client.receive()]

    for number in range(50):
        room_id = f"r{number}"
        async with await RawClient.connect(server.port) as a, await RawClient.connect(server.port) as b:
            got_a, got_b = await asyncio.gather(join(a, room_id), join(b, room_id))
            first, second = sorted((got_a, got_b), key=lambda got: len(got[0]["payload"]["peers"]))
            assert [len(got[0]["payload"]["peers"]) for got in (first, second)] == [1, 2]
            earlier, later = (a, b) if first is got_a else (b, a)
            announced = await earlier.receive()
            assert (announced["type"], announced["peer_id"]) == ("PEER_JOINED", later.peer_id)
            await earlier.nothing_more()
            await later.nothing_more()


async def test_events_of_a_room_are_numbered_without_gaps(server: SignalingServer) -> None:
    """design.md section 3: ACK and PEER_LIST carry the number of the last event they include."""
    async with await joined(server, "r") as observer:
        numbers = []
        for _ in range(5):
            async with await joined(server, "r") as visitor:
                numbers.append((await observer.receive())["seq"])
                await visitor.request(type="LEAVE")
                numbers.append((await observer.receive())["seq"])
        assert numbers == list(range(2, 12))
        assert (await observer.request(type="DISCOVER"))["seq"] == 11


async def stuck(server: SignalingServer, room_id: str) -> RawClient:
    """Return a member of a room that reads nothing any more."""
    client = await joined(server, room_id)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return client


async def test_a_slow_reader_is_closed_and_stalls_nobody(server: SignalingServer) -> None:
    """Section 8, fix: bounded buffer, sender never blocked; 1013, and the room is told."""
    async with await joined(server, "r") as sender, await stuck(server, "r") as victim, await joined(server, "r") as c:
        await sender.receive()
        await sender.receive()
        loop = asyncio.get_running_loop()
        frame = client_frame(
            TEXT,
            json.dumps({"type": "OFFER", "target_id": victim.peer_id, "payload": {"x": "y" * 20_000}}).encode(),
        )
        longest = 0.0
        while victim.peer_id in server.hub.rooms.peers:
            sender.write(frame)
            begun = loop.time()
            assert (await http(server.port, "/api/stats")).status == 200
            async with await RawClient.connect(server.port):
                longest = max(longest, loop.time() - begun)
        assert longest < 1, "REST and new connections are served as ever (9.5 s in the original)"
        left = await sender.receive()
        assert (left["type"], left["cause"]) == ("PEER_LEFT", "silent")
        assert (await c.receive())["peer_id"] == victim.peer_id
        answer = await sender.request(type="OFFER", target_id=victim.peer_id, payload={})
        assert answer["payload"]["code"] == "PEER_NOT_FOUND", "what is sent to a closed peer is reported"
        victim.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await victim.closed() == (1013, "too slow: unread messages pile up")


async def test_a_flood_of_requests_without_reading_is_bounded(server: SignalingServer) -> None:
    """Ours: who asks for more than it reads is closed; the memory for it stays within its bound."""
    members = [await joined(server, "r", display_name="x" * 64) for _ in range(100)]
    async with await stuck(server, "r") as greedy:
        outbox = server.switchboard._open[greedy.peer_id]
        batch = client_frame(TEXT, b'{"type":"DISCOVER"}') * 1000
        most = 0
        while outbox.open:
            greedy.write(batch)
            # a request may be the last one that is answered, hence one list beyond the bound
            most = max(most, outbox.transport.get_write_buffer_size())
            await asyncio.sleep(0)
        assert most <= OUTBOX_SIZE + 100_000
        await until(lambda: greedy.peer_id not in server.hub.rooms.peers)
    for member in members:
        member.abort()


async def test_a_flood_of_small_messages_is_answered_when_read(server: SignalingServer) -> None:
    """Ours: a burst as large as one read of the server is no reason to close anybody."""
    async with await RawClient.connect(server.port) as client:
        client.write(client_frame(TEXT, b'{"type":"KEEP_ALIVE"}') * 20_000)
        for _ in range(20_000):
            await client.receive_bytes()
        await client.nothing_more()


async def test_a_room_of_many_sees_each_event_once(server: SignalingServer) -> None:
    """One broadcast, one frame a member."""
    members = [await joined(server, "r") for _ in range(50)]
    async with await joined(server, "r") as newcomer:
        for index, member in enumerate(members):
            announced = [(await member.receive())["peer_id"] for _ in range(50 - index)]
            assert announced == [later.peer_id for later in members[index + 1 :]] + [newcomer.peer_id]
            await member.nothing_more()
    for member in members:
        member.abort()


async def test_connections_that_come_and_go_leave_nothing_behind(server: SignalingServer) -> None:
    """Every collection has a bound."""
    for _ in range(100):
        client = await joined(server, "r")
        client.abort()
    await until(lambda: not server.hub.rooms.peers)
    switchboard = server.switchboard
    assert not switchboard._open
    assert not switchboard._leaving
    await until(lambda: not server.http.connections)
