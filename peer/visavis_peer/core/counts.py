"""Numbers that several parts of an agent go by."""

from __future__ import annotations

from typing import Final

MEMBER_COUNT: Final = 10_000
"""Members of a room that an agent knows of, 1 KiB each: as many as a server has connections. Others it does not see."""
PEER_COUNT: Final = 64
"""Peers that one agent links with: with 10 sockets each it stays below the usual limit of 1,024 descriptors."""
PROBE_BUDGET: Final = 2048
"""Probes in a round: 99.97 % with 256 mappings among 64,512 ports, and half the table of a small home router."""
