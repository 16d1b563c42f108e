"""The peer agent: finds its public endpoint, meets peers through the signaling server, and links with them.

from visavis_peer import Agent, AgentSettings

async with Agent(AgentSettings(server="https://host.example", room="den")) as agent:
async for link in agent.links():
reader, writer = await link.open_stream()
writer.write(b"hello")
print(await reader.read(100), link.path.kind, await link.ping(timeout=2))
"""

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
    UsageError,
)
from visavis_peer.link.link import Link
from visavis_peer.link.streams import StreamReader, StreamReset, StreamWriter
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
