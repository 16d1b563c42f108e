"""What new mappings tell of a NAT: how it gives out ports, and whether it hairpins."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from visavis_peer.core.nat.allocation import SAMPLE_COUNT, PortSample
from visavis_peer.core.nat.observations import Survey, mapping_of
from visavis_peer.core.nat.probes import PROBE_SIZE, Kind
from visavis_peer.ice import IceSession, IceSocket, ask
from visavis_shared.nat import Mapping
from visavis_shared.stun import Address

logger = logging.getLogger(__name__)

SAMPLE_INTERVAL: Final = 0.02
"""Seconds between new mappings: together long enough to see the traffic of others."""
FEW_SAMPLES: Final = 8
"""Samples where the mapping is endpoint-independent, so that no port need ever be predicted: enough to name a kind."""
HAIRPIN_INTERVALS: Final = (0.03, 0.12)
"""Seconds after each of two datagrams: it goes to the NAT and back, which is next door, and one may be lost."""


async def survey_nat(session: IceSession, *, probing: bool) -> Survey:
    """Make new mappings beside the socket of `session` that a STUN server has answered, by the same server.

    Takes about half a second; does nothing where there is no NAT, over IPv6, or where no server has answered.
    """
    base = session.base
    if base is None or base is not session.answered_from:
        return Survey(probing=probing)
    server, mapped = session.answers[0].server, session.answers[0].mapped
    if mapped[0] == base.local_candidate.host:
        return Survey(probing=probing)
    async with AsyncExitStack() as opened:
        sockets: list[IceSocket] = []
        samples: list[PortSample] = []
        mapped_by: dict[IceSocket, Address] = {}
        asking: list[asyncio.Task[None]] = []

        async def sample(sock: IceSocket) -> None:
            at = asyncio.get_running_loop().time()
            response = await ask(sock, server)
            if response is not None:
                mapped_by[sock] = response.mapped
                samples.append(PortSample(sock.local_candidate.port, response.mapped[1], at))

        for _ in range(SAMPLE_COUNT):
            if len(sockets) >= FEW_SAMPLES and mapping_of(session.answers)[0] is Mapping.ENDPOINT_INDEPENDENT:
                break
            try:
                sock = await session.open_beside(base)
            except OSError:
                break
            opened.push_async_callback(sock.close)
            sockets.append(sock)
            asking.append(asyncio.create_task(sample(sock)))
            await asyncio.sleep(SAMPLE_INTERVAL)
        try:
            hairpin = await _hairpins(sockets, mapped_by)
            if asking:
                await asyncio.wait(asking)
        finally:
            for task in asking:
                task.cancel()
        samples.sort(key=lambda each: each.at)
        logger.debug("external ports of new mappings: %s", [sample.port for sample in samples])
        return Survey(samples=samples, hairpin=hairpin, probing=probing)


async def _hairpins(sockets: Sequence[IceSocket], mapped_by: dict[IceSocket, Address]) -> bool | None:
    """Send between the mapped addresses of two sockets, both ways, so that the filters are open."""
    pair = [sock for sock in sockets if sock in mapped_by][:2]
    if len(pair) < 2:
        return None
    token = bytes((Kind.PROBE,)) + secrets.token_bytes(PROBE_SIZE - 1)
    arrived = asyncio.Event()

    def take(_sock: IceSocket, data: bytes, _source: Address) -> None:
        if data == token:
            arrived.set()

    for sock in pair:
        sock.take_probe = take
    for interval in HAIRPIN_INTERVALS:
        for sock, other in (pair, reversed(pair)):
            sock.transport.sendto(token, mapped_by[other])
        try:
            async with asyncio.timeout(interval):
                await arrived.wait()
        except TimeoutError:
            continue
        return True
    return False
