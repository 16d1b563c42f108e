"""core.counts, and what the hub counts."""

from __future__ import annotations

import typing

import pytest

from tests.support.server_world import World
from visavis_server.core.access.causes import Cause
from visavis_server.core.signaling.counts import CLIENT_TYPES, Histogram, ResumeResult
from visavis_server.core.signaling.edge import Draining
from visavis_server.core.signaling.tickets import TicketSigner
from visavis_shared.messages import ClientMessage
from visavis_shared.nat import NatKind
from visavis_shared.outcomes import OutcomePath, OutcomeReason


def test_a_histogram_counts_each_value_within_the_first_bound_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    histogram.observe(2.0, 3)
    assert histogram.cumulative() == [(1.0, 2), (2.0, 6), (float("inf"), 7)]
    assert histogram.total == 18.0


def test_client_types_are_those_of_the_models() -> None:
    models = typing.get_args(typing.get_args(ClientMessage)[0])
    assert {model.model_fields["type"].default for model in models} == set(CLIENT_TYPES)


def test_messages_are_counted_by_type_and_anything_else_as_invalid() -> None:
    world = World()
    a, b = world.joined("a", "r"), world.joined("b", "r")
    world.send(a, type="OFFER", target_id=b, payload={})
    world.send(a, type="CANDIDATE", target_id=b, payload={})
    world.send(a, type="ANSWER", target_id="nobody", payload={})
    for text in (b"{", b'{"type":"ACK"}', b'{"type":"\xc3\xa9vil"}', b"null"):
        world.send_bytes(a, text)
    counts = world.hub.counts
    assert {kind: count for kind, count in counts.received.items() if count} == {
        "JOIN": 2,
        "OFFER": 1,
        "CANDIDATE": 1,
        "ANSWER": 1,
    }
    assert counts.invalid == 4
    assert {kind: count for kind, count in counts.refused.items() if count} == {"ANSWER": 1}
    assert set(counts.received) == set(CLIENT_TYPES), "nothing of a client has become a key"
    assert counts.forwarded == {"OFFER": 1, "ANSWER": 0, "CANDIDATE": 1}
    assert (counts.delivered, counts.connections) == (2, 2)
    assert counts.errors == {"PEER_NOT_FOUND": 1, "INVALID_MESSAGE": 4}


def test_what_is_kept_and_what_is_never_fetched_is_counted() -> None:
    world = World(signer=TicketSigner([bytes(32)]), resume_grace=30)
    a = world.joined("a", "r")
    world.connect("b")
    world.request("b", type="JOIN", room_id="r", payload={"resume": True})
    world.disconnect("b")
    world.send(a, type="OFFER", target_id="b", payload={})
    counts = world.hub.counts
    assert (counts.forwarded["OFFER"], counts.delivered, counts.undelivered) == (1, 0, 0)
    world.pass_time(31)
    assert counts.undelivered == 1


def test_resumes_are_counted_by_result() -> None:
    world = World(signer=TicketSigner([bytes(32)]), resume_grace=30)
    world.connect("a")
    ack = world.request("a", type="JOIN", room_id="r", payload={"resume": True})
    world.disconnect("a")
    world.connect("b")
    token = ack["payload"]["resume"]["token"]
    world.send("b", type="RESUME", payload={"token": token, "received": 0})
    assert world.hub.counts.resumes == {ResumeResult.COMPLETE: 1}
    world.start()
    world.connect("c")
    assert world.request("c", type="RESUME", payload={"token": "x", "received": 0})["type"] == "ERROR"
    assert world.hub.counts.resumes == {ResumeResult.REFUSED: 1}
    world.send("c", type="RESUME", payload={"token": token, "received": 0})
    assert world.hub.counts.resumes == {ResumeResult.REFUSED: 1, ResumeResult.GAP: 1}


def test_a_drain_counts_whom_it_turns_away() -> None:
    world = World()
    world.perform(world.hub.drain({}, world.now_ms))
    with pytest.raises(Draining):
        world.connect("a")
    assert world.hub.refusals == {Cause.DRAINING: 1}


def test_outcomes_that_agents_report_are_counted_and_the_keep_alive_is_answered() -> None:
    world = World()
    a = world.connect("a")
    outcome = {"path": "relay", "reason": "no_path", "nat": "symmetric", "remote_nat": "evil\n{}"}
    assert world.request(a, type="KEEP_ALIVE", payload={"outcomes": [outcome, outcome]})["type"] == "ACK"
    key = OutcomePath.RELAY, OutcomeReason.NO_PATH, NatKind.SYMMETRIC, NatKind.OTHER
    assert world.hub.counts.outcomes == {key: 2}


@pytest.mark.parametrize("payload", [None, "x", [], {}, {"outcomes": "x"}, {"outcomes": [{}] * 17}, {"outcomes": [{}]}])
def test_any_other_payload_of_a_keep_alive_is_ignored(payload: object) -> None:
    world = World()
    a = world.connect("a")
    assert world.request(a, type="KEEP_ALIVE", payload=payload, request_id="k")["request_id"] == "k"
    assert world.hub.counts.outcomes == {}
