"""Whether the peer of a link is there: what silence means, when to ask for a sign of life, and when to give up.

Silence is of the peer only while this process listens: one that was stopped has heard nobody. So each look is told two
clocks, `now`, which counts while this machine runs, and `clock`, which goes on in its sleep.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

PING_INTERVAL: Final = 5.0
"""Seconds of silence after which the peer is asked for a sign of life."""
WATCH_INTERVAL: Final = 1.0
"""Seconds between looks at the clock, and between questions once PING_INTERVAL is over: a question is not repeated when
it is lost, and after an outage of 20 s there is no time for many."""
LATE: Final = 4.0
"""Seconds by which such a look is too late for a busy machine: this process was stopped, and heard nobody meanwhile.
To take a hiccup for that, or for sleep, costs one reconnection."""
STALE: Final = 0.2
"""Seconds for which, after such a time or a machine's sleep, datagrams are dropped: they have lain in buffers.
To acknowledge them would tell the peer of a round trip as long as the sleep, and it would send at that pace. Whatever
is not acknowledged is sent again."""
SILENCE: Final = 26.0
"""Seconds without a sign of life after which the link is suspended, or over where it cannot be: an outage of 20 s is
none, and a peer that died is noticed within 30 s."""
SUSPENDED_INTERVAL: Final = 5.0
"""Seconds between questions while the link is suspended: the longest that it then takes to notice a peer that is back.
The engine keeps 144 bytes of each question, 2.5 MB in a day."""
HANDSHAKE_TIMEOUT: Final = 15.0
"""Seconds for the handshake, from the ANSWER on: a round of checks and its first retry."""
UNANSWERED_COUNT: Final = 16_384
"""UDP payloads sent since the peer has last answered a question, beyond which the application's datagrams are dropped:
the engine keeps 144 bytes of each (measured), 2.3 MiB then. All credits of a link are 1,800 payloads a round trip."""
ASK_COUNT: Final = 1024
"""UDP payloads sent without an answer after which the peer is asked; of 16 questions not all are lost. Who has not
answered after so many beyond UNANSWERED_COUNT acknowledges nothing on purpose."""


class Verdict(Enum):
    """What is to be done about a peer."""

    WAIT = auto()
    """Nothing."""
    ASK = auto()
    """Ask for a sign of life, and say so by `on_asked`."""
    SUSPEND = auto()
    """Tell that the link waits from now on."""
    GIVE_UP = auto()
    """End the link."""


class Liveness:
    """What is known of one peer's life."""

    def __init__(self, patience: float, now: float, clock: float) -> None:
        """`patience` is for how many seconds of silence both sides keep the link, where its peer is waited for."""
        self.patience = patience
        self.suspended_at: float | None = None
        """Since when the link has waited for a silent peer; None while it does not."""
        self.departed = False
        """Whether the peer has left the room or hung up: then it is not just asleep."""
        self._heard_at = now
        self._asked_at: float | None = None
        """When the peer was asked for a sign of life; None once it has answered."""
        self._unanswered = 0
        """Datagrams sent since the peer has last answered a question."""
        self._ask_at = ASK_COUNT
        self._watched_at = now
        self._awake_at = clock
        """When this process last did anything."""
        self._stale_until = 0.0

    def silence(self, now: float) -> float:
        """Return the seconds since the last sign of life."""
        return now - self._heard_at

    @property
    def takes_datagrams(self) -> bool:
        """Whether the application's datagrams are worth sending."""
        return self.suspended_at is None and self._unanswered < UNANSWERED_COUNT

    # --- what happens -------------------------------------------------------------------------------------------------

    def is_stale(self, now: float, clock: float) -> bool:
        """Return whether what comes in now has waited for this process, or this machine, to wake up."""
        if clock - self._awake_at > WATCH_INTERVAL + LATE:
            self._stale_until = now + STALE
        self._awake_at = clock
        return now < self._stale_until

    def on_heard(self, now: float) -> float | None:
        """Take a sign of life; where it ends a suspension, return the seconds of silence before it, and ask the peer.

        The answer shows what was lost meanwhile.
        """
        silence, self._heard_at = now - self._heard_at, now
        if self.suspended_at is None:
            return None
        self.suspended_at = None
        self._unanswered = min(self._unanswered, UNANSWERED_COUNT)
        return silence

    def on_answered(self) -> None:
        """The peer has acknowledged a question."""
        self._unanswered, self._ask_at, self._asked_at = 0, ASK_COUNT, None

    def on_asked(self, now: float) -> None:
        """The peer was asked for a sign of life."""
        self._asked_at = now

    def on_sent(self, count: int) -> Verdict:
        """Count UDP payloads that were sent; GIVE_UP is for a peer that acknowledges nothing."""
        self._unanswered += count
        if self.suspended_at is not None:
            return Verdict.WAIT  # nothing but questions is sent
        if self._unanswered >= UNANSWERED_COUNT + ASK_COUNT:
            return Verdict.GIVE_UP
        if self._unanswered >= self._ask_at:
            self._ask_at += ASK_COUNT
            return Verdict.ASK
        return Verdict.WAIT

    def watch(self, now: float, clock: float, *, established: bool, announced: bool, waits: bool) -> Verdict:
        """Look at the clock, every WATCH_INTERVAL.

        `established` tells whether the handshake is over, `announced` whether the application has the link, and `waits`
        whether its peer is one that may be waited for.
        """
        self.is_stale(now, clock)
        late = now - self._watched_at - WATCH_INTERVAL
        self._watched_at = now
        if late > LATE:
            self._heard_at = min(now, self._heard_at + late)  # the silence of who does not listen is not the peer's
        silence = now - self._heard_at
        if not established:
            return Verdict.GIVE_UP if silence > HANDSHAKE_TIMEOUT else Verdict.WAIT
        if silence > (max(SILENCE, self.patience) if waits and not self.departed else SILENCE):
            return Verdict.GIVE_UP
        if silence > SILENCE and announced and self.suspended_at is None:
            self.suspended_at = now
            return Verdict.SUSPEND
        return Verdict.ASK if self._is_to_ask(now, silence) else Verdict.WAIT

    def _is_to_ask(self, now: float, silence: float) -> bool:
        """Whether to ask (again): the engine repeats no question, and the path of the last one may have died."""
        if self._asked_at is None:
            return silence > PING_INTERVAL
        return self.suspended_at is None or now - self._asked_at >= SUSPENDED_INTERVAL
