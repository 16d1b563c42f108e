"""A plain WebSocket echo: an aiohttp server, and a client that sends everything and reads it back at the same time."""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

import aiohttp
from aiohttp import web
from scripts.benches.ends.loops import run
from scripts.benches.ends.meter import Meter, arguments_of_end

MESSAGE_SIZE: Final = 32 << 10
"""Bytes of a message: half of what our relay connection puts into one."""


async def serve() -> None:
    """Echo every message of every client, until killed; prints the port."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().create_future()


async def exchange(arguments: argparse.Namespace) -> None:
    """Send everything, read everything back."""
    url = f"ws://127.0.0.1:{arguments.address}/"
    meter = Meter(arguments.profile)
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        meter.start()
        sending = asyncio.create_task(_send(socket, arguments.size))
        received = 0
        while received < arguments.size:
            received += len(await socket.receive_bytes())
        await sending
        meter.stop()


async def _send(socket: aiohttp.ClientWebSocketResponse, size: int) -> None:
    message = bytes(MESSAGE_SIZE)
    for _ in range(size // MESSAGE_SIZE):
        await socket.send_bytes(message)


if __name__ == "__main__":
    parsed = arguments_of_end(__doc__)
    run(serve() if parsed.role == "serve" else exchange(parsed), parsed.loop)
