"""seed-behaviour section 6: frames, closing, liveness."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.conditions import until
from tests.support.server_running import http, joined, running_server
from tests.support.ws_raw import CLOSE, PING, PONG, TEXT, RawClient, client_frame
from visavis_server.app import SignalingServer

pytestmark = pytest.mark.usefixtures("engine")

KEEP_ALIVE = b'{"type":"KEEP_ALIVE"}'


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with running_server() as running:
        yield running


async def test_fragments_are_reassembled_around_control_frames(server: SignalingServer) -> None:
    """Section 6, keep; a ping between two fragments is answered at once (RFC 6455 section 5.4)."""
    async with await RawClient.connect(server.port) as client:
        client.send_frame(TEXT, KEEP_ALIVE[:5], fin=False)
        client.send_frame(PING, b"between")
        client.send_frame(0, b"", fin=False)
        client.send_frame(0, KEEP_ALIVE[5:9], fin=False)
        client.send_frame(0, KEEP_ALIVE[9:])
        assert await client.read_frame() == (0x80 | PONG, b"between")
        assert (await client.receive())["type"] == "ACK"


async def test_a_message_may_arrive_byte_by_byte(server: SignalingServer) -> None:
    """TCP knows no messages."""
    async with await RawClient.connect(server.port) as client:
        for byte in client_frame(TEXT, b'{"type":"KEEP_ALIVE","request_id":"' + b"x" * 100 + b'"}'):
            client.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.receive())["type"] == "ACK"


async def test_a_ping_is_answered_with_its_body(server: SignalingServer) -> None:
    """Section 6, keep."""
    async with await RawClient.connect(server.port) as client:
        for body in (b"", b"hello", bytes(125)):
            client.send_frame(PING, body)
            assert await client.read_frame() == (0x80 | PONG, body)


async def test_the_largest_message_passes_and_may_grow_on_the_way(server: SignalingServer) -> None:
    """Section 6, keep: 32,768 bytes pass; what is forwarded may be longer."""
    async with await joined(server, "r") as a, await joined(server, "r") as b:
        await a.receive()
        head = f'{{"type":"OFFER","target_id":"{a.peer_id}","payload":{{"x":"'
        text = head + "y" * (32_768 - len(head) - 3) + '"}}'
        b.send_text(text)
        got = await a.receive_bytes()
        assert len(text) == 32_768 < len(got)


@pytest.mark.parametrize("fragmented", [False, True])
async def test_one_byte_more_closes_with_1009_and_the_room_is_told(
    engine: str, server: SignalingServer, fragmented: bool
) -> None:
    """Section 6, keep the code; fix: the close frame says why and is not followed by a reset."""
    async with await joined(server, "r") as a, await joined(server, "r") as b:
        await a.receive()
        if fragmented:
            b.send_frame(TEXT, b"x" * 32_768, fin=False)
            b.send_frame(0, b"x")
        else:
            b.send_frame(TEXT, b"x" * 32_769)
        reason = "message larger than 32768 bytes" if engine == "own" else "Message size 32769 exceeds limit 32769"
        assert await b.closed() == (1009, reason)
        assert (await a.receive())["type"] == "PEER_LEFT"


async def test_an_announced_length_is_refused_before_the_payload_comes(server: SignalingServer) -> None:
    """Ours: nobody is made to buffer what is too big."""
    async with await RawClient.connect(server.port) as client:
        client.write(b"\x81\xff" + (1 << 40).to_bytes(8))
        assert (await client.closed()).code == 1009


async def test_what_the_server_sends_has_no_limit(server: SignalingServer) -> None:
    """Section 6, keep: the ACK of a large room is longer than 32 KiB."""
    clients = [await joined(server, "r", display_name="x" * 64) for _ in range(300)]
    async with await RawClient.connect(server.port) as client:
        client.send(type="JOIN", room_id="r")
        ack = await client.receive_bytes()
        assert len(ack) > 32_768
        assert len(json.loads(ack)["payload"]["peers"]) == 301
    for each in clients:
        each.abort()


@pytest.mark.parametrize(
    ("offence", "data"),
    [
        ("reserved bits set", client_frame(TEXT, KEEP_ALIVE, rsv=4)),
        ("reserved bits set", client_frame(TEXT, KEEP_ALIVE, rsv=1)),
        ("unknown opcode 3", client_frame(3, KEEP_ALIVE)),
        ("unknown opcode 11", client_frame(11)),
        ("control frame too long", client_frame(PING, bytes(126))),
        ("fragmented control frame", client_frame(PING, fin=False)),
        ("continuation of nothing, or a message inside another", client_frame(0, KEEP_ALIVE)),
        (
            "continuation of nothing, or a message inside another",
            client_frame(TEXT, b"{", fin=False) + client_frame(TEXT, KEEP_ALIVE),
        ),
        ("invalid close code", client_frame(CLOSE, b"\x03")),
        ("invalid close code", client_frame(CLOSE, (999).to_bytes(2))),
        ("invalid close code", client_frame(CLOSE, (1005).to_bytes(2))),
        ("invalid close code", client_frame(CLOSE, (2999).to_bytes(2))),
    ],
)
async def test_a_broken_frame_closes_with_1002_and_a_reason(
    engine: str, server: SignalingServer, offence: str, data: bytes
) -> None:
    """Section 6, keep: 1002 with a reason; what came before the offence is handled, what comes behind is not."""
    async with await RawClient.connect(server.port) as client:
        client.write(client_frame(TEXT, KEEP_ALIVE) + data + client_frame(TEXT, KEEP_ALIVE))
        assert (await client.receive())["type"] == "ACK"
        code, reason = await client.closed()
        assert code == 1002
        assert reason == offence if engine == "own" else reason


async def test_a_frame_without_mask_closes_with_1002(engine: str, server: SignalingServer) -> None:
    """RFC 6455 section 5.1, which aiohttp's engine does not enforce."""
    async with await RawClient.connect(server.port) as client:
        client.send_frame(TEXT, KEEP_ALIVE, masked=False)
        if engine == "own":
            assert await client.closed() == (1002, "frame not masked")
        else:
            assert (await client.receive())["type"] == "ACK"


async def test_a_close_code_that_cannot_be_closes_with_1002(engine: str, server: SignalingServer) -> None:
    """RFC 6455 section 7.4.2: 5000 and above are nobody's; aiohttp's engine echoes them."""
    async with await RawClient.connect(server.port) as client:
        client.send_frame(CLOSE, (5000).to_bytes(2))
        assert (await client.closed(answer=False)).code == (1002 if engine == "own" else 5000)


async def test_a_close_reason_must_be_utf8(server: SignalingServer) -> None:
    """RFC 6455 section 5.5.1: 1007."""
    async with await RawClient.connect(server.port) as client:
        client.send_frame(CLOSE, b"\x03\xe8\xff")
        assert (await client.closed()).code == 1007


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4001, 4999, None])
async def test_a_close_is_answered_with_the_same_code(server: SignalingServer, code: int | None) -> None:
    """Section 6, keep: the code is echoed, then the connection ends."""
    async with await joined(server, "r") as a, await joined(server, "r") as b:
        await a.receive()
        b.send_frame(CLOSE, b"" if code is None else code.to_bytes(2) + b"bye")
        assert await b.closed(answer=False) == (code, "")
        assert (await a.receive())["type"] == "PEER_LEFT"


async def test_nothing_behind_a_close_is_handled(server: SignalingServer) -> None:
    """RFC 6455 section 5.5.1."""
    async with await joined(server, "r") as a, await joined(server, "r") as b:
        await a.receive()
        offer = f'{{"type":"OFFER","target_id":"{a.peer_id}","payload":{{}}}}'.encode()
        b.write(client_frame(CLOSE, (1000).to_bytes(2)) + client_frame(TEXT, offer) + client_frame(PING))
        assert (await b.closed(answer=False)).code == 1000
        assert (await a.receive())["type"] == "PEER_LEFT"
        await a.nothing_more()


async def test_half_a_connection_is_none(server: SignalingServer) -> None:
    """Section 6, keep: a client that shuts its sending side down gets EOF."""
    async with await joined(server, "r") as client:
        client.writer.write_eof()
        await client.ended()
        await until(lambda: not server.hub.rooms.peers)


# --- liveness ---------------------------------------------------------------------------------------------------------


async def test_the_server_pings() -> None:
    """Section 6, fix: on its own interval from the settings, one sweep for all."""
    async with (
        running_server(ping_interval=0.05, cleanup_interval=0.01) as server,
        await RawClient.connect(server.port) as a,
        await RawClient.connect(server.port) as b,
    ):
        for client in (a, b, a, b):
            assert await client.read_frame() == (0x80 | PING, b"")


@pytest.mark.parametrize("sign", ["pong", "ping", "message"])
async def test_any_traffic_counts_as_life(server: SignalingServer, sign: str) -> None:
    """Section 6, fix: in the original only a pong does, and a client that talks without pause is cut."""
    frames = {"pong": client_frame(PONG), "ping": client_frame(PING), "message": client_frame(TEXT, KEEP_ALIVE)}
    async with await RawClient.connect(server.port) as client:
        known = server.hub.edge.clients[client.peer_id]
        known.last_seen_at = long_ago = known.last_seen_at - 59
        client.write(frames[sign])
        await until(lambda: known.last_seen_at > long_ago + 58)


async def test_a_silent_peer_is_closed_and_its_room_told() -> None:
    """Section 6, fix: 1011 in a close frame instead of a bare EOF."""
    async with (
        running_server(cleanup_interval=0.01) as server,
        await joined(server, "r") as alive,
        await joined(server, "r") as silent,
    ):
        await alive.receive()
        server.hub.edge.clients[silent.peer_id].last_seen_at -= 60
        left = await alive.receive()
        assert (left["type"], left["peer_id"]) == ("PEER_LEFT", silent.peer_id)
        assert await silent.closed() == (1011, "no traffic for 60 s")
        assert (await http(server.port, "/api/stats")).json["peers"]["total"] == 1


async def test_a_client_that_ignores_a_close_is_cut_off() -> None:
    """Ours: nobody can keep a closed connection for longer than the close timeout."""
    async with running_server(cleanup_interval=0.01) as server, await RawClient.connect(server.port) as client:
        server.hub.edge.clients[client.peer_id].last_seen_at -= 60
        assert (await client.closed(answer=False)).code == 1011
        await until(lambda: not server.switchboard._leaving)


async def test_a_shutdown_says_1001_to_everybody_and_does_not_hang() -> None:
    """Section 6, fix: the original vanishes without a close frame."""
    async with running_server() as server:
        clients = [await joined(server, "r") for _ in range(3)]
        await server.close()
        for client in clients:
            while (frame := await client.read_frame()).opcode != CLOSE:
                assert json.loads(frame.payload)["type"] == "PEER_JOINED", "nobody is told that others left"
            assert int.from_bytes(frame.payload[:2]) == 1001
            await client.ended()
            client.abort()
