"""Clients that resume: they count what they receive, and lose their connections when told to."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, Final

from tests.support.ws_raw import PING, PONG, TEXT, Message, RawClient

OPENED: Final[list[RawClient]] = []
"""What a test has connected; for `cut_all` at its end."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER for no time at all: closing the socket sends RST."""


async def cut_all() -> None:
    """Drop everything that a test has connected."""
    while OPENED:
        OPENED.pop().abort()
    await asyncio.sleep(0)


async def connect(port: int) -> RawClient:
    client = await RawClient.connect(port)
    OPENED.append(client)
    return client


class Member:
    """A client that resumes: it counts what it receives, and loses its connection when told to."""

    def __init__(self, port: int, room_id: str) -> None:
        self.port = port
        self.room_id = room_id
        self.peer_id = ""
        self.token = ""
        self.received = 0
        self.messages: list[Message] = []
        """All that came after the ACK of the JOIN."""
        self.client: RawClient | None = None

    async def join(self) -> None:
        self.client = await connect(self.port)
        ack = await self.client.request(type="JOIN", room_id=self.room_id, payload={"resume": True})
        self._take_ack(ack)

    async def resume(self, port: int | None = None) -> Message:
        """Come back on a new connection; return the ACK."""
        self.client = await connect(port or self.port)
        payload = {"token": self.token, "received": self.received}
        ack = await self.client.request(type="RESUME", payload=payload)
        assert ack["type"] == "ACK", ack
        assert ack["payload"]["resumed"]
        self._take_ack(ack)
        return ack

    def _take_ack(self, ack: Message) -> None:
        self.peer_id = ack["peer_id"]
        self.token = ack["payload"]["resume"]["token"]
        self.received = 0

    def cut(self) -> None:
        """Lose the connection, with all that is unread or unsent on it, by a TCP reset."""
        assert self.client is not None
        self.client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client.abort()

    async def settle(self) -> None:
        """Read everything that the server has sent so far."""
        assert self.client is not None
        self.client.send_frame(PING, b"barrier")
        while True:
            frame = await self.client.read_frame()
            if frame.opcode == PONG:
                return
            if frame.opcode == PING:
                self.client.send_frame(PONG, frame.payload)
            elif frame.opcode == TEXT:
                self.received += 1
                self.messages.append(json.loads(frame.payload))

    def offer(self, target: Member, number: int) -> None:
        assert self.client is not None
        payload = {"session_id": f"{self.peer_id}-{number}"}
        self.client.send(type="OFFER", target_id=target.peer_id, payload=payload)

    def offers(self) -> list[str]:
        return [message["payload"]["session_id"] for message in self.messages if message["type"] == "OFFER"]

    def events(self) -> list[Any]:
        return [message for message in self.messages if message["type"] in ("PEER_JOINED", "PEER_LEFT")]


async def members(port: int, rooms: int, size: int) -> list[list[Member]]:
    """Fill rooms, and take the announcements of that."""
    filled = [[Member(port, f"room-{number}") for _ in range(size)] for number in range(rooms)]
    for room in filled:
        for member in room:
            await member.join()
        for member in room:
            await member.settle()
            member.messages.clear()
    return filled
