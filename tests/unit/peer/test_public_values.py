"""What a library user holds: values that can be kept, sent and matched, and links that show nothing of the agent."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from tests.support.link_pair import association_of, linked
from tests.support.virtual_time import virtually
from visavis_peer import (
    AgentError,
    AgentSettings,
    Event,
    Failure,
    Invite,
    Joined,
    LinkDown,
    LinkUp,
    PathInfo,
    RelayCause,
    ServerBusy,
    StreamReset,
)

PATH = PathInfo(
    "relay", "server", "", "192.0.2.1:443", None, "no direct path has been found yet", cause=RelayCause.NOT_YET
)
EVENTS: list[Event] = [
    Joined("den", "p1", 1),
    LinkUp("p2", "bob", PATH, 12.5, True, "0123456789abcdef"),
    LinkDown("p2", "bob", "closed by the peer", True),
    Failure("no_path", "nothing came back", "p2", "bob"),
]
VALUES = [*EVENTS, PATH, AgentSettings(server="https://h", room="den", secret=bytes(16)), Invite.make("https://h")]


def _sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


JOURNEYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, _sent]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_equal_after_any_journey(value: object) -> None:
    for way in JOURNEYS:
        assert way(value) == value


@pytest.mark.parametrize(
    "error", [StreamReset(3), StreamReset(0), ServerBusy("full", 7.5), AgentError("odd")], ids=repr
)
def test_errors_say_the_same_after_any_journey(error: AgentError) -> None:
    for way in JOURNEYS:
        arrived = way(error)
        assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_events_are_matched_by_position_and_by_name() -> None:
    told = []
    for event in EVENTS:
        match event:
            case LinkUp(peer_id, name, PathInfo(path="relay", cause=RelayCause.NOT_YET), authenticated=True):
                told.append(f"{name} {peer_id}")
            case LinkDown(_, _, reason):
                told.append(reason)
            case Failure(error="no_path", message=message):
                told.append(message)
            case _:
                told.append(type(event).__name__)
    assert told == ["Joined", "bob p2", "closed by the peer", "nothing came back"]
    for event in EVENTS:
        assert event.__match_args__ == tuple(each.name for each in fields(event))


@virtually
async def test_a_link_shows_what_the_agent_has_and_takes_nothing_that_it_would_not_heed() -> None:
    async with linked(patience=60) as pair:
        link, association = pair.a.link, pair.a.association
        assert association_of(link) is association
        assert (link.peer_id, link.name, link.is_offerer, link.patience) == ("b", None, True, 60)
        assert link.fingerprint == pair.identities[1].fingerprint[:16]
        assert (link.authenticated, link.suspended, link.closed_reason, link.error) == (True, False, None, None)
        assert repr(link) == f"Link(b, {link.path.kind})"
        for name in ("on_datagram", "peer_id", "patience", "path"):
            with pytest.raises(AttributeError):
                setattr(link, name, None)
        assert {link: "a link is a key"}[link]
        reader, writer = await link.open_stream("test")
        theirs, _ = await pair.b.link.accept_stream("test")
        assert reader.stream_id == writer.stream_id == theirs.stream_id
        with pytest.raises(AttributeError):
            reader.limit = 0  # type: ignore[attr-defined]
        for own in (link, reader, writer):
            with pytest.raises(TypeError):
                pickle.dumps(own)
