"""The peer agent: finds its public endpoint, meets peers through the signaling server, and links with them.

from visavis_peer import Agent, AgentSettings

async with Agent(AgentSettings(server="https://host.example", room="den")) as agent:
async for link in agent.links():
reader, writer = await link.open_stream()
writer.write(b"hello")
print(await reader.read(100), link.path.kind, await link.ping(timeout=2))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from visavis_peer.agent import Agent
    from visavis_peer.errors import (
        AgentError,
        AuthenticationFailed,
        LinkClosed,
        NoPath,
        PeerAbsent,
        Refused,
        ServerBusy,
        SignalingUnreachable,
        StreamReset,
        UsageError,
    )
    from visavis_peer.link.link import Link
    from visavis_peer.link.streams import StreamReader, StreamWriter
    from visavis_peer.settings import AgentSettings
    from visavis_shared.invite import InvalidInvite, Invite

__all__ = [
    "Agent",
    "AgentError",
    "AgentSettings",
    "AuthenticationFailed",
    "InvalidInvite",
    "Invite",
    "Link",
    "LinkClosed",
    "NoPath",
    "PeerAbsent",
    "Refused",
    "ServerBusy",
    "SignalingUnreachable",
    "StreamReader",
    "StreamReset",
    "StreamWriter",
    "UsageError",
]

_HOMES: Final = {
    "Agent": "visavis_peer.agent",
    "AgentSettings": "visavis_peer.settings",
    "InvalidInvite": "visavis_shared.invite",
    "Invite": "visavis_shared.invite",
    "Link": "visavis_peer.link.link",
    "StreamReader": "visavis_peer.link.streams",
    "StreamWriter": "visavis_peer.link.streams",
}
"""Modules of what this package exports, the errors aside; the command imports no more than it needs."""

if not TYPE_CHECKING:  # type checkers are to refuse names that do not exist

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "visavis_peer.errors")), name)
