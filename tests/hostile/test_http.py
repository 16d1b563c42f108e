"""HTTP clients that wish the server ill: they are answered and counted, and others do not notice."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.hostile import http_client
from tests.hostile.http_client import HEAD, MALFORMED, send
from tests.support.server_running import ServerProcess, http, server_process
from tests.support.ws_raw import RawClient

pytestmark = pytest.mark.timeout(60)

LINE: Final = re.compile(r"^\S+ \S+ (INFO|WARNING) visavis_server")
"""How a line of the log begins that nobody has to be woken for."""


def check_log(server: ServerProcess) -> None:
    """Fail on anything in the log that is not a line of ours, such as a traceback."""
    strange = [line for line in server.errors.splitlines() if not LINE.match(line)]
    assert not strange, "\n".join(strange)


async def test_what_is_no_http_is_answered_counted_and_logged_once_a_second_without_an_address() -> None:
    async with server_process("--log-addresses", "none", "--cleanup-interval", "0.2") as server:
        for data in MALFORMED:
            answer = await send(server.port, data)
            assert answer.split(b" ", 2)[1:2] == [b"400"], (data[:60], answer[:200])
        flood = [send(server.port, MALFORMED[index % len(MALFORMED)]) for index in range(300)]
        await asyncio.gather(*flood)
        await server.said("refused")
        assert server.errors.count("is refused") < 60
        assert server.errors.count("malformed") < 60
        check_log(server)
        own = (" clients run: ", " only this machine can reach ")  # have the server's own address
        told = [line for line in server.errors.splitlines() if not any(part in line for part in own)]
        assert "127.0.0.1" not in "".join(told)


async def test_the_address_of_who_sends_what_is_no_http_stands_in_the_log_where_addresses_do() -> None:
    async with server_process("--log-addresses", "plain") as server:
        await send(server.port, MALFORMED[0])
        assert "a request of 127.0.0.1 is refused: no request line" in await server.said("is refused")


async def test_bodies_that_are_not_what_their_headers_say_are_the_clients_fault(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("t" * 32)
    kick = b"POST /api/admin/kick HTTP/1.1\r\n" + HEAD + b"Authorization: Bearer " + b"t" * 32 + b"\r\n"
    async with server_process("--admin-token-file", str(tokens)) as server:
        for rest in (
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
            b"Content-Length: 2\r\n\r\n\xff\xfe",
        ):
            assert (await send(server.port, kick + b"Connection: close\r\n" + rest)).split(b" ", 2)[1] == b"400", rest
        await send(server.port, kick + b"Content-Length: 50\r\n\r\n{", wait=0.1)  # gone in the midst of it
        assert await send(server.port, b"GET /health HTTP/1.0\r\n\r\n")
        check_log(server)


@asynccontextmanager
async def attacker(port: int, kind: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a hostile client as a process of its own until the end of the block."""
    arguments = (str(port), kind, "--seed", "1", "--count", str(count))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", http_client.__name__, *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def both(one: asyncio.subprocess.Process, other: asyncio.subprocess.Process) -> tuple[int, int]:
    """Return the exit codes of two processes when they have ended."""
    return await one.wait(), await other.wait()


async def test_an_ordinary_client_goes_on_amid_hostile_ones_of_every_kind() -> None:
    limits = ("--message-rate", "0", "--answer-timeout", "2")
    async with server_process(*limits) as server, await RawClient.connect(server.port) as client:
        for number in range(300):
            name = f"{number:04}" + "\N{GRINNING FACE}" * 124
            await client.request(type="JOIN", room_id=name, payload={})
        async with (
            attacker(server.port, "hoarders", 150),
            attacker(server.port, "slow-readers", 50),
            attacker(server.port, "slow-headers", 100) as slow,
            attacker(server.port, "mutations", 2000) as mutations,
        ):
            attacks = asyncio.ensure_future(both(slow, mutations))
            try:
                while not attacks.done():
                    assert (await client.request(type="KEEP_ALIVE", request_id="k"))["type"] == "ACK"
                    assert (await http(server.port, "/health")).status == 200
                    async with await RawClient.connect(server.port) as newcomer:
                        assert (await newcomer.request(type="JOIN", room_id="r", payload={}))["type"] == "ACK"
            finally:
                if not attacks.done():
                    attacks.cancel()
            assert attacks.result() == (0, 0)
        check_log(server)


def upgrade(*headers: bytes) -> bytes:
    """Return an upgrade request that is refused unless all is well: it is not for the version that we speak."""
    lines = b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nConnection: close\r\n"
    return b"GET /ws HTTP/1.1\r\n" + lines + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


async def test_hosts_origins_and_paths_are_taken_by_the_letter() -> None:
    good, origin = b"Host: good.example", b"Origin: https://good.example"
    names = ("--allowed-host", "good.example", "--allowed-origin", "https://good.example")
    requests = [
        # an upgrade that passes all checks fails at its version
        (400, b"400 Bad Request", upgrade(good, origin)),
        (403, b"that name", upgrade(b"Host: good.example:80:evil", origin)),
        (403, b"that name", upgrade(b"Host: good.example#.evil.example", origin)),
        (403, b"that name", upgrade(b"Host: evil@good.example", origin)),
        (403, b"that name", upgrade(good, origin).replace(b"/ws", b"http://evil.example/ws")),
        (403, b"this origin", upgrade(good, b"Origin: https://evil.example")),
        (400, b"more than one Origin", upgrade(good, origin, b"Origin: https://evil.example")),
        (400, b"more than one Authorization", upgrade(good, b"Authorization: Bearer a", b"Authorization: Bearer b")),
        (401, b"", b"GET /api/admin/rooms HTTP/1.0\r\n" + good + b"\r\n\r\n"),
        *(
            (404, b"not found", b"GET " + path + b" HTTP/1.0\r\n" + good + b"\r\n\r\n")
            for path in (
                b"/api/%61dmin/rooms",
                b"/api%2fadmin/rooms",
                b"//api/admin/rooms",
                b"/api/./admin/rooms",
                b"/%77s",
            )
        ),
    ]
    async with server_process(*names) as server:
        for status, part, data in requests:
            answer = await send(server.port, data)
            assert (int(answer.split(b" ", 2)[1]), part in answer) == (status, True), (data, answer)
        check_log(server)


def resident_size(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def list_of(client: str, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET /api/rooms HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n{lines}\r\n".encode()


async def test_who_asks_for_much_and_does_not_read_is_cut_and_costs_others_nothing() -> None:
    limits = ("--message-rate", "0", "--trusted-proxy", "127.0.0.1", "--answer-timeout", "2")
    async with server_process(*limits, "--cleanup-interval", "0.2") as server:
        async with await RawClient.connect(server.port) as client, AsyncExitStack() as stack:
            for number in range(2000):
                name = f"{number:04}" + "\N{GRINNING FACE}" * 124
                assert (await client.request(type="JOIN", room_id=name, payload={}))["type"] == "ACK"
            before = resident_size(server.pid)
            loop = asyncio.get_running_loop()
            for number in range(100):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", server.port))
                # more than the system buffers of a connection hold
                await loop.sock_sendall(sock, list_of(f"192.0.2.{number % 4}") * 16)
            await server.said("answers")
            whole = await send(server.port, list_of("198.51.100.1", Connection="close"))
            assert whole.startswith(b"HTTP/1.1 200 "), whole[:200]
            assert len(whole) > 1_000_000
            assert resident_size(server.pid) - before < 40 << 20
            assert (await client.request(type="KEEP_ALIVE", request_id="k"))["type"] == "ACK"
            assert "192.0.2." not in await server.said("an answer that nobody reads"), "hashed, as by default"
            await server.said("unread")
        assert (await send(server.port, list_of("192.0.2.1", Connection="close"))).startswith(b"HTTP/1.1 200 ")
        check_log(server)


async def test_a_list_that_has_not_changed_is_not_sent_again_and_pages_add_up() -> None:
    async with server_process() as server, await RawClient.connect(server.port) as client:
        for name in ("c", "a", "b"):
            await client.request(type="JOIN", room_id=name, payload={})
        whole = await http(server.port, "/api/rooms")
        assert [room["id"] for room in whole.json["rooms"]] == ["c", "a", "b"]
        for known in (whole.headers["etag"], f'"other", W/{whole.headers["etag"]}', "*"):
            again = await send(server.port, list_of("192.0.2.1", Connection="close", If_None_Match=known))
            head, _, body = again.partition(b"\r\n\r\n")
            assert (head.split(b" ")[1], body) == (b"304", b""), again
        other = await send(server.port, list_of("192.0.2.1", Connection="close", If_None_Match='"other"'))
        assert other.startswith(b"HTTP/1.1 200 ")
        first = (await http(server.port, "/api/rooms?limit=2")).json["rooms"]
        second = (await http(server.port, f"/api/rooms?limit=2&after={first[-1]['id']}")).json["rooms"]
        assert [room["id"] for room in first + second] == ["a", "b", "c"]
        assert (await http(server.port, "/api/rooms?limit=x")).status == 400
        assert (await http(server.port, "/api/rooms", "HEAD")).headers["etag"] == whole.headers["etag"]
