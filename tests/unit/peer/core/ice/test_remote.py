"""core.ice.remote: which candidates of the peer are taken, and under which name."""

from __future__ import annotations

from tests.support.ice_agents import PEER, named
from visavis_peer.core.ice.candidates import ADDRESS_COUNT
from visavis_peer.core.ice.remote import TOTAL_COUNT, RemoteCandidates
from visavis_shared import limits


def address(number: int) -> tuple[str, int]:
    return (f"198.51.{100 + number // 250}.{1 + number % 250}", 2000)


def test_one_that_is_named_again_is_no_news() -> None:
    remote = RemoteCandidates()
    assert remote.name(named(PEER), (), loopback=False)
    assert not remote.name(named(PEER, 7), (), loopback=False)
    assert [each.address for each in remote] == [PEER]


def test_one_that_a_check_has_shown_takes_its_name_and_stays_where_it_was() -> None:
    remote = RemoteCandidates()
    shown = remote.show(PEER, 5)
    assert shown is not None
    assert (shown.type, shown.priority) == ("prflx", 5)
    remote.name(named(address(9)), (), loopback=False)
    assert remote.name(named(PEER), (), loopback=False)
    assert [(each.address, each.type) for each in remote] == [(PEER, "host"), (address(9), "host")]
    assert remote.show(PEER, 6) is remote.at(PEER)


def test_after_their_end_none_is_taken_but_what_checks_show() -> None:
    remote = RemoteCandidates()
    remote.ended = True
    assert not remote.name(named(PEER), (), loopback=False)
    assert remote.show(PEER, None) is not None


def test_the_peer_may_name_and_show_only_so_many() -> None:
    remote = RemoteCandidates()
    taken = [remote.name(named(address(number)), (), loopback=False) for number in range(limits.CANDIDATE_COUNT + 3)]
    assert taken == [True] * limits.CANDIDATE_COUNT + [False] * 3
    shown = [remote.show(("203.0.113.9", 1 + number), None) for number in range(TOTAL_COUNT)]
    assert sum(each is not None for each in shown) == TOTAL_COUNT - limits.CANDIDATE_COUNT
    first = shown[0]
    assert first is not None
    remote.forget(first)
    remote.forget(first)
    assert remote.show(("203.0.113.10", 1), None) is not None, "there is a place again"


def test_one_address_is_named_with_only_so_many_ports() -> None:
    remote = RemoteCandidates()
    taken = [remote.name(named((PEER[0], 1 + port)), (), loopback=False) for port in range(ADDRESS_COUNT + 2)]
    assert taken == [True] * ADDRESS_COUNT + [False] * 2


def test_this_machine_is_no_peer_unless_peers_are_looked_for_there() -> None:
    remote = RemoteCandidates()
    assert not remote.name(named(("127.0.0.1", 2000)), ("127.0.0.1",), loopback=False)
    assert remote.name(named(("127.0.0.1", 2000)), ("127.0.0.1",), loopback=True)
