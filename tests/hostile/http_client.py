"""An HTTP client that wishes a server ill. By hand: `python -m tests.hostile.http_client PORT KIND`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
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


async def _open(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(data)
    return reader, writer


async def send_slowly(port: int, seed: int, count: int) -> None:
    """Begin `count` requests, add a byte to each now and then, and return when the server has cut them all."""
    chance = random.Random(seed)

    async def one() -> None:
        reader, writer = await _open(port, b"GET /health HTTP/1.1\r\nX: ")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.uniform(0.1, 1)):
                        if not await reader.read(1):
                            return
                writer.write(b"a")
        except ConnectionError:
            return
        finally:
            writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(count)))


async def read_nothing(port: int, seed: int, count: int) -> None:
    """Ask for more than the system's buffers hold on `count` connections, and read none of it; never returns."""
    _held = [await _open(port, REQUESTS[seed % 2] * 64) for _ in range(count)]
    await asyncio.Event().wait()


async def hoard(port: int, _: int, count: int) -> None:
    """Ask once on each of `count` connections, keep them all, and open others for those that are cut; never returns."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await _open(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                try:
                    while await reader.read(1 << 16):
                        pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(count)))


KINDS: Final = {"mutations": sprinkle, "slow-headers": send_slowly, "slow-readers": read_nothing, "hoarders": hoard}


def main() -> None:
    """Do one of these to the server at a port of this host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="requests or connections")
    given = parser.parse_args()
    asyncio.run(KINDS[given.kind](given.port, given.seed, given.count))


if __name__ == "__main__":
    main()
