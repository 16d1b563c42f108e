"""A WebSocket client that sends any bytes one likes: for tests of what a server makes of them."""

from __future__ import annotations

import asyncio
import json
import struct
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455 section 1.3; the server must answer it with ACCEPT."""
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TIMEOUT: Final = 10.0
"""Seconds after which a test fails rather than waits on."""

Message = dict[str, Any]


class Frame(NamedTuple):
    """One frame of the server."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0x0F


class Closed(NamedTuple):
    """How the server ended a connection."""

    code: int | None
    """None for an empty close frame."""
    reason: str


def upgrade_request(path: str = "/ws", version: str = "HTTP/1.1", /, **headers: str | None) -> bytes:
    """Return an upgrade request; a header given as None is left out, underscores stand for hyphens."""
    fields: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} {version}", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """Return one frame as a client sends it, or as it must not."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", mask_bit | 127, len(payload))
    if not masked:
        return head + payload
    mask = b"\x12\x34\x56\x78"
    repeated = mask * (len(payload) // 4 + 1)
    return head + mask + bytes(a ^ b for a, b in zip(payload, repeated, strict=False))


class RawClient:
    """A connection to a server on loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.peer_id = ""
        self.response = ""
        """Status line and headers of the answer to the upgrade."""

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> Self:
        """Connect without sending anything."""
        return cls(*await asyncio.open_connection(host, port))

    @classmethod
    async def connect(cls, port: int, *, behind: bytes = b"", host: str = "127.0.0.1", **headers: str | None) -> Self:
        """Connect, upgrade, and take the welcome; `behind` goes out in one write with the request."""
        client = await cls.open(port, host)
        client.write(upgrade_request(**headers) + behind)
        await client.read_response()
        client.peer_id = (await client.receive())["peer_id"]
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.abort()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self.writer.transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def send_frame(self, opcode: int, payload: bytes = b"", **how: Any) -> None:
        """Send one frame, see client_frame."""
        self.write(client_frame(opcode, payload, **how))

    def send_text(self, text: str | bytes) -> None:
        """Send one text message."""
        self.send_frame(TEXT, text if isinstance(text, bytes) else text.encode())

    def send(self, **message: Any) -> None:
        """Send one message as JSON."""
        self.send_text(json.dumps(message))

    async def read_response(self) -> str:
        """Read status line and headers."""
        async with asyncio.timeout(TIMEOUT):
            self.response = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return self.response

    async def read_frame(self) -> Frame:
        """Read one frame of whatever kind."""
        async with asyncio.timeout(TIMEOUT):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return Frame(first, await self.reader.readexactly(size))

    async def receive_bytes(self) -> bytes:
        """Read the next text message, pings in between left unanswered."""
        while True:
            frame = await self.read_frame()
            if frame.opcode == PING:
                continue
            assert frame.opcode == TEXT, frame
            return frame.payload

    async def receive(self) -> Message:
        """Read the next message."""
        message: Message = json.loads(await self.receive_bytes())
        return message

    async def request(self, **message: Any) -> Message:
        """Send one message and read the next one that comes."""
        self.send(**message)
        return await self.receive()

    async def nothing_more(self) -> None:
        """Check that nothing is under way to this client: a ping overtakes no message."""
        self.send_frame(PING, b"barrier")
        frame = await self.read_frame()
        assert (frame.opcode, frame.payload) == (PONG, b"barrier"), frame

    async def closed(self, *, answer: bool = True) -> Closed:
        """Read up to the close frame, check that the connection then ends, and return code and reason."""
        while (frame := await self.read_frame()).opcode != CLOSE:
            pass
        if answer:
            self.send_frame(CLOSE, frame.payload[:2])
        await self.ended()
        code = int.from_bytes(frame.payload[:2]) if frame.payload else None
        return Closed(code, frame.payload[2:].decode())

    async def ended(self) -> None:
        """Wait until the server has closed the TCP connection."""
        async with asyncio.timeout(TIMEOUT):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
