"""The smallest server of the same protocol on the `websockets` package: what `scripts/bench server` measures against.

It does what its task needs and nothing else: no limits, no expiry, no validation but of JSON. It uses msgspec and,
where installed, uvloop, as the servers of the original measurements did.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import time
from typing import Any

import msgspec
from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection, serve


class Envelope(msgspec.Struct, gc=False):
    """What routing needs."""

    type: str
    target_id: str = ""
    room_id: str = ""
    request_id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")


DECODER = msgspec.json.Decoder(Envelope)
peers: dict[str, ServerConnection] = {}
rooms: dict[str, dict[str, dict[str, Any]]] = {}


def encode(**message: Any) -> str:
    return msgspec.json.encode(message | {"timestamp": int(time.time() * 1000)}).decode()


async def handle(connection: ServerConnection) -> None:
    peer_id = f"{id(connection):016x}"
    peers[peer_id] = connection
    room_id = ""
    await connection.send(encode(type="ACK", peer_id=peer_id, payload={"message": "connected"}))
    try:
        async for data in connection:
            message = DECODER.decode(data)
            if message.type == "OFFER":
                forwarded = b'{"type":"OFFER","peer_id":"%b","target_id":"%b","payload":%b,"timestamp":%d}' % (
                    peer_id.encode(),
                    message.target_id.encode(),
                    bytes(message.payload),
                    int(time.time() * 1000),
                )
                await peers[message.target_id].send(forwarded, text=True)
            elif message.type == "JOIN":
                room_id = message.room_id
                info = {
                    "peer_id": peer_id,
                    **msgspec.json.decode(message.payload),
                    "joined_at": int(time.time() * 1000),
                }
                members = rooms.setdefault(room_id, {})
                members[peer_id] = info
                listed = {"room_id": room_id, "peers": list(members.values())}
                await connection.send(encode(type="ACK", peer_id=peer_id, room_id=room_id, payload=listed))
                announced = encode(type="PEER_JOINED", peer_id=peer_id, room_id=room_id, payload=info)
                for other in members:
                    if other != peer_id:
                        await peers[other].send(announced)
            elif message.type == "KEEP_ALIVE":
                await connection.send(encode(type="ACK", peer_id=peer_id, request_id=message.request_id))
    except ConnectionClosed:
        pass  # the load generator leaves without a close frame
    finally:
        del peers[peer_id]
        rooms.get(room_id, {}).pop(peer_id, None)


async def run() -> None:
    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=32_768) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    try:
        loop_factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        loop_factory = None
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as runner:
        sys.exit(runner.run(run()))
