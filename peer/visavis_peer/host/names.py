"""Names of STUN and TURN servers to addresses, through the system's resolver."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Final

from visavis_shared.ids import printable
from visavis_shared.stun import Address
from visavis_shared.threads import look_up

logger = logging.getLogger(__name__)

RESOLVE_TIMEOUT: Final = 2.0
"""Seconds for one name: the resolver's own default (5 s and more) is longer than anybody waits for a candidate."""


async def resolve(hosts: Iterable[tuple[str, int]]) -> list[Address]:
    """Return one address per family of each host, in order and once each; names that do not resolve are left out."""
    found = await asyncio.gather(*(_resolve(host, port) for host, port in hosts))
    return list(dict.fromkeys(address for addresses in found for address in addresses))


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            infos = await look_up(host, port, kind=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, ValueError) as error:  # ValueError: what is no name at all
        logger.info("STUN server %s left out: %s", printable(host), error)
        return []
    first: dict[int, Address] = {}
    for family, _, _, _, sockaddr in infos:
        if family in (socket.AF_INET, socket.AF_INET6):
            first.setdefault(family, (str(sockaddr[0]).partition("%")[0], int(sockaddr[1])))
    return list(first.values())
