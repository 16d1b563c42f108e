"""What an agent tells its user, as typed events; `--json` prints the same members (docs/events.md lists them)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from visavis_shared.nat import NatReport


class RelayCause(StrEnum):
    """Why a path is a relay."""

    NOT_YET = "not_yet"
    """The search for a direct path goes on."""
    PATH_LOST = "path_lost"
    """There was a direct path."""
    RELAY_ONLY = "relay_only"
    """Nothing else is allowed, here or by the server."""
    NO_PATH = "no_path"
    """No direct path was found."""
    NARROW = "narrow"
    """The direct path carries no datagrams of a link's size."""
    TURN = "turn"
    """The pair that was found has a relayed candidate."""


SIGNALING_LOST: Final = "signaling_lost"
"""Name of the failure that the server cannot be reached for now."""
EVENTS_LOST: Final = "events_lost"
"""Name of the failure that events were not read in time."""
RELAY_NOT_USED: Final = "relay_not_used"
"""Name of the failure that the server names a relay to which this agent does not go."""
NO_INTERFACE: Final = "no_interface"
"""Name of the failure that a chosen interface is not there, for now."""
SEVERAL: Final = "several_servers"
"""Name of the failure that one name leads to several signaling servers that know nothing of each other."""
NO_ANSWER: Final = "no_answer"
"""Name of the failure that a peer does not answer an OFFER; it gets another one later."""


@dataclass(frozen=True, slots=True)
class PathInfo:
    """The path that a link uses."""

    path: Literal["direct", "relay"]
    """Whether datagrams go to the peer itself, or to a relay (the signaling server's, or TURN)."""
    kind: str
    """Candidate types, local then remote, for example `srflx-prflx` (RFC 8445 section 5.1.1); `server` for the
    signaling server's relay."""
    local: str
    """Local transport address, `ip:port` or `[ip]:port`; empty by the server's relay."""
    remote: str
    """Remote transport address; the server's by its relay."""
    rtt_ms: float | None
    """Round trip of the connectivity check that validated the path, in milliseconds; None by the server's relay."""
    reason: str | None = None
    """Why the path is a relay, in words; None for a direct one."""
    method: str | None = None
    """How it was found where connectivity checks alone could not: `prediction` or `birthday`."""
    cause: RelayCause | None = None
    """The same as `reason`, as a value; None for a direct one."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The signaling server has welcomed this agent."""

    server: str
    """URL of the signaling server."""
    peer_id: str
    """Id that the server has given this agent."""


@dataclass(frozen=True, slots=True)
class EndpointDiscovered:
    """What this agent has learnt of its public endpoint."""

    ip: str | None
    """Address that STUN servers see; None when none has answered."""
    port: int | None
    """The UDP port that belongs to it, likewise."""
    local: str | None
    """Transport address of this machine's socket, `ip:port` or `[ip]:port`; None where there is none."""
    nat: NatReport
    """What is known of the NATs before this agent (docs/nat.md)."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The room lists this agent."""

    room: str
    peer_id: str
    peers: int
    """Other members at that moment."""


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A peer is in the room."""

    peer_id: str
    name: str | None
    """What the server says; None in a room with a secret, where only what a peer has sealed itself counts."""
    authenticated: bool = False
    """Never true: until it links, a peer is only what the server says."""


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is no longer in the room; a link to it that still works stays.

    Where both end, LinkDown may come before or after: the news take different ways, and neither waits for the other.
    """

    peer_id: str
    name: str | None
    authenticated: bool = False
    """Whether there was a link to it on which it had proved to know the room's secret."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The operator of the signaling server says something to everybody."""

    message: str


@dataclass(frozen=True, slots=True)
class Negotiating:
    """OFFER and ANSWER have crossed and the connectivity checks begin."""

    peer_id: str
    name: str | None
    role: Literal["offerer", "answerer"]
    """This agent's."""
    local_candidates: tuple[str, ...]
    """This agent's candidates so far, as in SDP (RFC 8839 section 5.1)."""
    remote_candidates: tuple[str, ...]
    """The peer's so far, likewise."""
    remote_nat: NatReport | None
    """What the peer knows of its NATs; None where it has not said."""
    authenticated: bool = False
    """Whether what it says of itself was sealed with the room's secret."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link to a peer works in both directions."""

    peer_id: str
    name: str | None
    path: PathInfo
    """The one that it uses now."""
    elapsed_ms: float
    """Milliseconds since the OFFER was sent or received."""
    authenticated: bool = False
    """Whether the peer has proved to know the room's secret."""
    fingerprint: str | None = None
    """The first digits of the SHA-256 of the peer's certificate: tells two members of one name apart."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """A link has moved to another path without going down."""

    peer_id: str
    name: str | None
    path: PathInfo
    """The new one."""
    elapsed_ms: float
    """Milliseconds since the latest OFFER was sent or received."""
    authenticated: bool = False
    """Whether the peer has proved to know the room's secret."""


@dataclass(frozen=True, slots=True)
class LinkSuspended:
    """The peer of a link is silent, as one that is asleep: the link waits for it."""

    peer_id: str
    name: str | None
    patience: float
    """Seconds of silence, from its beginning on, for which the link waits; it is over after that."""
    authenticated: bool = True
    """Always true: nobody else is waited for."""


@dataclass(frozen=True, slots=True)
class LinkResumed:
    """The peer of a suspended link is back, and the link goes on where it was."""

    peer_id: str
    name: str | None
    path: PathInfo
    """The one that it uses now."""
    silence_ms: float
    """Milliseconds without a sign of life."""
    authenticated: bool = True
    """Always true, as in LinkSuspended."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A link is gone."""

    peer_id: str
    name: str | None
    reason: str
    """Why, for a person; the same as `Link.closed_reason`."""
    authenticated: bool = False
    """Whether the peer had proved to know the room's secret."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that a user should know; the agent goes on unless it says otherwise."""

    error: str
    """A stable name such as `no_path` or `signaling_lost`; of errors, their `name`."""
    message: str
    """The same for a person."""
    peer_id: str | None = None
    """Whom it is about; None where it is about nobody."""
    name: str | None = None
    authenticated: bool = False
    """Whether the peer had its part in it as one that knows the room's secret; of no meaning without `peer_id`."""


Event = (
    Ready
    | EndpointDiscovered
    | Joined
    | PeerJoined
    | PeerLeft
    | Notice
    | Negotiating
    | LinkUp
    | PathChanged
    | LinkSuspended
    | LinkResumed
    | LinkDown
    | Failure
)
