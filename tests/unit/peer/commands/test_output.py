"""How events are printed, for a person and as JSON."""

from __future__ import annotations

import io
import json
from typing import get_args

import pytest

from visavis_peer.commands.output import describe_nat, describe_path, peer_label, sentence
from visavis_peer.commands.printer import Printer
from visavis_peer.events import (
    EndpointDiscovered,
    Event,
    Failure,
    Joined,
    LinkDown,
    LinkResumed,
    LinkSuspended,
    LinkUp,
    Negotiating,
    Notice,
    PathChanged,
    PathInfo,
    PeerJoined,
    PeerLeft,
    Ready,
)
from visavis_shared.nat import Filtering, Mapping, NatReport

PATH = PathInfo("direct", "srflx-prflx", "192.168.1.2:5000", "11.0.0.9:6000", 12.345)
FULL = NatReport(
    udp=True,
    nat=True,
    mapping=Mapping.ENDPOINT_INDEPENDENT,
    filtering=Filtering.ADDRESS_DEPENDENT,
    port_preserved=True,
)
EVIL = "\x1b[2Jeve"

RELAY = PathInfo("relay", "server", "", "example.net:443", None, EVIL)

SENTENCES: list[tuple[Event, str]] = [
    (Ready("http://h", "aa"), "connected to http://h as aa"),
    (EndpointDiscovered(None, None, None, NatReport(udp=False)), "public endpoint unknown: UDP seems blocked"),
    (
        EndpointDiscovered("11.0.0.9", 6000, "192.168.1.2:5000", FULL),
        "public endpoint 11.0.0.9:6000 (local 192.168.1.2",
    ),
    (Joined("den", "aa", 1), "in room den with 1 other peer"),
    (Joined("den", "aa", 2), "in room den with 2 other peers"),
    (PeerJoined("bb", "bob"), "bob (bb) (unauthenticated) is here"),
    (PeerLeft("bb", None), "bb (unauthenticated) has left the room"),
    (PeerLeft("bb", None, authenticated=True), "bb has left the room"),
    (Notice(EVIL), "the signaling server says: \\x1b[2Jeve"),
    (
        Negotiating("bb", None, "offerer", ("c",), (), FULL),
        "checking paths to bb (unauthenticated) as offerer: 1 candidate here, 0 there",
    ),
    (
        Negotiating("bb", None, "offerer", (), (), NatReport(notes=(EVIL,))),
        "checking paths to bb (unauthenticated) as offerer: 0 candidates here, 0 there; before it: not known: \\x1b",
    ),
    (
        Negotiating("bb", None, "answerer", (), (), None, authenticated=True),
        "checking paths to bb as answerer: 0 candidates here, 0 there",
    ),
    (LinkUp("bb", "bob", PATH, 41.6), "link to bob (bb) up in 42 ms: direct srflx-prflx"),
    (LinkUp("bb", "bob", PATH, 1.0, authenticated=True), "link to bob (bb) up in 1 ms: direct"),
    (PathChanged("bb", None, PATH, 1.0), "link to bb moved after 1 ms to: direct srflx-prflx"),
    (
        PathChanged("bb", None, RELAY, 1.0),
        "link to bb uses: through the server's relay at example.net:443 (\\x1b[2Jeve), unauthenticated",
    ),
    (LinkSuspended("bb", EVIL, 600.0), "\\x1b[2Jeve (bb) is silent: the link waits for it for up to 600 s"),
    (
        LinkResumed("bb", None, RELAY, 61_234.0),
        "bb is back after 61 s of silence, and the link goes on: through the server's relay at example.net:443",
    ),
    (LinkDown("bb", None, EVIL), "link to bb (unauthenticated) down: \\x1b[2Jeve"),
    (LinkDown("bb", None, "x", authenticated=True), "link to bb down: x"),
    (Failure("no_path", "no path: why", "bb", EVIL), "\\x1b[2Jeve (bb) (unauthenticated): no path: why"),
    (Failure("refused", "refused: no", "bb", authenticated=True), "bb: refused: no"),
    (Failure("signaling_lost", "gone"), "gone"),
]


@pytest.mark.parametrize(("event", "start"), SENTENCES)
def test_every_event_is_one_line_without_control_characters(event: Event, start: str) -> None:
    text = sentence(event)
    assert text.startswith(start)
    assert text.isprintable()


def test_every_kind_of_event_has_a_sentence_and_a_name() -> None:
    assert {type(event) for event, _ in SENTENCES} == set(get_args(Event))
    for event, _ in SENTENCES:
        record = printed(event)
        assert set(record) > {"v", "ts", "event"}


def printed(event: Event) -> dict[str, object]:
    stream = io.StringIO()
    Printer(as_json=True, stream=stream).event(event)
    assert stream.getvalue().isascii()
    record: dict[str, object] = json.loads(stream.getvalue())
    return record


def test_a_link_in_json_has_its_path_as_members() -> None:
    record = printed(LinkUp("bb", "bob", PATH, 41.6))
    assert record["event"] == "link_up"
    assert record["v"] == 1
    expected = {"path": "direct", "kind": "srflx-prflx", "local": PATH.local, "remote": PATH.remote, "rtt_ms": 12.345}
    assert expected.items() <= record.items()
    assert (record["peer_id"], record["name"], record["elapsed_ms"], record["authenticated"]) == (
        "bb",
        "bob",
        41.6,
        False,
    )


def test_an_endpoint_in_json_has_its_nat_report() -> None:
    record = printed(EndpointDiscovered("11.0.0.9", 6000, "192.168.1.2:5000", FULL))
    assert isinstance(record["nat"], dict)
    assert record["nat"]["mapping"] == "endpoint-independent"


def test_a_nat_report_says_what_is_unknown() -> None:
    assert describe_nat(NatReport()) == "nothing is known about the NAT"
    assert describe_nat(NatReport(udp=True, nat=False)) == "no NAT"
    assert (
        describe_nat(NatReport(nat=True, port_preserved=False, notes=("mapping: x",)))
        == "port changed, not known: whether it uses a different port for every destination (x)"
    )


def test_a_path_without_a_measured_round_trip_leaves_it_out() -> None:
    unmeasured = PathInfo("direct", "host-host", "a:1", "b:2", None)
    assert describe_path(unmeasured) == "direct host-host, a:1 to b:2"
    assert "round trip" not in sentence(LinkUp("bb", None, unmeasured, 1.0))
    assert "round trip 12.3 ms" in sentence(LinkUp("bb", None, PATH, 1.0))


def test_a_peer_without_a_name_is_called_by_its_id() -> None:
    assert peer_label("bb", None) == "bb"
    assert peer_label("\x07", "\x07") == "\\x07 (\\x07)"
