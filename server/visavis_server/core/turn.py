"""Time-limited TURN credentials by the scheme that TURN servers share a secret for (draft-uberti-behave-turn-rest).

The user name is when it expires (seconds since the epoch) and the peer it was made for; the password is the base64 of
HMAC-SHA1(secret, user name), which the TURN server computes for itself. SHA-1 is what the scheme says.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

from visavis_shared.messages import IceServer, encode

TTL_MAX: Final = 600
"""Seconds for which credentials are valid at most: enough to allocate, and an allocation outlives them."""


@dataclass(slots=True)
class TurnService:
    """The TURN servers of this operator and the secret shared with them."""

    urls: tuple[str, ...]
    """`turn:host[:port][?transport=udp|tcp]` (RFC 7065)."""
    secret: bytes
    """The newest one; TURN servers may know older ones too, while it is changed."""
    ttl: int = TTL_MAX
    """Seconds."""

    def ice_servers(self, peer_id: str, now_ms: int) -> bytes:
        """Return the JSON list of servers with credentials for one peer."""
        username = f"{now_ms // 1000 + self.ttl}:{peer_id}"
        password = base64.b64encode(hmac.digest(self.secret, username.encode(), "sha1")).decode()
        return b"[%b]" % encode(IceServer(urls=self.urls, username=username, credential=password, ttl=self.ttl))
