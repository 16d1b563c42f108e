"""What a token allows its holder."""

from __future__ import annotations

import functools
import re
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

    def allow(self, room_id: str) -> bool:
        """Whether this room may be joined."""
        return any(_pattern(name).fullmatch(room_id) for name in self.rooms)


EVERYTHING: Final = Grants(("*",), create=True)
"""For everybody, where the operator has set no keys."""


@functools.lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", name)), re.DOTALL)
