"""What a STUN server answers to a datagram (RFC 8489, RFC 5780, RFC 3489), without a socket.

    Binding request                          ->  Binding response with the client's address, from where it was asked
    … with CHANGE-REQUEST port               ->  … from the other port
    … with CHANGE-REQUEST address            ->  … from the other address; error 420 where there is none
    … with RESPONSE-PORT                     ->  … to that port of the client's address
    … with an unknown required attribute     ->  error 420 that names it
    anything else, or beyond the rate        ->  nothing

An answer never goes to another address than asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visavis_server.core.rate import RateLimiter
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    Address,
    NotStun,
    binding_error,
    binding_response,
    parse_binding_request,
)

RATE: Final = 20.0
"""Requests per second from one source in the long run: at most 20 x 92 bytes/s can be reflected at a forged one."""
BURST: Final = 200
"""Requests at once: four agents behind one address that survey their NAT with 50 requests each."""
SOURCES: Final = 20_000
"""Sources remembered, about 3 MiB: more than can use up their burst in the 10 s that refilling it takes."""

UNKNOWN_ATTRIBUTE: Final = 420
"""Error code for a request that asks for what cannot be done (RFC 8489 section 14.8)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A datagram for the client that asked."""

    data: bytes
    origin: Address
    """Local address and port to send it from."""
    port: int | None = None
    """Of the client's address where the answer goes; None: the one that asked."""


@dataclass(frozen=True, slots=True)
class StunService:
    """The addresses and ports that one service answers on."""

    ports: tuple[int, int]
    """The main and the alternate one."""
    addresses: tuple[str, ...] = ()
    """Those configured; per address family one or two. Empty: whatever address the host has."""

    def answer(self, data: bytes, source: Address, local: Address, limiter: RateLimiter, now: float) -> Answer | None:
        """Return the answer to a datagram from `source` to `local`, None where there is to be none.

        `local[0]` is empty where the operating system does not tell which address was asked.
        """
        try:
            request = parse_binding_request(data)
        except NotStun:
            return None
        if not limiter.allow(source[0], now):
            return None
        if request.unknown:
            return Answer(binding_error(request, UNKNOWN_ATTRIBUTE, "Unknown Attribute"), local)
        ip, port = local
        other_ip, other_port = self.other_address(ip), self._other_port(port)
        if request.change & CHANGE_IP and other_ip is None:
            return Answer(binding_error(request, UNKNOWN_ATTRIBUTE, "Unknown Attribute"), local)
        origin = (
            other_ip if request.change & CHANGE_IP and other_ip else ip,
            other_port if request.change & CHANGE_PORT else port,
        )
        if not ip:
            return Answer(binding_response(request, source), origin, request.response_port)
        response = binding_response(request, source, origin, (other_ip or ip, other_port))
        return Answer(response, origin, request.response_port)

    def other_address(self, ip: str) -> str | None:
        """Return the second configured address of the same family."""
        family = [address for address in self.addresses if (":" in address) == (":" in ip) and address != ip]
        return family[0] if family else None

    def _other_port(self, port: int) -> int:
        first, second = self.ports
        return second if port == first else first
