"""What stands in the place of the server, or on the way to it: the program says what it most likely is."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.commands import end as end_process
from tests.support.commands import next_event, run, start
from tests.support.server_running import server_process

NO_HTTP: Final = "does not speak HTTP: is that visavis-server's port?"
PAGE: Final = "<html>Welcome to the Grand Hotel. Please log in.</html>"


def answer(status: str, body: str = "", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n{body}".encode()


@asynccontextmanager
async def impostor(given: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Give the same answer to whoever comes; yield the port and the requests."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(given)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()


async def ping(server: str, **environment: str) -> tuple[int, str]:
    command = ("ping", "--server", server, "--room", "r", "--interface", "lo", "--timeout", "1")
    code, _, errors = await run(*command, given=None, **environment)
    return code, errors


@pytest.mark.parametrize(
    ("given", "code", "part"),
    [
        (answer("200 OK", PAGE, Content_Type="text/html"), 5, "wants a log-in first"),
        (answer("400 Bad Request", Sec_WebSocket_Version="13"), 5, "not to pass the WebSocket upgrade"),
        (answer("502 Bad Gateway"), 5, "does not reach the server"),
        (answer("504 Gateway Timeout"), 5, "does not reach the server"),
        (answer("404 Not Found"), 5, "path prefix"),
        (
            answer("401 Unauthorized", WWW_Authenticate='Basic realm="staff"'),
            9,
            "a proxy in front of the server asks for",
        ),
        (answer("401 Unauthorized", WWW_Authenticate="Bearer"), 9, "it asks for a token"),
        (b"", 5, "closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 5, NO_HTTP),
        (b"220 mail.example ESMTP\r\n502 5.5.2 Error: command not recognized\r\n", 5, NO_HTTP),
        (b"-ERR unknown command\r\n", 5, NO_HTTP),
        (bytes(range(256)) * 400, 5, NO_HTTP),
        (b"\x1b[2J\x1b]0;evil\x07\r\n", 5, NO_HTTP),
        (b"<html>an answer of HTTP/0.9</html>", 5, NO_HTTP),
        (b"HTTP/1.1 " + b"2" * 70_000, 5, NO_HTTP),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", 5, "closed without an answer"),
        (bytes.fromhex("15030100020232"), 5, "it answers with TLS: should its address be https:// and not http://?"),
    ],
    ids=[
        "portal",
        "no-upgrade",
        "502",
        "504",
        "404",
        "basic",
        "bearer",
        "silent-close",
        "ssh",
        "smtp",
        "redis",
        "garbage",
        "control",
        "http-0.9",
        "long",
        "half",
        "tls",
    ],
)
async def test_the_likely_cause_is_named(given: bytes, code: int, part: str) -> None:
    async with impostor(given) as (port, _):
        ended, errors = await ping(f"http://127.0.0.1:{port}")
        assert (ended, part in errors) == (code, True), errors
        assert "Traceback" not in errors
        assert "\x1b" not in errors


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "greeting",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail.example ESMTP\r\n", b"J\0\0\0\x0a8.0.36\0", b"", None],
    ids=["ssh", "smtp", "mysql", "closes", "resets"],
)
async def test_a_service_that_speaks_first_or_hangs_up_is_no_server(greeting: bytes | None, scheme: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting is None:
            linger = writer.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        code, errors = await ping(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
    last = errors.splitlines()[-1]
    assert code == 5, errors
    assert "is that visavis-server's port?" in last, errors
    assert "closing transport" not in errors
    assert "Error" not in errors


async def test_a_redirect_elsewhere_is_named_and_not_followed() -> None:
    async with impostor(answer("200 OK")) as (elsewhere, taken):
        there = f"http://127.0.0.1:{elsewhere}/login?to=secret"
        async with impostor(answer("302 Found", Location=there)) as (port, _):
            code, errors = await ping(f"http://127.0.0.1:{port}", VISAVIS_TOKEN="hush")
            assert code == 5
            assert f"redirects to http://127.0.0.1:{elsewhere}/login," in errors
            assert taken == []


async def test_certificates_that_do_not_hold_are_explained(tmp_path: Path) -> None:
    async def attempt(certificate: Certificate, host: str = "localhost", trusted: bool = True) -> str:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        await asyncio.to_thread(tls.load_cert_chain, certificate.cert, certificate.key)
        async with impostor(b"", tls) as (port, _):
            environment = {"SSL_CERT_FILE": str(certificate.cert)} if trusted else {}
            code, errors = await ping(f"https://{host}:{port}", **environment)
            assert code == 5, errors
            return errors

    good = make_certificate(tmp_path, "localhost", first_day=-1, last_day=1)
    expired = make_certificate(tmp_path, "localhost", first_day=-9, last_day=-2)
    early = make_certificate(tmp_path, "localhost", first_day=2, last_day=9)
    said = await asyncio.gather(
        attempt(good, trusted=False), attempt(expired), attempt(early), attempt(good, host="127.0.0.1")
    )
    parts = ("self-signed", "has expired, or this machine's clock", "not valid yet, or", "for another")
    for errors, part in zip(said, parts, strict=True):
        assert part in errors, errors


async def test_https_to_a_server_without_tls_is_said() -> None:
    async with server_process() as server:
        code, errors = await ping(f"https://127.0.0.1:{server.port}")
        assert (code, "without TLS" in errors) == (5, True), errors


@asynccontextmanager
async def basic_proxy(target: int) -> AsyncIterator[int]:
    """Stand in front of a server as a web server does that asks for a password."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Authorization: Basic bWlhOnNlc2FtZQ==\r\n" not in head:
            writer.write(answer("401 Unauthorized", WWW_Authenticate='Basic realm="staff"'))
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", target)
        to_server.write(head)
        try:
            await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))
        finally:
            writer.close()
            to_server.close()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
            sink.write_eof()
        except ConnectionError:
            sink.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_password_of_the_url_goes_to_the_proxy_in_front_and_never_into_an_invite() -> None:
    async with server_process("--relay", "only") as server, basic_proxy(server.port) as port:
        login, plain = f"http://mia:sesame@127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        maker = await start("pipe", "--server", login, "--interface", "lo", stdin=asyncio.subprocess.PIPE)
        try:
            assert maker.stderr is not None
            seen = b""
            while b"#" not in seen:
                line = await maker.stderr.readline()
                assert line, seen
                seen += line
            invite = next(word for word in line.decode().replace("'", " ").split() if "#" in word)
            assert invite.startswith(plain)
            code, _, errors = await run("ping", invite, "--interface", "lo", "--timeout", "2")
            assert (code, "USER:PASSWORD" in errors) == (9, True), errors
            taking = asyncio.create_task(run("pipe", invite, "--interface", "lo", given=b"", VISAVIS_SERVER=login))
            assert maker.stdin is not None
            maker.stdin.write(b"through the gate")
            maker.stdin.close()
            code, output, errors = await taking
            assert (code, output) == (0, "through the gate"), errors
            assert "sesame" not in errors
            rest = await maker.stderr.read()
            assert b"sesame" not in seen + rest
        finally:
            await end_process(maker)


async def test_events_and_reports_never_have_the_password() -> None:
    async with server_process() as server, basic_proxy(server.port) as port:
        login = f"http://mia:sesame@127.0.0.1:{port}"
        agent = await start("agent", "--server", login, "--room", "r", "--interface", "lo", "--json")
        try:
            assert (await next_event(agent, "ready"))["server"] == f"http://127.0.0.1:{port}"
        finally:
            await end_process(agent)
        code, output, errors = await run("doctor", "--server", login, "--interface", "lo", "--show-addresses")
        assert code == 0, errors
        assert "answers in" in output
        assert "sesame" not in output + errors


@pytest.mark.parametrize("invite", ["http://mia:sesame@h/r/x#AAAAAAAAAAAAAAAAAAAAAA", "http://mia@h/r/x"])
async def test_an_invite_with_a_password_is_refused_at_once_with_the_reason(invite: str) -> None:
    code, _, errors = await run("ping", invite)
    assert code == 2
    assert "never holds a user name or a password" in errors
    assert "sesame" not in errors


@pytest.mark.parametrize(
    "server", ["http://mia:sesame@", "ftp://mia:sesame@h", "http://mia:sesame@h:0", "http://mia:sesame@[::1"]
)
async def test_a_server_that_is_no_url_is_not_repeated_with_its_password(server: str) -> None:
    code, _, errors = await run("ping", "--server", server, "--room", "r", "--timeout", "1")
    assert code == 2, errors
    assert "sesame" not in errors
