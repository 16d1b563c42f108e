"""What an ICE agent has its shell do, and what it tells. Sockets are the numbers that the shell has given them."""

from __future__ import annotations

from dataclasses import dataclass

from visavis_peer.core.ice.candidates import Candidate
from visavis_peer.events import PathInfo
from visavis_shared.stun import Address


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send a STUN message."""

    socket: int
    data: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class OpenHole:
    """Send a datagram that opens this side's filter for `address` and dies before it gets there."""

    socket: int
    address: Address


@dataclass(frozen=True, slots=True)
class Trust:
    """Let data through that comes from `address`: whoever is there has passed an authenticated check."""

    socket: int
    address: Address


@dataclass(frozen=True, slots=True)
class CandidateFound:
    """Tell the peer of a local candidate (RFC 8838 section 9); also in `IceAgent.local_candidates`."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class CheckReceived:
    """An authenticated check of the peer has come in: it knows this side's credentials."""


@dataclass(frozen=True, slots=True)
class Valid:
    """The first pair is valid, or another one is selected now."""

    path: PathInfo


@dataclass(frozen=True, slots=True)
class Suspended:
    """Consent has expired: no data may be sent until it is given again (RFC 7675 section 5.1)."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Consent has been given again."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The path is gone for good, unless a check of the peer makes another pair valid."""

    reason: str
    """In words."""


Effect = Transmit | OpenHole | Trust | CandidateFound | CheckReceived | Valid | Suspended | Resumed | Lost
