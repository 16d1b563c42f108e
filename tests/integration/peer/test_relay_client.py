"""net.relay: what it sends, as a server on a real socket gets it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web

from tests.support.conditions import until
from tests.support.http_server import http_server
from visavis_peer.peers.relay_connection import QUEUE_SIZE, RelayClient

LIMIT = 65_536
"""Bytes of a message that the server takes (docs/protocol.md, "Relay")."""
ANN, BOB = "0a" * 8, "0b" * 8


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a server that takes any WebSocket; yield its URL and the messages that it gets."""
    messages: list[bytes] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            messages.append(message.data)
        return socket

    async with http_server(serve, "/relay") as url:
        yield url, messages


def payloads(message: bytes) -> list[bytes]:
    """Return the UDP payloads in a message."""
    found, offset = [], 8
    while offset < len(message):
        size = int.from_bytes(message[offset : offset + 2])
        found.append(message[offset + 2 : offset + 2 + size])
        offset += 2 + size
    return found


@pytest.mark.parametrize("limit", [LIMIT, 40_000])
async def test_a_message_is_never_larger_than_the_server_takes_and_holds_what_stands_together(limit: int) -> None:
    rng = random.Random(11)
    async with relay() as (url, messages):
        client = RelayClient(url, "token", limit, lambda *_: None, lambda: None)
        try:
            await until(lambda: client.connected)
            sent: dict[str, list[bytes]] = {ANN: [], BOB: []}
            for _ in range(60):
                peer = rng.choice([ANN, BOB])
                batch = [rng.randbytes(rng.choice([1, 1200, 15_980, 16_000])) for _ in range(rng.randrange(1, 12))]
                sent[peer] += batch
                client.send(peer, batch)
                await until(lambda: sum(len(payloads(each)) for each in messages) == sum(map(len, sent.values())))
        finally:
            await asyncio.wait_for(client.close(), 5.0)
    got: dict[str, list[bytes]] = {ANN: [], BOB: []}
    for message in messages:
        assert len(message) <= limit
        got[message[:8].hex()] += payloads(message)
    assert got == sent
    assert max(map(len, messages)) > limit - 2 * 16_000
    assert len(messages) < 60 * (4 if limit == LIMIT else 6)


async def test_those_who_wait_for_room_get_it_in_turns() -> None:
    called: list[str] = []
    async with relay() as (url, messages):
        client = RelayClient(url, "token", LIMIT, lambda *_: None, lambda: None)

        def fill(peer: str) -> None:
            assert client.queue_size <= QUEUE_SIZE // 2
            called.append(peer)
            while len(called) <= 6 and (room := client.room(waiters[peer])):
                client.send(peer, [bytes(16_000)] * (room // 16_000))

        waiters = {peer: partial(fill, peer) for peer in (ANN, BOB)}
        try:
            await until(lambda: client.connected)
            client.send(ANN, [bytes(16_000)] * 32)
            assert [client.room(waiter) for waiter in (*waiters.values(), waiters[ANN])] == [0, 0, 0]
            await until(lambda: len(called) == 8)  # the last two want nothing
        finally:
            await asyncio.wait_for(client.close(), 5.0)
    assert called == [ANN, BOB] * 4
    assert sum(len(payloads(each)) for each in messages) >= 32 + 6 * 16


async def test_closing_sends_every_peer_what_was_said_to_it_last(monkeypatch: pytest.MonkeyPatch) -> None:
    drained, send_bytes = asyncio.Event(), ClientWebSocketResponse.send_bytes

    async def send_slowly(self: ClientWebSocketResponse, data: bytes, compress: int | None = None) -> None:
        await send_bytes(self, data, compress)
        await drained.wait()

    monkeypatch.setattr(ClientWebSocketResponse, "send_bytes", send_slowly)
    async with relay() as (url, messages):
        client = RelayClient(url, "token", LIMIT, lambda *_: None, lambda: None)
        await until(lambda: client.connected)
        for peer in (ANN, BOB, ANN):
            client.send(peer, [bytes(16_000)] * 6)
        await until(lambda: len(messages) == 1)
        closing = asyncio.create_task(client.close())
        await until(lambda: len(messages) == 2)
        drained.set()
        await asyncio.wait_for(closing, 5.0)
    assert [(each[:8].hex(), len(payloads(each))) for each in messages] == [
        (ANN, 4), (ANN, 2), (BOB, 4), (BOB, 2), (ANN, 4), (ANN, 2),
    ]  # fmt: skip


async def test_closing_waits_no_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    send_bytes = ClientWebSocketResponse.send_bytes

    async def hang(self: ClientWebSocketResponse, data: bytes, compress: int | None = None) -> None:
        await send_bytes(self, data, compress)
        await asyncio.Event().wait()

    monkeypatch.setattr(ClientWebSocketResponse, "send_bytes", hang)
    monkeypatch.setattr("visavis_peer.peers.relay_connection.FLUSH_TIMEOUT", 0.05)
    async with relay() as (url, messages):
        client = RelayClient(url, "token", LIMIT, lambda *_: None, lambda: None)
        await until(lambda: client.connected)
        client.send(ANN, [bytes(16_000)] * 12)
        await until(lambda: len(messages) == 1)
        await asyncio.wait_for(client.close(), 5.0)


async def test_those_who_wait_for_room_hear_of_the_end_of_the_connection() -> None:
    called: list[str] = []

    async def hang_up(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    async with http_server(hang_up, "/relay") as url:
        client = RelayClient(url, "token", LIMIT, lambda *_: None, lambda: None)
        try:
            await until(lambda: client.connected)
            client.send(ANN, [bytes(16_000)] * 32)
            assert client.room(partial(called.append, "ann")) == client.room(partial(called.append, "bob")) == 0
            await until(lambda: len(called) == 2)
        finally:
            await asyncio.wait_for(client.close(), 5.0)
    assert called == ["ann", "bob"]


async def test_a_name_that_leads_where_nobody_may_be_sent_is_not_connected_to() -> None:
    async with relay() as (url, _):
        by_name = url.replace("127.0.0.1", "localhost")
        asked: list[tuple[str, int]] = []

        def may_ask(address: tuple[str, int]) -> bool:
            asked.append(address)
            return address[0] in allowed

        allowed: list[str] = []
        client = RelayClient(by_name, "token", LIMIT, lambda *_: None, lambda: None, may_ask=may_ask)
        try:
            await until(lambda: len(asked) > 4)  # it is tried again, and looked up again
            assert not client.connected
            allowed.append("127.0.0.1")
            await until(lambda: client.connected)
            assert client.remote.startswith("127.0.0.1:")
        finally:
            await asyncio.wait_for(client.close(), 5.0)
