"""A load generator for servers of the signaling protocol: plain sockets, to cost less than what it measures."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import Any, Final

READ_SIZE: Final = 1 << 18
"""Bytes asked of the kernel at once."""
UPGRADE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
"""Opcodes (RFC 6455 section 5.2)."""


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """Return a frame of less than 64 KiB; its mask is zero, which costs the receiver the same as any other."""
    size, first = len(payload), 0x80 | opcode
    head = struct.pack("!BB", first, 0x80 | size) if size < 126 else struct.pack("!BBH", first, 0x80 | 126, size)
    return head + bytes(4) + payload


def text_frame(message: dict[str, Any]) -> bytes:
    """Return a message as a masked text frame."""
    return masked_frame(TEXT, json.dumps(message, separators=(",", ":")).encode())


class Client:
    """One connection, blocking until `relay` takes it over."""

    def __init__(self, port: int, upgrade: bytes = UPGRADE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.peer_id = ""
        self.socket.sendall(upgrade)

    def welcome(self) -> None:
        """Read the answer to the upgrade and the welcome."""
        while b"\r\n\r\n" not in self.buffer:
            self._read()
        self.buffer = self.buffer.partition(b"\r\n\r\n")[2]
        self.peer_id = json.loads(self.receive())["peer_id"]

    def send(self, **message: Any) -> None:
        self.socket.sendall(text_frame(message))

    def receive(self) -> bytes:
        """Return the payload of the next frame."""
        return self.receive_frame()[1]

    def receive_frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame.

        Raises ConnectionError when there is none.
        """
        while True:
            size, head = self.buffer[1] if len(self.buffer) > 1 else 0, 2
            if size == 126:
                size, head = int.from_bytes(self.buffer[2:4]), 4
            elif size == 127:
                size, head = int.from_bytes(self.buffer[2:10]), 10
            if len(self.buffer) >= head + size:
                opcode, payload = self.buffer[0] & 0x0F, self.buffer[head : head + size]
                self.buffer = self.buffer[head + size :]
                return opcode, payload
            self._read()

    def _read(self) -> None:
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data


def connect_and_join(port: int, count: int, in_flight: int, room_size: int) -> list[Client]:
    """Open `count` connections, `in_flight` at a time, and let them join rooms of `room_size`."""
    clients: list[Client] = []
    for start in range(0, count, in_flight):
        batch = [Client(port) for _ in range(min(in_flight, count - start))]
        for client in batch:
            client.welcome()
        for index, client in enumerate(batch, start):
            client.send(type="JOIN", room_id=f"bench-{index // room_size}", payload={"display_name": f"peer {index}"})
        for client in batch:
            while b'"type":"ACK"' not in client.receive():
                pass
        clients += batch
    return clients


def relay(clients: list[Client], payload_size: int, window: int, seconds: float) -> tuple[int, float]:
    """Send OFFERs to and fro in every pair of neighbours, `window` outstanding a pair; return their count and seconds.

    The clients have joined in pairs. Every OFFER that arrives is answered by one back.
    """
    drain(clients)
    poll = select.epoll()
    frames: dict[int, bytes] = {}
    sockets: dict[int, socket.socket] = {}
    pending: dict[int, int] = {}
    size = 0
    for index, client in enumerate(clients):
        number = client.socket.fileno()
        message = {"type": "OFFER", "target_id": clients[index ^ 1].peer_id, "payload": {"sdp": "x" * payload_size}}
        frames[number], sockets[number], pending[number] = text_frame(message), client.socket, 0
    clients[0].socket.sendall(frames[clients[0].socket.fileno()])
    size = _frame_size(clients[1].receive())
    for client in clients:
        client.socket.setblocking(False)
        poll.register(client.socket, select.EPOLLIN)
    for client in clients[::2]:
        _send(client.socket, frames[client.socket.fileno()] * window)
    count = 0
    begun = now = time.perf_counter()
    end = begun + seconds
    while now < end:
        for number, _ in poll.poll():
            sock = sockets[number]
            received = pending[number] + len(sock.recv(READ_SIZE))
            whole, pending[number] = divmod(received, size)
            if whole:
                count += whole
                _send(sock, frames[number] * whole if whole > 1 else frames[number])
        now = time.perf_counter()
    poll.close()
    return count, now - begun


def drain(clients: list[Client]) -> None:
    """Take what is under way to clients that have been sent a request each: a KEEP_ALIVE comes back last."""
    for client in clients:
        client.send(type="KEEP_ALIVE", request_id="drained")
        while b'"drained"' not in client.receive():
            pass


def _frame_size(payload: bytes) -> int:
    size = len(payload)
    return size + (2 if size < 126 else 4 if size < 1 << 16 else 10)


def _send(sock: socket.socket, data: bytes) -> None:
    """Send everything; waits where the kernel has no space for it."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            select.select([], [sock], [])
