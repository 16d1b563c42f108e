"""Time-limited TURN credentials by the scheme that TURN servers share a secret for (draft-uberti-behave-turn-rest).

The user name is when it expires (seconds since the epoch) and whom it was made for; the password is the base64 of
HMAC-SHA1(secret, user name), which the TURN server computes for itself. SHA-1 is what the scheme says. A TURN server's
quotas are by user: whoever comes back, on however many connections, gets the same name for half a lifetime, and behind
the expiry, which coturn does not count, always the same.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

TTL_MAX: Final = 600
"""Seconds for which credentials are valid at most: enough to allocate, and an allocation outlives them."""
_USER_LABEL: Final = b"visavis/1 turn user "
"""Keeps what names users apart from what makes their passwords, which is under the same secret."""
_USER_SIZE: Final = 8
"""Bytes: no two of the addresses that a server sees share a name by chance."""


@dataclass(slots=True)
class TurnService:
    """The TURN servers of this operator and the secret shared with them."""

    urls: tuple[str, ...]
    """`turn:host[:port][?transport=udp|tcp]` (RFC 7065)."""
    secret: bytes
    """The newest one; TURN servers may know older ones too, while it is changed."""
    ttl: int = TTL_MAX
    """Seconds."""

    def ice_servers(self, source: str, now_ms: int) -> bytes:
        """Return the JSON list of servers with credentials for `source`: an address, which the user name does not show.

        They are good for at least half of `ttl`.
        """
        from visavis_shared.messages import (
            IceServer,
            encode,
        )  # the settings, which need a number of here, need no models

        step = max(self.ttl // 2, 1)
        expires = now_ms // 1000 // step * step + self.ttl
        user = hmac.digest(self.secret, _USER_LABEL + source.encode(), "sha256")[:_USER_SIZE].hex()
        username = f"{expires}:{user}"
        password = base64.b64encode(hmac.digest(self.secret, username.encode(), "sha1")).decode()
        return b"[%b]" % encode(IceServer(urls=self.urls, username=username, credential=password, ttl=self.ttl))
