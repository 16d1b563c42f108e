"""The bounds and times that the hub enforces."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ROOM_CAPACITY: Final = 0
"""Peers per room, 0 for unlimited: as in the original server."""
PEER_LIMIT: Final = 10_000
"""Connections: at 16 KiB each they take 160 MiB, what a small host has to spare."""
ROOM_LIMIT: Final = 10_000
"""Rooms, empty ones included: one for every peer; an empty room has to make way for a new one."""
PING_INTERVAL: Final = 25.0
"""Seconds: below the 30 s after which the strictest common proxies and NATs drop an idle TCP connection."""
STALE_TIMEOUT: Final = 60.0
"""Seconds without any traffic, as in the original: two pings and their answers may be lost."""
EMPTY_ROOM_TTL: Final = 300.0
"""Seconds that an empty room is kept, as in the original."""
CLEANUP_INTERVAL: Final = 5.0
"""Seconds between two sweeps (pings, stale peers, empty rooms), so all three are late by at most this."""

RESUME_GRACE: Final = 20.0
"""Seconds for which a peer that has asked for it is kept when its connection is closed: a reconnecting agent needs a
few. With the 5 of the sweep the others hear of a killed one in time to end their links after 26 s of silence."""

ADDRESS_LIMIT: Final = 64
"""Connections of one address (an IPv6 /64): a household or a small office behind one NAT."""


class Exposure(StrEnum):
    """What somebody who is not a member may learn of rooms, over REST and by DISCOVER."""

    SEED = "seed"
    """Everything that the seed document shows: rooms, their members, names and endpoints."""
    MEMBERS = "members"
    """Rooms and their sizes; members are shown to members only."""
    COUNTS = "counts"
    """Totals only."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a hub enforces; times in seconds."""

    room_capacity: int = ROOM_CAPACITY
    peer_limit: int = PEER_LIMIT
    room_limit: int = ROOM_LIMIT
    ping_interval: float = PING_INTERVAL
    stale_timeout: float = STALE_TIMEOUT
    empty_room_ttl: float = EMPTY_ROOM_TTL
    exposure: Exposure = Exposure.SEED
    resume_grace: float = RESUME_GRACE
    """0: nobody is kept."""
    address_limit: int = ADDRESS_LIMIT
    """0: unlimited."""
    join_timeout: float = 0.0
    """0: no limit, for the seed's clients may talk without a room."""
