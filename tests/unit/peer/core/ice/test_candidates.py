"""core.ice.candidates and core.ice.remote: which candidates of a peer are ever sent to."""

from __future__ import annotations

import pytest

from tests.support.ice_agents import named
from visavis_peer.core.ice.candidates import (
    ADDRESS_COUNT,
    Candidate,
    is_reachable_from,
    is_usable,
    peer_reflexive,
    peer_reflexive_priority,
)
from visavis_peer.core.ice.remote import TOTAL_COUNT, RemoteCandidates
from visavis_peer.ice.candidates import host_candidate, read_candidate, server_reflexive_candidate, to_line
from visavis_shared import limits

OWN = ["192.0.2.1"]


def name(known: RemoteCandidates, candidate: Candidate) -> bool:
    return known.name(candidate, OWN, loopback=True)


@pytest.mark.parametrize("kind", ["host", "srflx", "relay"])
def test_candidates_that_peers_name_can_be_checked(kind: str) -> None:
    assert is_usable(named(("198.51.100.1", 1), kind=kind))


@pytest.mark.parametrize(
    ("host", "port", "kind", "priority"),
    [
        ("224.0.0.1", 5, "host", 1),
        ("0.0.0.0", 5, "host", 1),
        ("255.255.255.255", 5, "host", 1),
        ("169.254.169.254", 5, "host", 1),
        ("fd00:ec2::254", 5, "host", 1),
        ("::ffff:11.0.0.1", 5, "host", 1),
        ("64:ff9b::a00:1", 5, "host", 1),
        ("::7f00:1", 5, "host", 1),
        ("11.0.0.1", 0, "host", 1),
        ("11.0.0.1", 65536, "host", 1),
        ("11.0.0.1", 5, "prflx", 1),
        ("11.0.0.1", 5, "strange", 1),
        ("11.0.0.1", 5, "host", -1),
        ("11.0.0.1", 5, "host", 1 << 31),
    ],
)
def test_nobody_is_sent_to_where_no_peer_can_be(host: str, port: int, kind: str, priority: int) -> None:
    assert not is_usable(Candidate(kind, host, port, priority, "1"))
    assert not name(RemoteCandidates(), Candidate(kind, host, port, priority, "1"))


def test_a_public_address_behind_nat64_is_a_peers_and_the_loopback_is_a_matter_of_reach() -> None:
    assert is_usable(Candidate("host", "64:ff9b::b00:1", 5, 1, "1"))
    assert is_usable(Candidate("host", "::1", 5, 1, "1"))
    assert not is_reachable_from("::1", ["::1"], loopback=False)
    assert is_reachable_from("::1", ["::1"], loopback=True)
    assert not is_reachable_from("fe80::1", OWN, loopback=True)
    assert is_reachable_from("fe80::1", ["fe80::2"], loopback=False)
    assert not name(RemoteCandidates(), named(("127.0.0.1", 1)))


def test_a_line_is_read_as_it_was_written() -> None:
    candidate = server_reflexive_candidate(host_candidate(("10.0.0.1", 7), 5), ("11.0.0.1", 8))
    line = to_line(candidate)
    assert line.endswith("udp 1677723135 11.0.0.1 8 typ srflx raddr 10.0.0.1 rport 7")
    read = read_candidate(line)
    assert read is not None
    assert (read.type, read.address, read.priority) == ("srflx", ("11.0.0.1", 8), candidate.priority)
    assert read.foundation == candidate.foundation


def test_a_peer_reflexive_candidate_is_better_than_a_server_reflexive_one_and_worse_than_a_host() -> None:
    base = host_candidate(("10.0.0.1", 7), 65535)
    reflexive = server_reflexive_candidate(base, ("11.0.0.1", 8))
    assert base.priority > peer_reflexive_priority(base) > reflexive.priority
    assert peer_reflexive(("11.0.0.1", 8)).priority == peer_reflexive_priority(base)
    assert peer_reflexive(("11.0.0.1", 8), 17).priority == 17


def test_of_one_address_so_many_ports_are_taken_and_of_all_so_many() -> None:
    known = RemoteCandidates()
    taken = [name(known, named(("11.0.0.1", port))) for port in range(1, 10)]
    assert taken == [True] * ADDRESS_COUNT + [False] * (9 - ADDRESS_COUNT)
    for number in range(2, 100):
        name(known, named((f"11.0.0.{number}", 1)))
    assert len(list(known)) == limits.CANDIDATE_COUNT


def test_one_that_is_named_again_is_no_news() -> None:
    known = RemoteCandidates()
    assert name(known, named(("11.0.0.1", 1)))
    assert not name(known, named(("11.0.0.1", 1), kind="srflx"))
    assert [each.type for each in known] == ["host"]


def test_after_their_end_no_candidate_is_taken_but_a_check_may_show_one() -> None:
    known = RemoteCandidates()
    known.ended = True
    assert not name(known, named(("11.0.0.1", 1)))
    assert known.show(("11.0.0.1", 1), 5) is not None


def test_one_that_a_check_has_shown_takes_the_name_that_comes_later() -> None:
    known = RemoteCandidates()
    shown = known.show(("11.0.0.1", 1), 5)
    assert shown is not None
    assert shown.type == "prflx"
    assert known.show(("11.0.0.1", 1), 6) is shown
    assert name(known, named(("11.0.0.1", 1), kind="srflx"))
    assert [each.type for each in known] == ["srflx"]


def test_an_endless_supply_of_addresses_is_no_peer() -> None:
    known = RemoteCandidates()
    shown = [known.show(("11.0.0.1", port), 5) for port in range(1, 2 * TOTAL_COUNT)]
    assert len([each for each in shown if each is not None]) == TOTAL_COUNT
    first = shown[0]
    assert first is not None
    known.forget(first)
    known.forget(first)
    assert known.show(("11.0.0.2", 1), 5) is not None
