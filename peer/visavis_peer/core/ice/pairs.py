"""Candidate pairs (RFC 8445 section 6.1.2): their states, their order, and which is checked next.

    FROZEN ──▶ WAITING ──▶ IN_PROGRESS ──▶ SUCCEEDED ──▶ FAILED    silent for long, while another pair answers
       ▲                        │
       └── (a check of the peer) FAILED

As the RFC has it: pair priorities (section 6.1.2.3); the foundation of a pair is that of both candidates (6.1.2.6); at
the start the best pair of each foundation is Waiting and the others are Frozen; a pair that is made later is Waiting if
nothing of its foundation is being checked or one has succeeded, else Frozen (RFC 8838 section 12); a success thaws its
foundation (7.2.5.3.3). Server-reflexive candidates are not paired, for what is sent from them is sent from their base
(6.1.2.4).

Beside it:
- where nothing is Waiting, the best Frozen pair is checked, also while its foundation is (as RFC 5245 section 5.8 had
  it; RFC 8445 section 6.1.4.2 waits): a check that nobody answers takes 5 s, and nobody should wait for it;
- a list has no bound of 100 pairs (section 6.1.2.5): candidates have theirs, and the packets that go to addresses
  without an answer (core/nat/destinations.py), which is what the RFC's bound is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from visavis_peer.core.ice.candidates import Candidate
from visavis_shared.stun import Address


class PairState(Enum):
    """RFC 8445 section 6.1.2.6."""

    FROZEN = auto()
    WAITING = auto()
    IN_PROGRESS = auto()
    SUCCEEDED = auto()
    FAILED = auto()


_BEING_CHECKED: Final = frozenset({PairState.WAITING, PairState.IN_PROGRESS})


class Pair:
    """A local socket and a remote candidate. Compared by identity."""

    def __init__(self, socket: int, local: Candidate, remote: Candidate) -> None:
        self.socket = socket
        self.local = local
        """The candidate of the socket: the base."""
        self.remote = remote
        self.state = PairState.FROZEN
        self.nominated = False
        self.remote_nominated = False
        """Whether a check of the peer has carried USE-CANDIDATE."""
        self.round_trip: float | None = None
        """Seconds of the last check that was answered."""
        self.mapped: Address | None = None
        """This side's address on the pair as the peer sees it."""
        self.method: str | None = None
        """How it was found, where no candidate has led there."""

    def __repr__(self) -> str:
        flag = " nominated" if self.nominated else ""
        return f"<Pair {self.socket} to {self.remote.host} port {self.remote.port} {self.state.name}{flag}>"

    @property
    def foundation(self) -> tuple[str, str]:
        """What pairs have in common that are likely to succeed together."""
        return self.local.foundation, self.remote.foundation

    @property
    def valid(self) -> bool:
        """Whether it may be used: it is nominated, and a check of it has succeeded."""
        return self.nominated and self.state is PairState.SUCCEEDED

    def priority(self, *, controlling: bool) -> int:
        """Return RFC 8445's pair priority (section 6.1.2.3), the same on both sides."""
        ours, theirs = self.local.priority, self.remote.priority
        controller, controlled = (ours, theirs) if controlling else (theirs, ours)
        smaller, larger = sorted((controller, controlled))
        return (smaller << 32) + 2 * larger + (controller > controlled)


class PairTable:
    """The check list, best pair first; `controlling` is this side's role."""

    def __init__(self) -> None:
        self._pairs: list[Pair] = []

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def find(self, socket: int, address: Address) -> Pair | None:
        """Return the pair of a socket and a remote address."""
        return next((pair for pair in self._pairs if pair.socket == socket and pair.remote.address == address), None)

    def add(self, pair: Pair, *, controlling: bool, started: bool) -> None:
        """Put a new pair in its place; once checks have `started` it may be Waiting at once."""
        if started:
            states = {other.state for other in self._pairs if other.foundation == pair.foundation}
            if PairState.SUCCEEDED in states or not states & _BEING_CHECKED:
                pair.state = PairState.WAITING
        self._pairs.append(pair)
        self.sort(controlling=controlling)

    def remove(self, pair: Pair) -> None:
        """Forget a pair."""
        self._pairs.remove(pair)

    def sort(self, *, controlling: bool) -> None:
        """Order the pairs anew: a role or a candidate has changed."""
        self._pairs.sort(key=lambda pair: pair.priority(controlling=controlling), reverse=True)

    def start(self) -> None:
        """Let the best pair of each foundation wait for its check."""
        seen: set[tuple[str, str]] = set()
        for pair in self._pairs:
            if pair.state is PairState.FROZEN and pair.foundation not in seen:
                pair.state = PairState.WAITING
            seen.add(pair.foundation)

    def thaw(self, foundation: tuple[str, str]) -> None:
        """Let the pairs of a foundation wait for their checks: one of them has succeeded."""
        for pair in self._pairs:
            if pair.state is PairState.FROZEN and pair.foundation == foundation:
                pair.state = PairState.WAITING

    def next_check(self, selected: Pair | None) -> Pair | None:
        """Return the pair to check next, None if there is none; only those better than `selected` are worth it."""
        frozen: Pair | None = None
        for pair in self._pairs:
            if pair is selected:
                break
            if pair.state is PairState.WAITING:
                return pair
            if pair.state is PairState.FROZEN and frozen is None:
                frozen = pair
        return frozen

    @property
    def valid(self) -> list[Pair]:
        """The pairs that may be used, best first."""
        return [pair for pair in self._pairs if pair.valid]
