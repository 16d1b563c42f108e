"""The peer agent: finds its public endpoint, meets peers through the signaling server, and links with them.

docs/library.md has programs, and lists all that is public here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from visavis_peer.agent import Agent
    from visavis_peer.broadcast import ItemsLost
    from visavis_peer.errors import (
        AgentError,
        AuthenticationFailed,
        KindNotOffered,
        LinkClosed,
        NoPath,
        PeerAbsent,
        Refused,
        ServerBusy,
        SignalingUnreachable,
        StreamReset,
        TokenUntimely,
        UsageError,
    )
    from visavis_peer.events import (
        EndpointDiscovered,
        Event,
        Failure,
        Joined,
        LinkDown,
        LinkResumed,
        LinkSuspended,
        LinkUp,
        Negotiating,
        Notice,
        PathChanged,
        PathInfo,
        PeerJoined,
        PeerLeft,
        Ready,
        RelayCause,
    )
    from visavis_peer.link.link import Link, StreamReader, StreamWriter
    from visavis_peer.settings import AgentSettings
    from visavis_shared.invite import InvalidInvite, Invite

__all__ = [
    "Agent",
    "AgentError",
    "AgentSettings",
    "AuthenticationFailed",
    "EndpointDiscovered",
    "Event",
    "Failure",
    "InvalidInvite",
    "Invite",
    "ItemsLost",
    "Joined",
    "KindNotOffered",
    "Link",
    "LinkClosed",
    "LinkDown",
    "LinkResumed",
    "LinkSuspended",
    "LinkUp",
    "Negotiating",
    "NoPath",
    "Notice",
    "PathChanged",
    "PathInfo",
    "PeerAbsent",
    "PeerJoined",
    "PeerLeft",
    "Ready",
    "Refused",
    "RelayCause",
    "ServerBusy",
    "SignalingUnreachable",
    "StreamReader",
    "StreamReset",
    "StreamWriter",
    "TokenUntimely",
    "UsageError",
]

_HOMES: Final = {
    "Agent": "visavis_peer.agent",
    "AgentSettings": "visavis_peer.settings",
    "InvalidInvite": "visavis_shared.invite",
    "Invite": "visavis_shared.invite",
    "ItemsLost": "visavis_peer.broadcast",
    **dict.fromkeys(("Link", "StreamReader", "StreamWriter"), "visavis_peer.link.link"),
    **dict.fromkeys(
        (
            *("EndpointDiscovered", "Event", "Failure", "Joined", "LinkDown", "LinkResumed", "LinkSuspended", "LinkUp"),
            *("Negotiating", "Notice", "PathChanged", "PathInfo", "PeerJoined", "PeerLeft", "Ready", "RelayCause"),
        ),
        "visavis_peer.events",
    ),
}
"""Modules of what this package exports, the errors aside; the command imports no more than it needs."""

if not TYPE_CHECKING:  # type checkers are to refuse names that do not exist

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "visavis_peer.errors")), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
