"""core.outcomes: which events of an agent are outcomes of links."""

from __future__ import annotations

import pytest

from visavis_peer.core.signaling.outcomes import PEER_COUNT, PENDING_COUNT, OutcomeLog
from visavis_peer.events import (
    Event,
    Failure,
    LinkDown,
    LinkUp,
    Negotiating,
    PathChanged,
    PathInfo,
    PeerLeft,
    RelayCause,
)
from visavis_shared.nat import Mapping, NatKind, NatReport
from visavis_shared.outcomes import OUTCOME_COUNT, LinkOutcome, OutcomePath

OURS = NatReport(nat=False)
THEIRS = NatReport(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT)
DIRECT = PathInfo("direct", "host-srflx", "192.0.2.1:1", "192.0.2.2:2", 1.0)


def relayed(cause: RelayCause | None) -> PathInfo:
    return PathInfo("relay", "server", "", "192.0.2.3:443", None, "in words", cause=cause)


def negotiating(peer_id: str = "p") -> Negotiating:
    return Negotiating(peer_id, None, "offerer", (), (), THEIRS)


def up(path: PathInfo, peer_id: str = "p") -> LinkUp:
    return LinkUp(peer_id, None, path, 1.0)


def moved(path: PathInfo) -> PathChanged:
    return PathChanged("p", None, path, 1.0)


def outcomes(*events: Event) -> list[tuple[str, str]]:
    log = OutcomeLog()
    for event in events:
        log.on_event(event, OURS)
    return [(outcome.path.value, outcome.reason.value) for outcome in log.take()]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([up(DIRECT)], [("direct", "none")]),
        ([up(relayed(RelayCause.NOT_YET))], []),
        ([up(relayed(RelayCause.NOT_YET)), moved(DIRECT)], [("direct", "none")]),
        ([up(relayed(RelayCause.NOT_YET)), moved(relayed(RelayCause.NO_PATH))], [("relay", "no_path")]),
        ([up(relayed(None))], [("relay", "no_path")]),
        ([up(relayed(RelayCause.TURN))], [("relay", "no_path")]),
        ([up(relayed(RelayCause.RELAY_ONLY))], [("relay", "relay_only")]),
        ([up(DIRECT), moved(relayed(RelayCause.PATH_LOST))], [("direct", "none"), ("relay", "path_lost")]),
        ([up(DIRECT), moved(DIRECT)], [("direct", "none")]),
        ([up(DIRECT), LinkDown("p", None, "x"), up(DIRECT)], [("direct", "none")] * 2),
        ([Failure("no_path", "x", "p")] * 3, [("failed", "no_path")]),
        ([Failure("no_answer", "x", "p")], [("failed", "no_answer")]),
        ([Failure("refused", "x", "p")], [("failed", "refused")]),
        ([Failure("authentication_failed", "x", "p")], [("failed", "authentication_failed")]),
        ([Failure("refused", "x")], []),
        ([Failure("signaling_lost", "x", "p"), PeerLeft("p", None)], []),
    ],
)
def test_an_outcome_is_where_a_link_settles(events: list[Event], expected: list[tuple[str, str]]) -> None:
    assert outcomes(*events) == expected


def test_both_nats_stand_in_it() -> None:
    log = OutcomeLog()
    log.on_event(negotiating(), OURS)
    log.on_event(up(DIRECT), OURS)
    log.on_event(up(DIRECT, "stranger"), OURS)
    assert log.take() == (
        LinkOutcome(path=OutcomePath.DIRECT, nat=NatKind.NONE, remote_nat=NatKind.SYMMETRIC),
        LinkOutcome(path=OutcomePath.DIRECT, nat=NatKind.NONE, remote_nat=NatKind.UNKNOWN),
    )
    assert log.take() == ()


def test_what_waits_and_what_is_remembered_is_bounded() -> None:
    log = OutcomeLog()
    for number in range(2 * PEER_COUNT):
        log.on_event(negotiating(str(number)), OURS)
        log.on_event(up(DIRECT, str(number)), OURS)
    assert len(log) == PENDING_COUNT
    assert len(log.take()) == OUTCOME_COUNT
    assert len(log) == PENDING_COUNT - OUTCOME_COUNT


def test_who_came_before_the_last_peers_is_forgotten_and_counts_anew() -> None:
    log = OutcomeLog()
    for number in range(PEER_COUNT + 1):
        log.on_event(negotiating(str(number)), OURS)
        log.on_event(up(DIRECT, str(number)), OURS)
    while log.take():
        pass
    log.on_event(up(DIRECT, "1"), OURS)
    assert not log.take(), "this one is remembered"
    log.on_event(up(DIRECT, "0"), OURS)
    assert [outcome.remote_nat for outcome in log.take()] == [NatKind.UNKNOWN]
