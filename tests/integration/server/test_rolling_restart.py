"""One server after the other behind one address, while the peers keep writing to each other."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import deque
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.conditions import until
from tests.support.server_running import ServerProcess, server_process
from tests.support.ws_raw import CLOSE, PING, PONG, TEXT, RawClient

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.timeout(120)]

ROOMS: Final = 10
SIZE: Final = 3
COUNT: Final = 150
"""Messages of each member to each other one of its room."""
PAUSE: Final = 0.02
"""Seconds between two messages of a member: it writes for longer than the move takes."""
QUIET: Final = 0.5
"""Seconds before the close in which nothing is sent (docs/protocol.md, "Drain")."""


class Front:
    """What stands before the servers: new connections go to the current one."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server


class Correspondent:
    """A member that follows the protocol's rules for a drain, and counts what it gets."""

    def __init__(self, front: Front, room_id: str) -> None:
        self.front = front
        self.room_id = room_id
        self.peer_id = ""
        self.todo: deque[tuple[str, int]] = deque()
        """Target and number of each message that has not been sent, or was refused."""
        self.got: list[tuple[str, int]] = []
        """Sender and number of each message."""
        self.moves = 0
        self.refused = 0
        self._client: RawClient | None = None
        self._token = ""
        self._received = 0
        self._quiet = False
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        self._client = await RawClient.connect(self.front.server.port)
        ack = await self._client.request(type="JOIN", room_id=self.room_id, payload={"resume": True})
        self.peer_id = ack["peer_id"]
        self._take_token(ack)
        self._tasks = [asyncio.create_task(self._read())]

    def write_to(self, others: list[Correspondent]) -> None:
        self.todo.extend((other.peer_id, number) for number in range(COUNT) for other in others if other is not self)
        self._tasks.append(asyncio.create_task(self._write()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        done, _ = await asyncio.wait(self._tasks)
        if self._client is not None:
            self._client.abort()
            await asyncio.sleep(0)
        for task in done:
            if not task.cancelled():
                task.result()

    def _take_token(self, ack: dict[str, Any]) -> None:
        self._token = ack["payload"]["resume"]["token"]
        self._received = 0

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            if self._client is not None and not self._quiet and self.todo:
                target, number = self.todo.popleft()
                payload = {"session_id": f"{number}"}
                self._client.send(type="OFFER", target_id=target, request_id=f"{target}/{number}", payload=payload)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            assert self._client is not None
            frame = await self._client.read_frame()
            if frame.opcode == PING:
                self._client.send_frame(PONG, frame.payload)
            elif frame.opcode == CLOSE:
                assert int.from_bytes(frame.payload[:2]) == 1012, frame
                self._client.send_frame(CLOSE, frame.payload[:2])
                await self._move()
            elif frame.opcode == TEXT:
                self._received += 1
                message = json.loads(frame.payload)
                match message["type"]:
                    case "OFFER":
                        self.got.append((message["peer_id"], int(message["payload"]["session_id"])))
                    case "ERROR":
                        assert message["payload"]["code"] == "PEER_NOT_FOUND", message
                        target, _, number = message["request_id"].partition("/")
                        self.refused += 1
                        self.todo.append((target, int(number)))
                    case "GOAWAY":
                        delay = message["payload"]["reconnect_after_ms"] / 1000 - QUIET
                        assert delay > 0
                        loop.call_later(delay, self._fall_silent)

    def _fall_silent(self) -> None:
        self._quiet = True

    async def _move(self) -> None:
        client, self._client = self._client, None
        assert client is not None
        await client.ended()
        client.abort()
        fresh = await RawClient.connect(self.front.server.port)
        payload = {"token": self._token, "received": self._received}
        ack = await fresh.request(type="RESUME", payload=payload)
        assert ack["type"] == "ACK", ack
        assert ack["peer_id"] == self.peer_id
        self._take_token(ack)
        self._client, self._quiet = fresh, False
        self.moves += 1


async def test_a_rolling_restart_loses_no_directed_message(tmp_path: Path) -> None:
    """Each comes exactly once: what is refused because its target is on the other server is sent again."""
    limits = ("--message-rate", "0", "--pair-rate", "0", "--key-file", str(tmp_path / "keys"), "--drain-time", "3")
    async with server_process(*limits) as former, server_process(*limits) as latter:
        front = Front(former)
        rooms = [[Correspondent(front, f"room-{number}") for _ in range(SIZE)] for number in range(ROOMS)]
        everybody = [member for room in rooms for member in room]
        try:
            for member in everybody:
                await member.join()
            for room in rooms:
                for member in room:
                    member.write_to(room)
            await until(lambda: all(len(member.got) > 20 for member in everybody), 20)
            front.server = latter
            former.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await former.process.wait() == 0
            await until(lambda: all(len(member.got) >= COUNT * (SIZE - 1) for member in everybody), 60)
        finally:
            for member in everybody:
                await member.stop()
        for room in rooms:
            for member in room:
                expected = {(other.peer_id, number) for other in room if other is not member for number in range(COUNT)}
                assert len(member.got) == len(expected)
                assert set(member.got) == expected
        assert {member.moves for member in everybody} == {1}
        assert sum(member.refused for member in everybody), "the rooms were never on both servers: too little was tried"
