"""Filtering behaviour by RFC 5780 section 4.4, on a socket of its own: a punching socket's filters stay as they are.

And what an answer that was kept out has done to the mapping towards its sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, cast

from visavis_peer.core.nat.observations import FilteringProbe
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    Address,
    BindingResponse,
    NotStun,
    binding_request,
    parse_binding_response,
)

SCHEDULE: Final = (0.25, 0.25)
"""Seconds after each of two transmissions: one lost datagram does not make a NAT look stricter, at 0.5 s in all."""


class StunClient(asyncio.DatagramProtocol):
    """Binding requests on one socket; responses match by transaction id, from whatever address they come."""

    def __init__(self) -> None:
        self.transport = cast("asyncio.DatagramTransport", None)
        self.waiting: dict[bytes, asyncio.Future[tuple[bytes, Address]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Hand a response to who expects it."""
        waiting = self.waiting.get(data[8:20])
        if waiting is not None and not waiting.done():
            waiting.set_result((data, (str(addr[0]), int(addr[1]))))

    async def ask(self, server: Address, change: int = 0) -> tuple[bytes, Address] | None:
        """Return the response and its source, or None when nothing came in."""
        transaction_id = secrets.token_bytes(12)
        with self.expecting(transaction_id) as response:
            for delay in SCHEDULE:
                self.transport.sendto(binding_request(transaction_id, change), server)
                done, _ = await asyncio.wait([response], timeout=delay)
                if done:
                    return response.result()
            return None

    async def mapped(self, server: Address) -> Address | None:
        """Return this socket's address as `server` sees it, or None when it does not tell."""
        response = _parsed(await self.ask(server))
        return None if response is None else response.mapped

    @contextlib.contextmanager
    def expecting(self, transaction_id: bytes) -> Iterator[asyncio.Future[tuple[bytes, Address]]]:
        """Take a response, and the address that it comes from, within the block."""
        response: asyncio.Future[tuple[bytes, Address]] = asyncio.get_running_loop().create_future()
        self.waiting[transaction_id] = response
        try:
            yield response
        finally:
            del self.waiting[transaction_id]


async def probe_filtering(local_ip: str, server: Address) -> FilteringProbe | None:
    """Ask `server` to answer a socket on `local_ip` from elsewhere, and see what comes in.

    What comes in is asked for once more at another port: a NAT may still have the mapping of a socket that had the
    first one before, which lets in whom that socket has written to.

    Returns None when the server does not answer or has nowhere else to answer from. Takes at most 3 s.
    """
    probe = await _probe_socket(local_ip, server)
    if probe is not None and (probe.other_address or probe.other_port):
        return await _probe_socket(local_ip, server) or probe
    return probe


async def _probe_socket(local_ip: str, server: Address) -> FilteringProbe | None:
    loop = asyncio.get_running_loop()
    try:
        transport, client = await loop.create_datagram_endpoint(StunClient, local_addr=(local_ip, 0))
    except OSError:
        return None
    try:
        plain = _parsed(await client.ask(server))
        if plain is None or plain.other is None:
            return None
        other = plain.other
        has_other_ip = other[0] != server[0]
        both, port = await asyncio.gather(
            client.ask(server, CHANGE_IP | CHANGE_PORT) if has_other_ip else _nothing(),
            client.ask(server, CHANGE_PORT) if other[1] != server[1] else _nothing(),
        )
        probe = FilteringProbe(
            other_address=_came_from_elsewhere(both, server) if has_other_ip else None,
            other_port=_came_from_elsewhere(port, server) if other[1] != server[1] else None,
            mapped=plain.mapped,
        )
        kept_out = other if probe.other_address is False else None
        if probe.other_address is None and probe.other_port is False:
            kept_out = server[0], other[1]
        return probe if kept_out is None else replace(probe, mapped_after=await client.mapped(kept_out))
    finally:
        transport.close()


async def _nothing() -> None:
    return None


def _parsed(answer: tuple[bytes, Address] | None) -> BindingResponse | None:
    """Return a success response; None for no answer, an error or nonsense."""
    if answer is None:
        return None
    try:
        return parse_binding_response(answer[0])
    except NotStun:
        return None


def _came_from_elsewhere(answer: tuple[bytes, Address] | None, server: Address) -> bool | None:
    """Whether an answer came in; None when the server answered from where it was asked, or with an error."""
    if answer is None:
        return False
    return None if _parsed(answer) is None or answer[1] == server else True


async def answers_change_request(local_ip: str, server: Address) -> bool:
    """Whether `server` has a second address and does not refuse CHANGE-REQUEST; a filtered answer counts too."""
    probe = await probe_filtering(local_ip, server)
    return probe is not None and probe.other_address is not None
