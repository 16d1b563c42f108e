"""Guessing at secrets: who may try another one.

The question comes before a password or an admin token is compared, so that who has used up its tries learns nothing,
however right the next one is. Only wrong ones are counted: by address (an IPv6 /64) and by the network around it (IPv4
/24, IPv6 /48), never by room, for then anybody who knows a room's name could keep its members out. An address that was
let in somewhere with the right secret within the hour has tries of its own there, apart from those of its network.

What is signed (JSON Web Tokens, room tokens, resume tokens) cannot be guessed: failures cost the connection, and the
right one always opens. RESUME has tries of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Final

from visavis_server.core.access.rate import NETWORK_FACTOR, SOURCE_CAPACITY, RateLimiter, network_of
from visavis_shared.closing import CloseCode
from visavis_shared.errors import ErrorCode, RemoteProtocolError

FAILURE_RATE: Final = 1 / 6
"""Wrong tokens and passwords that each address may show per second in the long run: ten a minute."""
FAILURE_BURST: Final = 10
"""… at once: somebody who mistypes, or a site whose token is refused."""
RESUME_RATE: Final = 1.0
"""Resume tokens that are not accepted, of each address per second: they cannot be guessed (a MAC of 256 bits)."""
RESUME_BURST: Final = 64
"""… at once: a site whose agents, as many as one address may have connected, come back to a server with other keys."""
KNOWN_TIME: Final = 3600.0
"""Seconds for which it is remembered that an address has shown the right secret."""
NOTICE_COUNT: Final = 10
"""Wrong passwords of one room after which it is said that somebody guesses: nobody mistypes so often."""
PRIVATE_NOTICE_COUNT: Final = 1
"""The same of a private room, whose members are told: somebody whom they wait for may have mistyped the invite."""
NOTICE_INTERVAL: Final = 60.0
"""Seconds at least from one such notice about a room to the next."""


class TooManyGuesses(RemoteProtocolError):
    """Too many wrong tokens or passwords have come from an address: the one shown now was not even looked at."""

    close_code: ClassVar = CloseCode.TOO_MANY

    def __init__(self) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, "too many wrong tokens or passwords", "limit: guesses")


class _Tries:
    """The wrong secrets that addresses and their networks may still show."""

    def __init__(self, rate: float, burst: int) -> None:
        self._addresses = RateLimiter(rate, burst, SOURCE_CAPACITY)
        self._networks = RateLimiter(rate * NETWORK_FACTOR, burst * NETWORK_FACTOR, SOURCE_CAPACITY)

    def left(self, source: str, now: float) -> bool:
        network = network_of(source)
        return self._addresses.has(source, now) and (not network or self._networks.has(network, now))

    def take(self, source: str, now: float) -> None:
        self._addresses.charge(source, now)
        if network := network_of(source):
            self._networks.charge(network, now)


class Guard:
    """What is left to try; a `source` is what an address is counted under, `scope` what the secret opens."""

    def __init__(self) -> None:
        self._strangers = _Tries(FAILURE_RATE, FAILURE_BURST)
        self._resumers = _Tries(RESUME_RATE, RESUME_BURST)
        self._known: OrderedDict[str, float] = OrderedDict()
        """Until when, by scope and source."""
        self._own = RateLimiter(FAILURE_RATE, FAILURE_BURST, SOURCE_CAPACITY)
        """Of those, by the same."""

    def may_try(self, scope: str, source: str, now: float) -> bool:
        """Whether another secret may be compared."""
        if self._is_known(scope, source, now):
            return self._own.has(_key(scope, source), now)
        return self._strangers.left(source, now)

    def fail(self, scope: str, source: str, now: float) -> None:
        """A wrong secret has been shown."""
        if self._is_known(scope, source, now):
            self._own.charge(_key(scope, source), now)
        else:
            self._strangers.take(source, now)

    def let_in(self, scope: str, source: str, now: float) -> None:
        """The right one has been shown."""
        key = _key(scope, source)
        self._known[key] = now + KNOWN_TIME
        self._known.move_to_end(key)
        if len(self._known) > SOURCE_CAPACITY:
            self._known.popitem(last=False)

    def may_resume(self, source: str, now: float) -> bool:
        """Whether another resume token may fail."""
        return self._resumers.left(source, now)

    def fail_resume(self, source: str, now: float) -> None:
        """A resume token has not been accepted."""
        self._resumers.take(source, now)

    def _is_known(self, scope: str, source: str, now: float) -> bool:
        return self._known.get(_key(scope, source), now) > now


class Suspicion:
    """How many wrong passwords one room has been shown, and when that was last told."""

    __slots__ = ("_count", "_least", "_told_at")

    def __init__(self, least: int = NOTICE_COUNT) -> None:
        """Begin with none; fewer than `least` are not told."""
        self._least = least
        self._count = 0
        self._told_at = float("-inf")

    def add(self, now: float) -> int:
        """Note a wrong password; returns how many there were, if that is to be told now, else 0."""
        self._count += 1
        if self._count < self._least or now - self._told_at < NOTICE_INTERVAL:
            return 0
        count, self._count, self._told_at = self._count, 0, now
        return count


def _key(scope: str, source: str) -> str:
    # an address has no white space, so that no scope reads as another one with an address
    return f"{source} {scope}"
