"""What a STUN server answers to a datagram (RFC 8489, RFC 5780, RFC 3489), without a socket.

    Binding request                          ->  Binding response with the client's address, from where it was asked
    … with CHANGE-REQUEST port               ->  … from the other port
    … with CHANGE-REQUEST address            ->  … from the other address; error 420 where there is none
    … with RESPONSE-PORT and our NONCE       ->  … to that port of the client's address
    … with RESPONSE-PORT                     ->  error 438 that brings the NONCE: only who can read it asks for itself
    … with an unknown required attribute     ->  error 420 that names it
    anything else, or beyond the rate        ->  nothing

An answer never goes to another address than asked.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from visavis_server.core.access.rate import RateLimiter
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    STALE_NONCE,
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

TOTAL_RATE: Final = 5_000.0
"""Requests per second of all sources together that have no connection here: 0.7 MB/s at most to forged addresses."""
TOTAL_BURST: Final = 25_000
"""Of these at once: 500 agents that start together, with 50 requests each."""
NONCE_SIZE: Final = 12
"""Bytes of a NONCE: nobody guesses 96 bits at the rate of one source."""
NONCE_LIFETIME: Final = 60.0
"""Seconds; one lives for up to twice as long. A client uses it at once."""

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


class StunLimiter:
    """Which requests are answered: so many of each source, and so many of all that have no connection to this server.

    What strangers send from forged addresses keeps nobody out who has one. `now` is in seconds, monotonic.
    """

    def __init__(
        self, is_known: Callable[[str], bool], rate: float = RATE, burst: int = BURST, total_burst: int = TOTAL_BURST
    ) -> None:
        """`is_known` tells whether an address has a connection; rates are per second."""
        self._is_known = is_known
        self.refused_count = 0
        """Requests that were not answered."""
        self._sources = RateLimiter(rate, burst, SOURCES)
        self._total = RateLimiter(TOTAL_RATE, total_burst, 1)

    def allow(self, ip: str, now: float) -> bool:
        """Whether to answer one more request of `ip`."""
        allowed = self._sources.allow(ip, now) and (self._is_known(ip) or self._total.allow("", now))
        self.refused_count += not allowed
        return allowed


@dataclass(frozen=True, slots=True)
class StunService:
    """The addresses and ports that one service answers on."""

    ports: tuple[int, int]
    """The main and the alternate one."""
    addresses: tuple[str, ...] = ()
    """Those configured; per address family one or two. Empty: whatever address the host has."""
    nonce_key: bytes = b""
    """What NONCEs are made with: random, of this process only."""

    def answer(self, data: bytes, source: Address, local: Address, limiter: StunLimiter, now: float) -> Answer | None:
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
        if request.response_port is not None and not self._is_reader(request.nonce, source[0], now):
            nonce = self._nonce(source[0], now // NONCE_LIFETIME)
            return Answer(binding_error(request, STALE_NONCE, "Stale Nonce", nonce), local)
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

    def _is_reader(self, nonce: bytes, ip: str, now: float) -> bool:
        """Whether who asks from `ip` has read what was sent there lately."""
        period = now // NONCE_LIFETIME
        return any(hmac.compare_digest(nonce, self._nonce(ip, when)) for when in (period, period - 1))

    def _nonce(self, ip: str, period: float) -> bytes:
        text = f"{ip} {period:.0f}".encode()
        return hashlib.blake2b(text, key=self.nonce_key, digest_size=NONCE_SIZE).digest()

    def _other_port(self, port: int) -> int:
        first, second = self.ports
        return second if port == first else first
