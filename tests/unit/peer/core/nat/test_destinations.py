"""core.destinations: what goes unasked to addresses that peers name."""

from __future__ import annotations

import pytest

from visavis_peer.core.nat.destinations import (
    PACKET_COUNT,
    PROBE_COUNT,
    QUIET_TIME,
    RETRY_TIMES,
    SESSION_COUNT,
    STRANGER_SHARE,
    TABLE_SIZE,
    Allowance,
    Destinations,
    destination,
)

HOST = "192.0.2.7"


def _session(destinations: Destinations, seen: str | None = None) -> Allowance:
    session = Allowance(destinations)
    session.see(seen)
    return session


def _sent(session: Allowance, host: str = HOST, now: float = 0.0, tries: int = 200) -> int:
    return sum(session.may_send(host, now) for _ in range(tries))


def test_all_sessions_together_have_one_count_for_an_address() -> None:
    agent = Destinations()
    assert [_sent(_session(agent)) for _ in range(3)] == [STRANGER_SHARE, 0, 0]
    assert "192.0.2.7" not in repr(agent)
    assert agent.refused_count == 3 * 200 - STRANGER_SHARE


def test_what_strangers_may_spend_leaves_something_for_who_is_there() -> None:
    agent = Destinations()
    assert _sent(_session(agent)) == STRANGER_SHARE
    assert _sent(_session(agent, HOST)) == PACKET_COUNT - STRANGER_SHARE
    assert _sent(_session(agent, HOST)) == 0


def test_an_answer_ends_the_counting_for_its_session_and_gives_back_what_that_has_spent() -> None:
    agent = Destinations()
    friend, stranger = _session(agent, HOST), _session(agent)
    assert _sent(stranger, tries=10) == 10
    assert _sent(friend) == PACKET_COUNT - 10
    friend.on_answer(HOST)
    assert _sent(friend) == 200
    assert _sent(stranger) == STRANGER_SHARE - 10
    for _ in range(3):
        friend.on_answer(HOST)  # consent is answered again and again
    assert _sent(stranger) == 0


def test_a_check_earns_one_packet_for_its_session_whoever_has_sent_it() -> None:
    agent = Destinations()
    peer, other = _session(agent), _session(agent)
    _sent(peer)
    peer.on_check(HOST)
    peer.on_check(HOST)
    assert (_sent(other), _sent(peer)) == (0, 2)


def test_checks_from_everywhere_fill_nothing() -> None:
    peer = _session(Destinations())
    for number in range(1000):
        peer.on_check(f"10.0.{number // 250}.{number % 250}")
    for _ in range(1000):
        peer.on_check("10.0.0.0")
    assert _sent(peer, "10.0.0.0") == PACKET_COUNT + STRANGER_SHARE
    assert _sent(peer, "10.0.3.200") == STRANGER_SHARE


def test_an_address_may_be_tried_anew_as_rounds_follow_each_other() -> None:
    """The next round has what it needs, and its checks: an address that was poisoned once is not given up."""
    peer, now = _session(Destinations()), 0.0
    assert _sent(peer, now=now) == STRANGER_SHARE
    for wait in (*RETRY_TIMES, RETRY_TIMES[-1], RETRY_TIMES[-1]):
        now += wait - 0.1
        assert _sent(peer, now=now) == 0, "and the wait begins anew"
        now += wait
        assert _sent(peer, now=now) == STRANGER_SHARE


def test_who_asks_on_and_on_gets_nothing_more() -> None:
    agent = Destinations()
    assert sum(_sent(_session(agent), now=float(second), tries=20) for second in range(600)) == STRANGER_SHARE


def test_an_address_is_forgotten_when_nothing_has_gone_there_for_long() -> None:
    agent = Destinations()
    for now in (0.0, RETRY_TIMES[0], QUIET_TIME + RETRY_TIMES[0], QUIET_TIME + 2 * RETRY_TIMES[0]):
        assert _sent(_session(agent), now=now) == STRANGER_SHARE


def test_probes_have_bounds_of_their_own_once_the_peer_takes_part_where_it_is_seen() -> None:
    agent = Destinations()
    peer = _session(agent, HOST)
    peer.confirmed = False
    assert not peer.may_probe(HOST, 0.0)
    peer.confirmed = True
    assert not peer.may_probe("192.0.2.8", 0.0)
    assert sum(peer.may_probe(HOST, 0.0) for _ in range(2 * PROBE_COUNT)) == PROBE_COUNT
    assert not _session(agent, HOST).may_probe(HOST, 0.0)
    assert _sent(peer) == PACKET_COUNT
    peer.on_answer(HOST)
    assert _session(agent, HOST).may_probe(HOST, 0.0)


def test_nobody_empties_the_count_of_an_address_by_naming_others() -> None:
    agent = Destinations()
    _sent(_session(agent))
    for number in range(2 * TABLE_SIZE):
        assert _session(agent).may_send(f"10.{number // 62500}.{number // 250 % 250}.{number % 250}", 1.0)
    assert repr(agent).startswith(f"<Destinations {TABLE_SIZE} counted")
    assert _sent(_session(agent), now=2.0) == 0


def test_what_one_session_has_sent_to_all_who_have_not_answered_has_a_bound() -> None:
    session = _session(Destinations())
    hosts = [f"192.0.2.{number}" for number in range(1, 33)]
    assert sum(_sent(session, host) for host in hosts) == SESSION_COUNT
    session.on_answer(hosts[0])
    assert _sent(session, hosts[0]) == 200
    assert _sent(session, hosts[-1]) == STRANGER_SHARE


def test_another_network_begins_anew() -> None:
    agent = Destinations()
    _sent(_session(agent))
    agent.clear()
    assert _sent(_session(agent)) == STRANGER_SHARE


def test_an_answer_after_that_gives_nothing_back() -> None:
    agent = Destinations()
    session = _session(agent)
    _sent(session)
    agent.clear()
    session.on_answer(HOST)
    assert _sent(_session(agent)) == STRANGER_SHARE


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", HOST),
        ("::ffff:192.0.2.7", HOST),
        ("64:ff9b::192.0.2.7", HOST),
        ("2002:c000:207::1", HOST),
        ("2001:DB8:0::0:7", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
    ],
)
def test_a_host_is_counted_as_one_whichever_way_it_is_written(host: str, counted: str) -> None:
    assert destination(host) == counted


def test_what_is_no_address_is_no_place_where_a_peer_is_seen() -> None:
    session = _session(Destinations(), "not an address")
    assert _sent(session) == STRANGER_SHARE
