"""How links turn out, from the events of an agent: what it reports to its signaling server."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, TypeVar

from visavis_peer.events import (
    NO_ANSWER,
    Event,
    Failure,
    LinkDown,
    LinkUp,
    Negotiating,
    PathChanged,
    PathInfo,
    RelayCause,
)
from visavis_shared.nat import NatKind, NatReport, nat_kind
from visavis_shared.outcomes import OUTCOME_COUNT, LinkOutcome, OutcomePath, OutcomeReason

PENDING_COUNT: Final = 64
"""Outcomes kept until they are reported: one of each peer; the oldest make way."""
PEER_COUNT: Final = 256
"""Peers whose last outcome is remembered, four times as many as an agent links with."""
_FAILURES: Final = {
    "no_path": OutcomeReason.NO_PATH,
    NO_ANSWER: OutcomeReason.NO_ANSWER,
    "refused": OutcomeReason.REFUSED,
    "authentication_failed": OutcomeReason.AUTHENTICATION_FAILED,
}
"""By the name of the failure."""
_CAUSES: Final = {
    RelayCause.NOT_YET: None,
    RelayCause.PATH_LOST: OutcomeReason.PATH_LOST,
    RelayCause.RELAY_ONLY: OutcomeReason.RELAY_ONLY,
}
"""What a relayed path counts as, None where it will not last; every other cause is NO_PATH."""

_V = TypeVar("_V")


class OutcomeLog:
    """The outcomes that have not been reported yet.

    A link counts when it is settled: the relay while checks are under way is no outcome. The same outcome of the same
    peer counts once, until the link goes down.
    """

    def __init__(self) -> None:
        self._remote: OrderedDict[str, NatKind] = OrderedDict()
        """What peers say of their NATs."""
        self._last: OrderedDict[str, tuple[OutcomePath, OutcomeReason]] = OrderedDict()
        self._pending: deque[LinkOutcome] = deque(maxlen=PENDING_COUNT)

    def __len__(self) -> int:
        return len(self._pending)

    def on_event(self, event: Event, nat: NatReport) -> None:
        """Take what the agent tells its user; `nat` is what it knows of its own NAT now."""
        match event:
            case Negotiating(peer_id=peer_id, remote_nat=remote_nat):
                _remember(self._remote, peer_id, nat_kind(remote_nat))
            case LinkUp(peer_id=peer_id, path=path) | PathChanged(peer_id=peer_id, path=path):
                self._on_path(peer_id, path, nat)
            case LinkDown(peer_id=peer_id):
                self._last.pop(peer_id, None)
            case Failure(error=error, peer_id=str(peer_id)) if error in _FAILURES:
                self._note(peer_id, OutcomePath.FAILED, _FAILURES[error], nat)
            case _:
                pass

    def take(self) -> tuple[LinkOutcome, ...]:
        """Return the oldest outcomes, as many as one message takes, and forget them."""
        return tuple(self._pending.popleft() for _ in range(min(OUTCOME_COUNT, len(self._pending))))

    def _on_path(self, peer_id: str, path: PathInfo, nat: NatReport) -> None:
        if path.path == "direct":
            self._note(peer_id, OutcomePath.DIRECT, OutcomeReason.NONE, nat)
            return
        reason = OutcomeReason.NO_PATH if path.cause is None else _CAUSES.get(path.cause, OutcomeReason.NO_PATH)
        if reason is not None:
            self._note(peer_id, OutcomePath.RELAY, reason, nat)

    def _note(self, peer_id: str, path: OutcomePath, reason: OutcomeReason, nat: NatReport) -> None:
        if self._last.get(peer_id) == (path, reason):
            return
        _remember(self._last, peer_id, (path, reason))
        remote = self._remote.get(peer_id, NatKind.UNKNOWN)
        self._pending.append(LinkOutcome(path=path, reason=reason, nat=nat_kind(nat), remote_nat=remote))


def _remember(known: OrderedDict[str, _V], peer_id: str, value: _V) -> None:
    known[peer_id] = value
    known.move_to_end(peer_id)
    if len(known) > PEER_COUNT:
        known.popitem(last=False)
