"""Numbers that several parts of an agent go by."""

from __future__ import annotations

from typing import Final

from visavis_shared.limits import LINK_COUNT

MEMBER_COUNT: Final = 10_000
"""Members of a room that an agent knows of, 1 KiB each: as many as a server has connections. Others it does not see."""
PEER_COUNT: Final = LINK_COUNT
"""Peers that one agent links with, 64: with 10 sockets each it stays below the usual limit of 1,024 descriptors."""
DATAGRAM_SIZE: Final = 1200
"""Bytes of a UDP payload that every path carries that can carry QUIC (RFC 9000 section 14)."""
PROBE_BUDGET: Final = 2048
"""Probes in a round: 99.97 % with 256 mappings among 64,512 ports, and half the table of a small home router."""
