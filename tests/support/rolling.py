"""A client that sends numbered messages while servers are replaced, as docs/protocol.md says under Drain."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Final

from tests.support.resuming import Member
from tests.support.ws_raw import CLOSE, PING, PONG, TEXT, Message

INTERVAL: Final = 0.01
"""Seconds between two messages: a tenth of what a server lets a client send."""


class Traveller(Member):
    """One of two in a room."""

    def __init__(self, port: int, room_id: str) -> None:
        super().__init__(port, room_id)
        self.other_id = ""
        self.number = 0
        """Messages made so far."""
        self.arrived: list[int] = []
        self.seen: list[str] = []
        """Types of the room events received."""
        self.moves = 0
        self.refused = 0
        self._waiting: deque[int] = deque()
        """Made, and not given to a server that had the other one."""
        self._held = False
        """From GOAWAY until the other one is in the room of the next server."""

    async def stream(self, stop: asyncio.Event) -> None:
        """Send until told to stop."""
        while not stop.is_set():
            self._waiting.append(self.number)
            self.number += 1
            self._send_waiting()
            await asyncio.sleep(INTERVAL)

    async def travel(self) -> None:
        """Read, and move on whenever a server lets go of this client."""
        while True:
            assert self.client is not None
            frame = await self.client.read_frame()
            match frame.opcode:
                case opcode if opcode == PING:
                    self.client.send_frame(PONG, frame.payload)
                case opcode if opcode == TEXT:
                    self.received += 1
                    self._on_message(json.loads(frame.payload))
                case opcode if opcode == CLOSE:
                    assert int.from_bytes(frame.payload[:2]) == 1012
                    self.client.send_frame(CLOSE, frame.payload[:2])
                    await self._move()

    async def _move(self) -> None:
        self._held = True
        self.moves += 1
        ack = await self.resume()
        if any(info["peer_id"] == self.other_id for info in ack["payload"]["peers"]):
            self._release()

    def _on_message(self, message: Message) -> None:
        match message["type"]:
            case "OFFER":
                self.arrived.append(int(message["payload"]["session_id"]))
            case "GOAWAY":
                self._held = True
            case "PEER_JOINED" | "PEER_LEFT" as event:
                self.seen.append(event)
                if event == "PEER_JOINED" and message["peer_id"] == self.other_id:
                    self._release()
            case "ERROR":
                assert message["payload"]["code"] == "PEER_NOT_FOUND", message
                self.refused += 1
                self._waiting = deque(sorted([*self._waiting, int(message["request_id"])]))

    def _release(self) -> None:
        self._held = False
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and not self._held:
            number = self._waiting.popleft()
            assert self.client is not None
            payload = {"session_id": str(number)}
            self.client.send(type="OFFER", target_id=self.other_id, payload=payload, request_id=str(number))


async def travellers(port: int, pairs: int) -> list[tuple[Traveller, Traveller]]:
    """Fill rooms of two."""
    both = [(Traveller(port, f"pair-{n}"), Traveller(port, f"pair-{n}")) for n in range(pairs)]
    for one, other in both:
        await one.join()
        await other.join()
        one.other_id, other.other_id = other.peer_id, one.peer_id
        for member in (one, other):
            await member.settle()
    return both
