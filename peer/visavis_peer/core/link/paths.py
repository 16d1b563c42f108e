"""Which path the datagrams of a link take: direct where it works, the relay where not, both while in doubt.

QUIC drops what comes twice, so doubt costs bytes and nothing else, while a path that died costs its streams no more
than the time until doubt.
"""

from __future__ import annotations

from typing import Final, Literal

Route = Literal["direct", "relay"]

DOUBT: Final = 1.0
"""Seconds for which datagrams on the direct path go unanswered before the relay is used as well: three probes of a
round trip of 100 ms, and a third of the time in which a link has to be back (3 s)."""
DOUBT_RTTS: Final = 3.0
"""The same in round trips, for slow paths: as many as a QUIC probe timeout takes (RFC 9002 section 6.2)."""
DOUBT_PROBES: Final = 3
"""Probe timeouts without an acknowledgement: the path may have died in one direction, so that the peer is heard and
does not hear."""


class PathChoice:
    """The paths of one link. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.direct = False
        """Whether an ICE session with consent carries datagrams."""
        self.relay = False
        """Whether the server's relay carries datagrams to this peer."""
        self.narrow = False
        """Whether the direct path is too narrow for the link: then it is used only where there is no relay."""
        self._unanswered_since: float | None = None
        self._heard_at = 0.0
        self._doubted = False

    @property
    def main(self) -> Route | None:
        """The path in use, as users are told."""
        if self.direct and not (self.narrow and self.relay):
            return "direct"
        return "relay" if self.relay else None

    def set_direct(self, *, usable: bool, now: float) -> None:
        """Take note that the direct path works, from now on or no longer."""
        self.direct = usable
        self.narrow = False
        self._unanswered_since = None
        self._heard_at = now
        self._doubted = False

    def on_received(self, route: Route, now: float) -> None:
        """Count a datagram that came in."""
        if route == "direct":
            self._unanswered_since = None
            self._heard_at = now
            self._doubted = False
        elif self.direct and now - self._heard_at > DOUBT / 2:
            # the peer uses the relay though there is a direct path, and nothing comes by that one: so it doubts
            self._doubted = True

    def routes(
        self, now: float, rtt: float, *, answer_due: bool, probes: int = 0, confirmed: bool = True
    ) -> tuple[Route, ...]:
        """Return the paths for datagrams that are sent now; `rtt` is the smoothed round trip in seconds.

        `answer_due` tells whether the peer has something to acknowledge (acknowledgements themselves go unanswered),
        `probes` how many probe timeouts have passed since it last did (RFC 9002 section 6.2). Until the handshake is
        `confirmed` both paths are used: what overtakes it on the faster one is dropped, and missed for a timeout.
        """
        if self.main != "direct":
            return ("relay",) if self.relay else ()
        if not answer_due:
            self._unanswered_since = None
        elif self._unanswered_since is None:
            self._unanswered_since = now
        elif now - self._unanswered_since > max(DOUBT, DOUBT_RTTS * rtt):
            self._doubted = True
        if probes >= DOUBT_PROBES:
            self._doubted = True
        return ("direct", "relay") if (self._doubted or not confirmed) and self.relay else ("direct",)

    @property
    def doubted(self) -> bool:
        """Whether the direct path is in doubt: its consent should be asked for at once."""
        return self.direct and self._doubted
