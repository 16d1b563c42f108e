"""ICE (RFC 8445) with trickled candidates (RFC 8838) and consent (RFC 7675), without I/O, clock or randomness.

One `IceAgent` is one ICE session of one data stream with one component. What comes in are datagrams, candidates and the
time; what goes out are effects (effects.py) and the next deadline. `net.ice` is the shell: sockets, STUN and TURN
servers. Which parts of the RFCs are kept, and what goes beyond or beside them and why, stands with each part:

    candidates.py      candidates, and which of the peer's are ever sent to
    pairs.py           pairs, their states, foundations and priorities; which check is next
    remote.py          the peer's candidates as they trickle in, and as its checks show them
    messages.py        the Binding requests and responses of checks
    role.py            credentials, roles and their conflicts
    transactions.py    retransmission, of the requests in requests.py
    paths.py           selection, and consent to send
    agent.py           checks, triggered checks, nomination: what ties these together
"""

from visavis_peer.core.ice.agent import IceAgent
from visavis_peer.core.ice.candidates import Candidate
from visavis_peer.core.ice.effects import (
    CandidateFound,
    CheckReceived,
    Effect,
    Lost,
    OpenHole,
    Resumed,
    Suspended,
    Transmit,
    Trust,
    Valid,
)

__all__ = [
    "Candidate",
    "CandidateFound",
    "CheckReceived",
    "Effect",
    "IceAgent",
    "Lost",
    "OpenHole",
    "Resumed",
    "Suspended",
    "Transmit",
    "Trust",
    "Valid",
]
