"""What a token allows its holder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PATTERN_COUNT: Final = 64
"""Patterns in one token: a user of more rooms has them under a common prefix."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The rooms that somebody may join, and what else."""

    rooms: tuple[str, ...]
    """Names; `*` stands for any characters."""
    create: bool = False
    """Whether rooms come into being by joining them."""
    admin: bool = False
    """Whether the holder may govern every room and use the admin API."""
    subject: str = ""
    """Who this is, where the token says so."""
    expires_at: int = 0
    """When they end, in milliseconds since the epoch; 0 for those that no token gives."""

    def allow(self, room_id: str) -> bool:
        """Whether this room may be joined."""
        return any(matches(pattern, room_id) for pattern in self.rooms)


EVERYTHING: Final = Grants(("*",), create=True)
"""For everybody, where the operator has set no keys."""


NOTHING: Final = Grants(())


def matches(pattern: str, name: str) -> bool:
    """Whether a name is what a pattern says; `*` stands for any characters, also for none.

    Each part between two stars is searched for once, from where the one before ended: no pattern costs more than the
    product of the two lengths, where trying all ways to match takes their power by the number of stars.
    """
    first, *others = pattern.split("*")
    if not others:
        return pattern == name
    *middle, last = others
    if not name.startswith(first):
        return False
    begin, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, begin, max(end, begin))
        if found < 0:
            return False
        begin = found + len(part)
    return begin <= end and name.endswith(last)
