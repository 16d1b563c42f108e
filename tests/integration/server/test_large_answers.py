"""Large answers, also where another application's connections carry them: each is over some day."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

from tests.support.conditions import until
from tests.support.server_running import DEFAULTS, http, running_server
from tests.support.ws_raw import RawClient
from visavis_server.mounting import application
from visavis_server.setup.settings import Settings
from visavis_server.sockets.answers import COUNT_LIMIT, PIECE_SIZE

ROOM_COUNT = 200


async def fill(port: int) -> RawClient:
    client = await RawClient.connect(port)
    for number in range(ROOM_COUNT):
        await client.request(type="JOIN", room_id=f"{number:04}" + "\N{GRINNING FACE}" * 124, payload={})
    return client


async def test_a_mounted_server_gives_large_answers_again_and_again() -> None:
    runner = web.AppRunner(application(Settings.model_validate(DEFAULTS)))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with await fill(port):
            for _ in range(COUNT_LIMIT + 1):
                answer = await http(port, "/api/rooms")
                assert (answer.status, len(answer.body) > PIECE_SIZE) == (200, True)
                assert len(answer.json["rooms"]) == ROOM_COUNT
    finally:
        await runner.cleanup()


async def test_clients_that_leave_in_the_midst_of_an_answer_leave_room_for_others() -> None:
    async with running_server() as server, await fill(server.port):
        large = server.rest._large
        loop = asyncio.get_running_loop()
        for _ in range(COUNT_LIMIT + 1):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", server.port))
                await loop.sock_sendall(sock, b"GET /api/rooms HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
                await loop.sock_recv(sock, 1)
        await until(lambda: not large._count)
        head = await http(server.port, "/api/rooms", "HEAD")
        assert (head.status, head.body, int(head.headers["content-length"]) > PIECE_SIZE) == (200, b"", True)
        assert (await http(server.port, "/api/rooms")).status == 200
        assert not large._count
