"""Which pair is used, and whether the peer consents to it (RFC 8445 section 8, RFC 7675).

As the RFCs have it: the nominated valid pair of highest priority; consent by Binding requests on it, at random
intervals, without retransmission, each answerable for 30 s and only from where it went; without consent nothing but
checks.

Beyond them (core/ice/consent.py has the times, core/ice/selection.py the order):
- a selected pair that misses an answer is asked each second, and other valid pairs with it; the first that answers
  takes over, so that a NAT that has forgotten its mapping heals without signaling; a displaced pair comes back when it
  answers within a minute;
- consent is one for the session: whatever pair is selected then, an answer on it renews it;
- consent that has expired after 15 s suspends the path, and an answer within a minute resumes it, where RFC 7675
  section 5.1 ends it: an outage of a network is no change of the peer's mind, and nothing but checks is sent meanwhile;
- a check of the peer proves that it lives, not that it hears, so it renews nothing; on another pair than the selected
  one it is a reason to ask at once, for the peer may have moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from visavis_peer.core.ice.candidates import Candidate
from visavis_peer.core.ice.consent import Consent
from visavis_peer.core.ice.effects import Effect, Lost, Resumed, Suspended, Valid
from visavis_peer.core.ice.pairs import Pair, PairTable
from visavis_peer.core.ice.selection import Selection
from visavis_peer.events import PathInfo, RelayCause
from visavis_shared.endpoints import format_address

OTHERS_COUNT: Final = 4
"""Pairs besides the selected one that are asked for consent at a time: the last ones that the peer was heard on."""


class Paths:
    """The valid pairs of a table, and the one that is selected."""

    def __init__(self, table: PairTable, local_candidates: Sequence[Candidate], emit: Callable[[Effect], None]) -> None:
        """`local_candidates` are this side's so far, to name paths by."""
        self.selected: Pair | None = None
        self.searching = False
        """Whether the selected pair is silent, so that pairs of lower priority are checked too."""
        self.consent: Consent | None = None
        """None before the first pair is valid."""
        self._lost = False
        self._selection: Selection[Pair] = Selection()
        self._table = table
        self._local_candidates = local_candidates
        self._emit = emit

    @property
    def may_send(self) -> bool:
        """Whether data may be sent on the selected pair."""
        return self.consent is not None and self.consent.expired_at is None

    def on_heard(self, pair: Pair, now: float) -> None:
        """The peer has sent an authenticated message on a pair."""
        self._selection.on_heard(pair, now)

    def on_peer_check(self, pair: Pair, now: float) -> None:
        """A check of the peer has come in on a pair."""
        self._selection.on_heard(pair, now)
        if self.consent is not None:
            self.consent.on_peer_check(now, elsewhere=pair is not self.selected)

    def select(self, now: float) -> None:
        """Use the best valid pair, but none that is silent while another answers."""
        best = self._selection.best(self._table.valid)
        if best is None or best is self.selected:
            return
        self.selected = best
        if self.consent is None:
            self.consent = Consent.start(now, best.round_trip)
        self._emit(Valid(describe(best, self._local_candidates)))

    def on_answer(self, pair: Pair, round_trip: float, now: float) -> None:
        """The peer has answered on a pair: it takes over from a silent one, or takes its place again."""
        assert self.consent is not None
        silent = self.consent.is_silent(now)
        back = self._selection.on_answer(pair, now)
        if silent and pair is not self.selected:
            self._selection.prefer(pair, self._table.valid, now)
        if back or silent:
            self.select(now)
        if pair is self.selected:
            self.searching = self._lost = False
            if self.consent.on_response(now, round_trip):
                self._emit(Resumed())

    def suspect(self, now: float) -> None:
        """Ask the peer at once whether it still listens, and suspend the path sooner if it does not."""
        if self.consent is not None:
            self.consent.suspect(now)

    @property
    def due_at(self) -> float | None:
        """When `handle_timer` wants to be called."""
        return None if self.consent is None or self._lost else self.consent.next_timer()

    def handle_timer(self, now: float, jitter: float) -> list[Pair]:
        """Return the pairs to ask for consent now, the selected one first; `jitter` is a random number in 0..1."""
        while self.consent is not None and not self._lost:
            match self.consent.handle_timer(now, jitter):
                case "check":
                    return self._asked(self._selection.displaced)
                case "search":
                    self.searching = True
                    return self._asked(self._selection.others(self._table.valid, self.selected))
                case "expired":
                    self._emit(Suspended())
                case "lost":
                    self._lost = True
                    self._emit(Lost("the peer no longer answers"))
                case _:
                    break
        return []

    def _asked(self, others: Sequence[Pair]) -> list[Pair]:
        assert self.selected is not None
        return [self.selected, *others[:OTHERS_COUNT]]

    def give_up(self, now: float) -> list[Pair]:
        """Return the pairs that have been silent for long while another answers; they are valid no more."""
        return self._selection.give_up(now)


def describe(pair: Pair, local_candidates: Sequence[Candidate]) -> PathInfo:
    """Return what users are told of a pair; the peer's view of this side decides what it is called."""
    local_type = pair.local.type
    if local_type == "host" and pair.mapped is not None and pair.mapped != pair.local.address:
        known = any(each.address == pair.mapped for each in local_candidates)
        local_type = "srflx" if known else "prflx"
    relayed = "relay" in (local_type, pair.remote.type)
    return PathInfo(
        path="relay" if relayed else "direct",
        kind=f"{local_type}-{pair.remote.type}",
        local=format_address(pair.local.address),
        remote=format_address(pair.remote.address),
        rtt_ms=None if pair.round_trip is None else pair.round_trip * 1000,
        reason="by a TURN server" if relayed else None,
        method=pair.method,
        cause=RelayCause.TURN if relayed else None,
    )
