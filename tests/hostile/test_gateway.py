"""A gateway that wishes ill: it is asked at its own address only, in small answers, and each failure is a note."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.memory import MIB, memory_bound
from visavis_peer.host.gateway_http import ANSWER_SIZE
from visavis_peer.host.upnp import UpnpGateway

GATEWAY, VICTIM = "127.0.0.2", "127.0.0.3"
Answer = Callable[[str, asyncio.StreamWriter], None]

ROOT = """<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major>
<minor>0</minor></specVersion><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<friendlyName>x</friendlyName><manufacturer>x</manufacturer><modelName>x</modelName><UDN>uuid:1</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:upnp-org:serviceId:x</serviceId>
<SCPDURL>{scpd}</SCPDURL><controlURL>{control}</controlURL><eventSubURL>/e</eventSubURL></service></serviceList>
</device></root>"""


def respond(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK", more: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    writer.write(head.encode() + body)


@asynccontextmanager
async def serving(host: str, answer: Answer) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve one request a connection; yield the port, and the paths that were asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(request.split(" ")[1])
        answer(asked[-1], writer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def found(answer: Answer) -> UpnpGateway | str:
    """Return what comes of a gateway that answers so."""
    async with serving(GATEWAY, answer) as (port, _):
        return await UpnpGateway.find(f"http://{GATEWAY}:{port}/root.xml", GATEWAY)


@pytest.mark.parametrize("where", ["scpd", "redirect"])
async def test_nobody_else_is_asked(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async with serving(VICTIM, lambda _, writer: respond(writer, b"")) as (port, asked):
        elsewhere = f"http://{VICTIM}:{port}/private"

        def answer(_path: str, writer: asyncio.StreamWriter) -> None:
            if where == "redirect":
                respond(writer, b"", "302 Found", f"Location: {elsewhere}\r\n")
            else:
                respond(writer, ROOT.format(scpd=elsewhere, control=elsewhere).encode())

        gateway = await found(answer)
        if isinstance(gateway, UpnpGateway):  # a description that cannot be read is no reason to give up
            assert await gateway.map("127.0.0.1", 5, 0) is None
            assert gateway.trouble
        else:
            assert gateway
        assert asked == []


async def test_an_answer_without_end_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"<root>" * (5 * MIB // 8)
    async with memory_bound(8 * MIB):
        gateway = await found(lambda _, writer: writer.transport.write(endless))
    assert isinstance(gateway, str)
    assert f"more than {ANSWER_SIZE >> 10} KiB" in gateway


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><root>&b;</root>', ""),
        (b"not XML at all", ""),
        (b"<root", ""),
        (b"", ""),
        (gzip.compress(b"<root/>" * 1000), "Content-Encoding: gzip\r\n"),
        (ROOT.format(scpd="http://[", control="//").encode(), ""),
        (b"\xff\xfe" * 100, ""),
    ],
)
async def test_what_makes_no_sense_is_a_note(monkeypatch: pytest.MonkeyPatch, body: bytes, more: str) -> None:
    gateway = await found(lambda _, writer: respond(writer, body, more=more))
    if isinstance(gateway, UpnpGateway):
        assert await gateway.map("127.0.0.1", 5, 0) is None
        assert gateway.trouble
    else:
        assert gateway
