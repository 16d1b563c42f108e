"""Who is who: credentials of both sides, and which of them controls (RFC 8445 sections 6.1.1, 7.2.5.1 and 7.3.1.1)."""

from __future__ import annotations

from typing import Final, Literal, Protocol

from visavis_peer.core.ice import messages
from visavis_peer.core.ice.messages import Check, Response
from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Message

_ID_SIZE: Final = 12
"""Bytes of a transaction id (RFC 8489 section 5)."""


class Randomness(Protocol):
    """Where chance comes from: a `random.SystemRandom`, or a seeded `random.Random` in tests."""

    def random(self) -> float:
        """Return a number from 0 to 1."""

    def getrandbits(self, k: int, /) -> int:
        """Return a number of `k` bits."""

    def randbytes(self, n: int, /) -> bytes:
        """Return `n` bytes."""


class Role:
    """Whether this side controls, and its voice: what it says is signed for the peer, what it reads by the peer."""

    def __init__(self, credentials: IceCredentials, randomness: Randomness) -> None:
        self.credentials = credentials
        self.remote: IceCredentials | None = None
        """The peer's, once they are known."""
        self.controlling = False
        self._randomness = randomness
        self._tie_breaker = randomness.getrandbits(64)

    def request(self, priority: int, *, nominate: bool) -> Message:
        """Return a check that is not signed yet; the peer must be known."""
        assert self.remote is not None
        return messages.check_request(
            self._randomness.randbytes(_ID_SIZE),
            self.credentials,
            self.remote,
            priority,
            self._tie_breaker,
            controlling=self.controlling,
            nominate=nominate and self.controlling,
        )

    def sign_request(self, request: Message) -> bytes:
        """Return a request as it is sent."""
        assert self.remote is not None
        return messages.signed(request, self.remote.pwd)

    def sign_response(self, response: Message) -> bytes:
        """Return a response as it is sent."""
        return messages.signed(response, self.credentials.pwd)

    def read_check(self, data: bytes) -> Check | None:
        """Return a check of the peer, None for anything else."""
        return messages.read_check(data, self.credentials, self.remote)

    def read_response(self, data: bytes) -> Response | None:
        """Return a response of the peer, None for anything else."""
        return None if self.remote is None else messages.read_response(data, self.remote.pwd)

    def settle(self, check: Check) -> Literal["apart", "keep", "switch"]:
        """Say what a check's claim means for this side's role: none, or a conflict, which the larger tie-breaker wins.

        `keep` has the peer switch (error 487).
        """
        theirs = check.controlling if self.controlling else check.controlled
        if theirs is None:
            return "apart"
        return "keep" if self.controlling is (self._tie_breaker >= theirs) else "switch"
