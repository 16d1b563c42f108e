"""What an ICE session reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from visavis_peer.events import PathInfo


@dataclass(frozen=True, slots=True)
class IceCallbacks:
    """What the shell hears of one session; every call comes from the event loop and must not block."""

    candidate: Callable[[str], None]
    """A new local candidate, as an SDP line."""
    gathered: Callable[[], None]
    """The STUN servers have been heard, or the TURN servers; `all_found` tells whether both."""
    check_received: Callable[[], None]
    """An authenticated check of the peer has come in."""
    valid: Callable[[PathInfo], None]
    """The first pair is valid, or a better one now is."""
    suspended: Callable[[], None]
    """Consent has expired: nothing is sent until it is given again."""
    resumed: Callable[[], None]
    """Consent has been given again."""
    lost: Callable[[str], None]
    """The path is gone for good; the reason in words."""
