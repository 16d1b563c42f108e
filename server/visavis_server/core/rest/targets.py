"""What a request is for: the target of its first line (RFC 9112 section 3.2) as a path that routes are looked up by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

ROOM_PREFIX: Final = "/api/rooms/"
INVITE_PREFIX: Final = "/r/"


@dataclass(frozen=True, slots=True)
class Target:
    """A request target without query and fragment."""

    authority: str | None
    """Of the absolute form, as a client sends it to a proxy; it counts like a Host header (section 3.2.2)."""
    path: str
    """As it came."""

    def below(self, prefix: str) -> str | None:
        """Return the path below `prefix`, None outside; the name of a room decoded once, everything else as it came.

        So a route has one spelling, the one that a rule of a proxy in front goes by. Dots and empty segments are part
        of a room's name.
        """
        if not self.path.startswith(f"{prefix}/"):
            return None
        path = self.path.removeprefix(prefix)
        for start in (ROOM_PREFIX, INVITE_PREFIX):
            if path.startswith(start):
                return start + unquote(path.removeprefix(start))
        return path

    @property
    def shown(self) -> str:
        """The path as a refusal echoes it."""
        return unquote(self.path)


def parse_target(target: str) -> Target:
    """Return what a request target names."""
    authority = None
    if not target.startswith("/"):
        _, absolute, rest = target.partition("://")
        authority = rest.partition("/")[0].partition("?")[0].partition("#")[0] if absolute else None
        target = "/" + rest.partition("/")[2]
    return Target(authority, target.partition("?")[0].partition("#")[0])
