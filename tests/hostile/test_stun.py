"""Whoever forges the address of somebody else has nothing of importance sent there."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.server_running import server_process
from visavis_peer.nat.lifetime import measure_silences
from visavis_shared.stun import binding_request, offered_nonce, parse_binding_response

pytestmark = pytest.mark.timeout(60)


def bound(ip: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((ip, 0))
    return sock


async def test_a_port_that_others_name_is_hit_by_nobody_who_cannot_read_what_comes_to_its_address() -> None:
    loop = asyncio.get_running_loop()
    async with server_process() as server:
        assert server.stun_port is not None
        address = ("127.0.0.1", server.stun_port)
        with bound("127.0.0.3") as forged, bound("127.0.0.3") as victim, bound("127.0.0.4") as own:
            port = victim.getsockname()[1]
            own.sendto(binding_request(b"of my own ip", 0, port), address)
            nonce = offered_nonce(await loop.sock_recv(own, 2048))
            assert nonce
            # what comes back to the forged address stays unread by who forges it; its own NONCE is of another address
            for number in range(20):
                forged.sendto(binding_request(b"forged %05d" % number, 0, port, nonce if number % 2 else b""), address)
            for _ in range(20):
                await loop.sock_recv(forged, 2048)
            with pytest.raises(BlockingIOError):
                victim.recv(2048)
            # who does read it is served
            forged.sendto(binding_request(b"who owns it.", 0, port), address)
            nonce = offered_nonce(await loop.sock_recv(forged, 2048))
            forged.sendto(binding_request(b"who owns it.", 0, port, nonce), address)
            assert parse_binding_response(await loop.sock_recv(victim, 2048)).mapped == forged.getsockname()
        assert await measure_silences("127.0.0.1", address, (0.05,)) == [(0.05, True)], "as `doctor --lifetime` does"
