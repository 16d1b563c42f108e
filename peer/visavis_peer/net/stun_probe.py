"""Filtering behaviour by RFC 5780 section 4.4, on a socket of its own: a punching socket's filters stay as they are."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final, cast

from visavis_peer.core.discovery import FilteringProbe
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    Address,
    NotStun,
    binding_request,
    parse_binding_response,
)

SCHEDULE: Final = (0.25, 0.25)
"""Seconds after each of two transmissions: one lost datagram does not make a NAT look stricter, at 0.5 s in all."""


class _Client(asyncio.DatagramProtocol):
    """Binding requests with CHANGE-REQUEST; responses match by transaction id, from whatever address they come."""

    def __init__(self) -> None:
        self.transport = cast("asyncio.DatagramTransport", None)
        self.waiting: dict[bytes, asyncio.Future[tuple[bytes, Address]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        waiting = self.waiting.get(data[8:20])
        if waiting is not None and not waiting.done():
            waiting.set_result((data, (str(addr[0]), int(addr[1]))))

    async def ask(self, server: Address, change: int = 0) -> tuple[bytes, Address] | None:
        """Return the response and its source, or None when nothing came in."""
        transaction_id = secrets.token_bytes(12)
        response: asyncio.Future[tuple[bytes, Address]] = asyncio.get_running_loop().create_future()
        self.waiting[transaction_id] = response
        try:
            for delay in SCHEDULE:
                self.transport.sendto(binding_request(transaction_id, change), server)
                done, _ = await asyncio.wait([response], timeout=delay)
                if done:
                    return response.result()
            return None
        finally:
            del self.waiting[transaction_id]


async def probe_filtering(local_ip: str, server: Address) -> FilteringProbe | None:
    """Ask `server` to answer a socket on `local_ip` from elsewhere, and see what comes in.

    Returns None when the server does not answer or has nowhere else to answer from. Takes at most 1 s.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, client = await loop.create_datagram_endpoint(_Client, local_addr=(local_ip, 0))
    except OSError:
        return None
    try:
        plain = await client.ask(server)
        other = _other_address(plain)
        if other is None:
            return None
        has_other_ip = other[0] != server[0]
        both, port = await asyncio.gather(
            client.ask(server, CHANGE_IP | CHANGE_PORT) if has_other_ip else _nothing(),
            client.ask(server, CHANGE_PORT) if other[1] != server[1] else _nothing(),
        )
        return FilteringProbe(
            other_address=_came_from_elsewhere(both, server) if has_other_ip else None,
            other_port=_came_from_elsewhere(port, server) if other[1] != server[1] else None,
        )
    finally:
        transport.close()


async def _nothing() -> None:
    return None


def _other_address(answer: tuple[bytes, Address] | None) -> Address | None:
    if answer is None:
        return None
    try:
        return parse_binding_response(answer[0]).other
    except NotStun:
        return None


def _came_from_elsewhere(answer: tuple[bytes, Address] | None, server: Address) -> bool | None:
    """Whether an answer came in; None when the server answered from where it was asked, or with an error."""
    if answer is None:
        return False
    try:
        parse_binding_response(answer[0])
    except NotStun:
        return None
    return None if answer[1] == server else True


async def answers_change_request(local_ip: str, server: Address) -> bool:
    """Whether `server` has a second address and does not refuse CHANGE-REQUEST; a filtered answer counts too."""
    probe = await probe_filtering(local_ip, server)
    return probe is not None and probe.other_address is not None
