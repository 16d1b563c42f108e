"""What clients do to a server that stands in public, and that nobody else notices."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable
from itertools import islice
from typing import Final

import pytest

from tests.support.conditions import until
from tests.support.memory import MIB, memory_bound
from tests.support.mutation import mutated
from tests.support.server_running import http, joined, running_server, server_process
from tests.support.ws_raw import BINARY, CLOSE, PING, PONG, TEXT, TIMEOUT, RawClient, client_frame
from visavis_server.app import SignalingServer
from visavis_server.core.access.causes import Cause
from visavis_server.sockets.websocket import FRAMES_AT_ONCE
from visavis_shared.limits import MESSAGE_SIZE

pytestmark = pytest.mark.usefixtures("engine")

CONTINUATION: Final = 0
FLOOD: Final = 20_000
"""Frames of a flood: far more than one read brings, and a second's work at most."""

SEED: Final = 20261123
ROUNDS: Final = 100
"""Connections with twenty mutated messages each."""


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[SignalingServer]:
    async with running_server() as running:
        yield running
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def check_others(first: RawClient, second: RawClient) -> None:
    """Check that what two bystanders send each other arrives, all of it and in order."""
    for number in range(20):
        first.send(type="OFFER", target_id=second.peer_id, payload={"number": number})
    for number in range(20):
        offer = await second.receive()
        assert (offer["type"], offer["payload"]) == ("OFFER", {"number": number})


@pytest.fixture
async def others(server: SignalingServer) -> AsyncIterator[tuple[RawClient, RawClient]]:
    """Two bystanders in a room of their own."""
    async with await joined(server, "quiet") as first, await joined(server, "quiet") as second:
        assert (await first.receive())["type"] == "PEER_JOINED"
        yield first, second


async def test_a_flood_of_empty_frames(server: SignalingServer, others: tuple[RawClient, RawClient]) -> None:
    """An empty message is an invalid one: refused, told once a second, and closed when it goes on."""
    async with await RawClient.connect(server.port) as flooder, memory_bound(8 * MIB):
        flooder.write(client_frame(TEXT) * FLOOD)
        await check_others(*others)
        assert (await flooder.closed()).code == 4029
    assert set(server.hub.rooms.peers) == {each.peer_id for each in others}


async def test_nothing_more_is_read_of_a_client_that_floods(server: SignalingServer) -> None:
    """Not even its close frame, which would end the connection in order: it is cut with that unread, hence a reset."""
    async with await RawClient.connect(server.port) as flooder:
        flooder.write(client_frame(TEXT) * FLOOD)
        while (frame := await flooder.read_frame()).opcode != CLOSE:
            pass
        assert int.from_bytes(frame.payload[:2]) == 4029
        flooder.send_frame(CLOSE, frame.payload[:2])
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(TIMEOUT):
                await flooder.reader.read()


@pytest.mark.parametrize("engine", ["own"], indirect=True)
async def test_others_have_their_turn_between_the_messages_of_one_read() -> None:
    """What two send the third at the same time arrives mixed, however much of one a read brings."""
    async with (
        running_server(message_rate=0, pair_rate=0) as server,
        await joined(server, "r") as third,
        await joined(server, "r") as talker,
        await joined(server, "r") as other,
    ):
        payload = {"type": "OFFER", "target_id": third.peer_id, "payload": {}}
        offer = client_frame(TEXT, json.dumps(payload).encode())
        talker.write(offer * 1000)
        other.write(offer)
        await third.receive()
        await third.receive()
        senders = [(await third.receive())["peer_id"] for _ in range(1001)]
        assert senders.count(talker.peer_id) == 1000
        assert senders.index(other.peer_id) <= 2 * FRAMES_AT_ONCE


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_a_flood_of_control_frames(
    server: SignalingServer, others: tuple[RawClient, RawClient], opcode: int
) -> None:
    """They count as messages: answered within the rate, ignored beyond it, and closed when it goes on."""
    async with await RawClient.connect(server.port) as flooder, memory_bound(8 * MIB):
        flooder.write(client_frame(opcode, b"x") * FLOOD)
        await check_others(*others)
        pongs = 0
        while (frame := await flooder.read_frame()).opcode != CLOSE:
            assert (frame.opcode, frame.payload) == (PONG, b"x")
            pongs += 1
        assert int.from_bytes(frame.payload[:2]) == 4029
        assert pongs < FLOOD / 2
    assert server.hub.refusals[Cause.CONNECTION_RATE] >= 1000
    assert set(server.hub.rooms.peers) == {each.peer_id for each in others}


async def test_connections_of_one_address_share_its_rate_and_other_addresses_have_theirs() -> None:
    def connect(server: SignalingServer, address: str) -> Awaitable[RawClient]:
        return RawClient.connect(server.port, X_Forwarded_For=address)

    async with (
        running_server(trusted_proxy=["127.0.0.1"], address_rate=0.1) as server,
        await connect(server, "198.51.100.7") as first,
        await connect(server, "198.51.100.7") as second,
        await connect(server, "203.0.113.1") as other,
    ):
        assert (await first.request(type="KEEP_ALIVE"))["type"] == "ACK", "one in ten seconds"
        assert (await second.request(type="KEEP_ALIVE"))["payload"]["details"] == "limit: address_rate"
        assert (await other.request(type="KEEP_ALIVE"))["type"] == "ACK"
        assert server.hub.refusals[Cause.ADDRESS_RATE] == 1


async def test_a_flood_of_fragments_of_one_byte(server: SignalingServer, others: tuple[RawClient, RawClient]) -> None:
    """Fragments add up to a message within its limit, and not to more."""
    async with await RawClient.connect(server.port) as flooder, memory_bound(8 * MIB):
        flooder.write(client_frame(TEXT, b"x", fin=False))
        flooder.write(client_frame(CONTINUATION, b"x", fin=False) * MESSAGE_SIZE)
        await check_others(*others)
        assert (await flooder.closed()).code == 1009


@pytest.mark.parametrize("engine", ["own"], indirect=True)
async def test_a_flood_of_empty_fragments(server: SignalingServer, others: tuple[RawClient, RawClient]) -> None:
    async with await RawClient.connect(server.port) as flooder, memory_bound(MIB):
        flooder.write(client_frame(TEXT, b"", fin=False) + client_frame(CONTINUATION, b"", fin=False) * 1000)
        await check_others(*others)
        assert (await flooder.closed()).code == 1008


async def test_a_declared_size_costs_nothing(server: SignalingServer, others: tuple[RawClient, RawClient]) -> None:
    """100 MiB announced in a header: refused by the header, without waiting for them."""
    async with await RawClient.connect(server.port) as liar, memory_bound(MIB):
        liar.write(struct.pack("!BBQ", 0x80 | TEXT, 0x80 | 127, 100 * MIB) + bytes(4))
        assert (await liar.closed()).code == 1009
        await check_others(*others)


async def test_a_room_whose_connections_all_end_at_once_is_no_error() -> None:
    """Each is told of the others before the server has noticed its own end."""
    async with server_process("--log-level", "warning") as server:
        clients = [await RawClient.connect(server.port) for _ in range(50)]
        for client in clients:
            client.send(type="JOIN", room_id="r")
            while (await client.receive())["type"] != "ACK":
                pass
        async with await RawClient.connect(server.port) as watcher:
            await watcher.request(type="JOIN", room_id="r")
            for client in clients:
                client.abort()
            left = {(await watcher.receive())["peer_id"] for _ in clients}
        assert left == {client.peer_id for client in clients}
        assert (await server.stop())[1] == ""


@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_deep_json_is_an_invalid_message(
    server: SignalingServer, others: tuple[RawClient, RawClient], opening: str
) -> None:
    """As deep as a message can be; 100,000 levels do not fit into one and are refused by their size."""
    deepest = opening * (MESSAGE_SIZE // len(opening) - 100)
    async with await joined(server, "r") as digger:
        for text in (deepest, '{"type":"OFFER","target_id":"0123456789abcdef","payload":' + deepest[:-100]):
            digger.send_text(text)
            answer = await digger.receive()
            assert (answer["type"], answer["payload"]["code"]) == ("ERROR", "INVALID_MESSAGE")
        digger.send_text(opening * 100_000)
        assert (await digger.closed()).code == 1009
    await check_others(*others)


async def test_a_request_that_trickles_in_holds_up_nobody(
    server: SignalingServer, others: tuple[RawClient, RawClient]
) -> None:
    """Slowloris: no more of them from one address than the door allows, and service goes on."""
    async with await RawClient.open(server.port) as slow:
        for byte in b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: ":
            slow.write(bytes([byte]))
            assert (await http(server.port, "/health")).status == 200
        await check_others(*others)
        assert len(server.door) == 1
    assert json.loads((await http(server.port, "/health")).body)["status"]


async def test_mutated_messages_are_answered_or_end_their_own_connection() -> None:
    """Never by an exception of ours, and never noticed by anybody else."""
    async with (
        running_server(message_rate=0, address_rate=0, pair_rate=0) as server,
        await joined(server, "quiet") as first,
        await joined(server, "quiet") as second,
    ):
        await first.receive()
        messages = mutated(SEED)
        for _ in range(ROUNDS):
            async with await RawClient.connect(server.port) as rogue:
                for data in islice(messages, 20):
                    rogue.send_frame(TEXT if is_text(data) else BINARY, data)
                rogue.send_frame(PING)
                await check_others(first, second)
                while (frame := await rogue.read_frame()).opcode not in (PONG, CLOSE):
                    assert b"INTERNAL_ERROR" not in frame.payload
        await first.nothing_more()
        await second.nothing_more()
        await until(lambda: set(server.hub.rooms.peers) == {first.peer_id, second.peer_id})


def is_text(data: bytes) -> bool:
    """Whether a text frame may carry it; anything else would end the connection before the rest is looked at."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
