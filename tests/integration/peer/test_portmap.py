"""net.portmap against gateways that a test plays: what they may answer, and when. miniupnpd is in tests/netns."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from tests.support.conditions import until
from visavis_peer.core.nat.portmap import PortMapping
from visavis_peer.host import portmap, ssdp
from visavis_peer.host.portmap import MappedPort, PortMapper

HERE: Final = "127.0.0.1"
EXTERNAL: Final = "9.8.7.6"
Answer = Callable[[bytes], list[bytes]]


class Gateway(asyncio.DatagramProtocol):
    """Answers requests, and keeps them."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[bytes] = []
        self.answer = answer
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests.append(data)
        for answer in self.answer(data):
            self.transport.sendto(answer, addr)


def pcp(request: bytes, *, code: int = 0, lifetime: int = 120, external: int = 4000) -> bytes:
    address = ipaddress.IPv6Address(f"::ffff:{EXTERNAL}").packed
    head = struct.pack("!BBBBII12x", 2, 0x81, 0, code, lifetime, 1)
    return head + request[24:36] + struct.pack("!B3xHH", 17, *struct.unpack("!H", request[40:42]), external) + address


def nat_pmp(request: bytes) -> bytes:
    if request[1] == 0:
        return struct.pack("!BBHI4s", 0, 128, 0, 1, ipaddress.IPv4Address(EXTERNAL).packed)
    internal, _, lifetime = struct.unpack("!HHI", request[4:12])
    return struct.pack("!BBHIHHI", 0, 129, 0, 1, internal, 4001, lifetime)


def is_pcp(request: bytes) -> bool:
    return request[0] == 2


@asynccontextmanager
async def mapped(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> AsyncIterator[tuple[Gateway, MappedPort, list[PortMapping], PortMapper]]:
    """Ask a gateway on loopback for a port."""
    loop = asyncio.get_running_loop()
    transport, gateway = await loop.create_datagram_endpoint(lambda: Gateway(answer), local_addr=(HERE, 0))
    monkeypatch.setattr(portmap, "GATEWAY_PORT", transport.get_extra_info("sockname")[1])
    monkeypatch.setattr(portmap, "REQUEST_SCHEDULE", (0.02, 0.02))
    monkeypatch.setattr(portmap, "default_gateway", lambda _: HERE)
    monkeypatch.setattr("visavis_peer.host.ssdp.SEARCH_TIME", 0.05)
    heard: list[PortMapping] = []
    mapper = PortMapper()
    port = mapper.map(HERE, 5000, heard.append)
    assert port is not None
    try:
        yield gateway, port, heard, mapper
    finally:
        await port.close()
        transport.close()


async def test_pcp_maps_and_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mapped(monkeypatch, lambda data: [pcp(data)] if is_pcp(data) else []) as (gateway, port, heard, _):
        await until(lambda: heard)
        assert heard == [PortMapping("pcp", 5000, EXTERNAL, 4000, 120)]
        assert port.external_ip == EXTERNAL
        await port.close()
        await until(lambda: gateway.requests[-2][4:8] == bytes(4))
        assert gateway.requests[-1] == struct.pack("!BBHHHI", 0, 1, 0, 5000, 0, 0)


async def test_nat_pmp_maps_where_pcp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(data: bytes) -> list[bytes]:
        return [b"noise", pcp(data, code=1)] if is_pcp(data) else [nat_pmp(data)]

    async with mapped(monkeypatch, answer) as (_, _, heard, _):
        await until(lambda: heard)
        assert heard[0].protocol == "nat-pmp"
        assert heard[0].external_port == 4001


async def test_a_mapping_is_renewed_and_a_new_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([4000, 4000, 4002])
    given: list[int] = []

    def answer(data: bytes) -> list[bytes]:
        if not is_pcp(data) or data[4:8] == bytes(4):
            return []
        given.append(next(ports, 4002))
        return [pcp(data, lifetime=1, external=given[-1])]

    async with mapped(monkeypatch, answer) as (_, _, heard, _):
        await until(lambda: len(heard) == 2)
        assert [mapping.external_port for mapping in heard] == [4000, 4002]
        assert given[:3] == [4000, 4000, 4002]


async def test_a_gateway_that_says_nothing_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mapped(monkeypatch, lambda _: []) as (gateway, port, heard, mapper):
        await until(lambda: port.ended)
        assert heard == []
        assert len(gateway.requests) == 4
        assert mapper.map(HERE, 5001, heard.append) is None


async def test_what_leads_nowhere_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own address is private: another NAT is beyond it."""

    def answer(data: bytes) -> list[bytes]:
        return [pcp(data)[:-4] + ipaddress.IPv4Address("192.168.9.9").packed] if is_pcp(data) else []

    async with mapped(monkeypatch, answer) as (gateway, port, heard, _):
        await until(lambda: port.ended)
        assert heard == []
        assert port.external_ip == "192.168.9.9"
        await until(lambda: gateway.requests[-1] == struct.pack("!BBHHHI", 0, 1, 0, 5000, 0, 0))
        assert gateway.requests[-2][4:8] == bytes(4), "what is of no use is given back"


async def test_nobody_is_asked_where_there_is_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portmap, "default_gateway", lambda _: None)
    assert PortMapper().map(HERE, 5000, lambda _: None) is None


async def test_upnp_is_searched_in_vain_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis_peer.host.ssdp.SEARCH_TIME", 0.05)
    assert await ssdp.search(HERE, HERE) is None
