"""net.ice: datagrams in batches, by whatever the kernel and the loop offer."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Sequence

import pytest

from tests.support.conditions import until
from tests.support.ice_sides import linked, sides
from visavis_peer.ice import transport
from visavis_peer.ice.socket import DATAGRAM_SIZE, PAYLOADS
from visavis_peer.ice.transport import BatchTransport

LARGEST = 8972
"""Bytes of UDP payload in an IPv4 packet of 9,000."""


async def test_batches_arrive_whole_and_in_order_however_they_travel() -> None:
    async with linked() as (left, right):
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        sizes = [1200] * 130 + [700] + [1200] * 3 + [1, 65, 65, 65, 1300]
        sent = [bytes([0x40 + number % 64]) * size for number, size in enumerate(sizes)]
        left.ice.send_datagrams(sent)
        await until(lambda: len(inbox) == len(sent))
        assert inbox == sent
        for sock in left.ice.sockets:  # as on a kernel that knows neither
            assert isinstance(sock.transport, BatchTransport)
            sock.transport._segments = False
        left.ice.send_datagrams(sent)
        await until(lambda: len(inbox) == 2 * len(sent))
        assert inbox[len(sent) :] == sent


async def test_what_the_kernel_does_not_take_waits_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked() as (left, right):
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        monkeypatch.setattr(transport, "SEND_QUEUE", 3000)
        full = [True]
        send = BatchTransport._send

        def refuse(self: BatchTransport, datagrams: Sequence[bytes], addr: tuple[str, int]) -> int:
            return 0 if full[0] else send(self, datagrams, addr)

        monkeypatch.setattr(BatchTransport, "_send", refuse)
        left.ice.send_datagrams([b"\xf0" * 1000 for _ in range(10)])
        full[0] = False
        await until(lambda: len(inbox) == 3)


async def test_a_kernel_that_does_not_split_gets_them_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked() as (left, right):
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        monkeypatch.setattr(transport, "_UDP_SEGMENT", 0xFFFF)  # which it refuses with EINVAL
        sent = [bytes([0x40 + number]) * 1200 for number in range(10)]
        left.ice.send_datagrams(sent)
        await until(lambda: len(inbox) == len(sent))
        assert inbox == sent
        (sock,) = left.ice.sockets
        assert isinstance(sock.transport, BatchTransport)
        assert not sock.transport._segments


async def test_a_loop_that_watches_no_sockets_carries_datagrams_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
    async with linked() as (left, right):
        assert not isinstance(left.ice.sockets[0].transport, BatchTransport)
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        left.ice.send_datagrams([b"\xf0one", b"\xf0two"])
        await until(lambda: inbox == [b"\xf0one", b"\xf0two"])


async def test_what_is_too_large_for_the_network_is_lost_and_its_size_is_noted() -> None:
    async with linked() as (left, right):
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        assert left.ice.path_datagram_size == LARGEST
        left.ice.send_datagrams([b"\xf0" * 70_000])
        left.ice.send_datagrams([b"\xf0still there"])
        await until(lambda: inbox)
        assert inbox == [b"\xf0still there"]
        assert left.ice.path_datagram_size == LARGEST
        for expected in (1472, 1392, DATAGRAM_SIZE, *PAYLOADS, PAYLOADS[-1]):
            left.ice.sockets[0].datagram_refused(left.ice.path_datagram_size)
            assert left.ice.path_datagram_size == expected


async def test_the_size_of_a_refused_datagram_reaches_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked() as (left, _):
        refused: list[int] = []
        monkeypatch.setattr(left.ice.sockets[0], "datagram_refused", refused.append)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain, pytest.raises(OSError, match="long") as error:
            plain.sendto(bytes(70_000), ("127.0.0.1", 9))
        assert error.value.errno == errno.EMSGSIZE
        left.ice.send_datagrams([b"\xf0" * 70_000])
        assert refused == [70_000]


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
async def test_datagrams_are_not_to_be_fragmented() -> None:
    async with sides() as (left, _):
        (sock,) = left.ice.sockets
        assert sock.sock is not None
        assert sock.sock.getsockopt(socket.IPPROTO_IP, 10) == 2
