"""An HTTP client that wishes a server ill. By hand: `python -m tests.hostile.http_client PORT [SEED [COUNT]]`."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from typing import Final

HEAD: Final = b"Host: localhost\r\n"
REQUESTS: Final = (
    b"GET /api/rooms HTTP/1.1\r\n" + HEAD + b'Accept: */*\r\nIf-None-Match: "1"\r\n\r\n',
    b"GET /api/rooms/r HTTP/1.1\r\n"
    + HEAD
    + b"X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nOrigin: https://a.example\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"POST /api/admin/kick HTTP/1.1\r\n" + HEAD + b"Authorization: Bearer no\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/admin/close HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"OPTIONS /api/stats HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\nContent-Encoding: gzip\r\n\r\n",
)
"""What is mutated: one request of each kind."""
MALFORMED: Final = (
    b"\0\1no words at all\r\n\r\n",
    b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"CONNECT a:b HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET http://[ HTTP/1.1\r\n" + HEAD + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: \xff\xfe\1\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    b"POST /health HTTP/1.1\r\n" + HEAD + b"Content-Length: -5\r\n\r\n",
    b"POST /health HTTP/1.1\r\n" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /api/admin/kick HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
)
"""Each of these is answered with 400."""
_PIECES: Final = (
    b"\r\n",
    b"\n",
    b" ",
    b":",
    b"\0",
    b"\xff",
    b"%ff",
    b"//",
    b"..",
    b"?",
    b"#",
    b"[",
    b"@",
    b"*",
    b"0\r\n\r\n",
    b"zz",
)


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """Yield requests with a few bytes cut, put in, repeated or changed; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(REQUESTS))
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(4):
                case 0:
                    del data[at : at + chance.randrange(1, 12)]
                case 1:
                    data[at:at] = chance.choice(_PIECES) * chance.choice((1, 1, 1, 300))
                case 2:
                    data[at:at] = data[max(0, at - 30) : at]
                case _:
                    data[at : at + 1] = bytes([chance.randrange(256)])
        yield bytes(data)


async def send(port: int, data: bytes, wait: float = 10.0) -> bytes:
    """Send `data` on a connection of its own, say no more, and return what comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(wait):
            return await reader.read()
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.transport.abort()


async def sprinkle(port: int, seed: int, count: int) -> None:
    """Send mutated requests, 16 at once, and leave soon after each, whether or not it has been answered."""
    left = mutations(seed, count)

    async def one_after_another() -> None:
        for data in left:
            await send(port, data, wait=0.02)

    await asyncio.gather(*(one_after_another() for _ in range(16)))


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    asyncio.run(sprinkle(numbers[0], *([*numbers[1:], 0, 10_000][:2] if len(numbers) < 3 else numbers[1:3])))
