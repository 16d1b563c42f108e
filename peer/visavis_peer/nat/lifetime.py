"""How long a NAT keeps a silent mapping (RFC 5780 section 4.6), by a STUN server that knows RESPONSE-PORT."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import ExitStack

from visavis_peer.nat.filtering import SCHEDULE, StunClient
from visavis_shared.stun import Address, binding_request, offered_nonce


async def measure_silences(local_ip: str, server: Address, silences: Sequence[float]) -> list[tuple[float, bool]]:
    """Return for each of `silences`, in seconds, whether a mapping still lets an answer of `server` in after it.

    Leaves out those of which nothing can be said: the server does not answer or knows no RESPONSE-PORT, or the NAT has
    given the asking socket another address. Takes as long as the longest silence, and a second.
    """
    found = await asyncio.gather(*(_survives(local_ip, server, silence) for silence in silences))
    return [(silence, alive) for silence, alive in zip(silences, found, strict=True) if alive is not None]


async def _survives(local_ip: str, server: Address, silence: float) -> bool | None:
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:

        async def client() -> StunClient:
            transport, protocol = await loop.create_datagram_endpoint(StunClient, local_addr=(local_ip, 0))
            opened.callback(transport.close)
            return protocol

        try:
            silent = await client()
            mapped = await silent.mapped(server)
            if mapped is None:
                return None
            await asyncio.sleep(silence)
            asking = await client()
        except OSError:
            return None
        seen = await asking.mapped(server)
        if seen is None or seen[0] != mapped[0]:
            return None
        nonce = await _asked_nonce(asking, server, mapped[1])
        transaction_id = secrets.token_bytes(12)
        with silent.expecting(transaction_id) as arrived, asking.expecting(transaction_id) as refused:
            for delay in SCHEDULE:
                asking.transport.sendto(binding_request(transaction_id, 0, mapped[1], nonce), server)
                await asyncio.wait([arrived, refused], timeout=delay, return_when=asyncio.FIRST_COMPLETED)
                if arrived.done():
                    return True
                if refused.done():
                    return None
            return False


async def _asked_nonce(asking: StunClient, server: Address, port: int) -> bytes:
    """Return the NONCE without which `server` sends nothing to other ports; empty where it says nothing of one."""
    transaction_id = secrets.token_bytes(12)
    with asking.expecting(transaction_id) as refused:
        for delay in SCHEDULE:
            asking.transport.sendto(binding_request(transaction_id, 0, port), server)
            done, _ = await asyncio.wait([refused], timeout=delay)
            if done:
                return offered_nonce(refused.result()[0])
        return b""
