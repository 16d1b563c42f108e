"""What the commands print as JSON besides the agent's events: each a line of its own, documented in docs/events.md."""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class TextReceived(NamedTuple):
    """A peer has sent a text (`visavis agent`)."""

    peer_id: str
    name: str | None
    authenticated: bool
    """Whether the peer has proved to know the room's secret."""
    text: str
    """What it says, as far as it was read; bytes that are not UTF-8 are replaced."""
    size: int
    """Bytes of it that were read."""


class RoundTrip(NamedTuple):
    """One round trip (`visavis ping`)."""

    seq: int
    """Its number, from 1 on."""
    rtt_ms: float | None
    """Milliseconds; null where no answer came in time."""
    path: str
    """The link's path, as in `link_up`."""
    kind: str
    """Its candidate types, likewise."""


class RoundTrips(NamedTuple):
    """All round trips have been made, or lost (`visavis ping`)."""

    sent: int
    """How many."""
    received: int
    """How many were answered."""
    rtt_ms: list[float]
    """Least, mean and most, in milliseconds; empty where none was answered."""
    path: str
    """The link's path at the end, as in `link_up`."""
    kind: str
    """Its candidate types, likewise."""
    authenticated: bool
    """Whether the peer has proved to know the room's secret."""


class Discovered(NamedTuple):
    """The network has been examined (`visavis discover`)."""

    answers: list[dict[str, Any]]
    """Of STUN servers: `server` and `mapped`, each `[ip, port]`."""
    used: list[dict[str, Any]]
    """Interfaces: `interface` and `ip`."""
    skipped: list[dict[str, Any]]
    """Interfaces: `interface`, `ip` and the `reason`."""
    second_opinion: dict[str, Any] | None
    """What pystun3 says, `verdict` and `note`; null where it was not asked (`--classify`)."""


class Examined(NamedTuple):
    """The report (`visavis doctor`); what was not examined is not there.

    Besides: `program`, `signaling`, `nat` (docs/nat.md), `endpoint`, `survey_ms`, `used`, `skipped`, and with `--with`
    `attempt`, `forecast` and `conclusion`.
    """

    redacted: bool
    """Whether addresses and host names are replaced (`--show-addresses` leaves them in)."""


class LinesLost(NamedTuple):
    """Nobody has read standard output in time: lines were lost here."""

    count: int  # type: ignore[assignment]  # hides the method of tuples, which nobody needs
    """How many."""


class CommandFailed(NamedTuple):
    """The command ends, and not well; the last line."""

    error: str
    """One of the names below."""
    message: str
    """The same for a person."""
    exit_code: int
    """What the command ends with."""


Line = TextReceived | RoundTrip | RoundTrips | Discovered | Examined | LinesLost | CommandFailed

LINE_NAMES: Final[dict[type[Line], str]] = {
    TextReceived: "data",
    RoundTrip: "progress",
    RoundTrips: "done",
    Discovered: "done",
    Examined: "doctor",
    LinesLost: "lost",
    CommandFailed: "error",
}
"""What JSON lines call them."""
