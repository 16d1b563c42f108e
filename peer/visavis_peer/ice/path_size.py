"""How large a datagram a pair carries: path MTU discovery (RFC 8899) by Binding requests of several sizes at once.

The answers are small, so that each side learns of its own direction. RFC 5780's PADDING makes a request as large as is
wanted; who does not know it ignores it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Final

from aioice import stun

from visavis_peer.ice.socket import DATAGRAM_SIZE, IceSocket
from visavis_shared.stun import HEADER_SIZE, Address

SIZE_SCHEDULE: Final = (0.2, 0.8)
"""Seconds between the transmissions of a request, and until it is given up: it is on a pair that has just answered."""
_PADDING: Final = 0x0026
"""Attribute type (RFC 5780 section 7.6)."""


class PaddedRequest(stun.Message):
    """A Binding request that has `size` bytes once it is signed; `size` is a multiple of 4."""

    def __init__(self, request: stun.Message, size: int) -> None:
        super().__init__(request.message_method, request.message_class, attributes=dict(request.attributes))
        self._padding = b""
        signed = len(bytes(self)) + stun.INTEGRITY_LENGTH + stun.FINGERPRINT_LENGTH
        count = size - signed - 4
        self._padding = struct.pack("!HH", _PADDING, count) + bytes(count)

    def __bytes__(self) -> bytes:
        data = super().__bytes__()
        return stun.set_body_length(
            data[:HEADER_SIZE] + self._padding + data[HEADER_SIZE:], len(data) - HEADER_SIZE + len(self._padding)
        )


async def find_size(
    sock: IceSocket, remote: Address, make_request: Callable[[], tuple[stun.Message, str]]
) -> int | None:
    """Return how many bytes of UDP payload `remote` can be sent, of those that are asked; None when nothing came back.

    `make_request` makes a Binding request and the password to sign it with. DATAGRAM_SIZE is asked as well: its answer
    says that silence about the others is one. Ends with the answer to the largest or to the smallest size, for they
    come in order; after a second at the latest.
    """
    sizes = [size for size in sock.sizes if size >= DATAGRAM_SIZE]
    if sizes in ([], [DATAGRAM_SIZE]):
        return DATAGRAM_SIZE
    passed = 0

    async def ask(size: int) -> None:
        nonlocal passed
        request, password = make_request()
        await sock.request(PaddedRequest(request, size), remote, SIZE_SCHEDULE, password)
        passed = max(passed, size)

    asking = {asyncio.create_task(ask(size)): size for size in sizes}
    decisive = [task for task, size in asking.items() if size in {sizes[0], DATAGRAM_SIZE}]
    waiting = set(asking)
    try:
        while waiting and not any(_succeeded(task) for task in decisive):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return passed or None


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
