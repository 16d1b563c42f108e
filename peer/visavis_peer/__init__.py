"""The peer agent: finds its public endpoint, meets peers through the signaling server, and links with them.

from visavis_peer import Agent, AgentSettings

async with Agent(AgentSettings(server="https://host.example", room="den")) as agent:
async for link in agent.links():
link.send_datagram(b"hello")
print(await link.receive_datagram(), link.path.kind, await link.ping(timeout=2))
"""

from visavis_peer.agent import Agent
from visavis_peer.errors import (
    AgentError,
    NoPath,
    PeerAbsent,
    Refused,
    ServerBusy,
    SignalingUnreachable,
    UsageError,
)
from visavis_peer.link.link import Link, LinkClosed
from visavis_peer.settings import AgentSettings

__all__ = [
    "Agent",
    "AgentError",
    "AgentSettings",
    "Link",
    "LinkClosed",
    "NoPath",
    "PeerAbsent",
    "Refused",
    "ServerBusy",
    "SignalingUnreachable",
    "UsageError",
]
