"""core.signaling.resumption: which token is good, and who is kept, without a message."""

from __future__ import annotations

import pytest

from visavis_server.core.signaling.resumption import REFRESH_INTERVAL, Resumption
from visavis_server.core.signaling.room import Peer, Room
from visavis_server.core.signaling.tickets import KEY_SIZE, TICKET_LIFETIME, TicketRefused, TicketSigner

START_MS = 1_795_403_021_000


def resumption(*, away_limit: int = 10, source_limit: int = 0) -> Resumption:
    return Resumption(TicketSigner([bytes(KEY_SIZE)]), 20.0, away_limit, source_limit)


def member(kept: Resumption, peer_id: str = "a", source: str = "") -> Peer:
    peer, room = Peer(peer_id, 0.0, source), Room("r", 0, 0.0)
    peer.room = room
    kept.enable(peer, 0.0)
    return peer


def test_a_token_is_good_until_its_successor_has_arrived() -> None:
    kept = resumption()
    peer = member(kept)
    known = {"a": peer}
    first = kept.offer(peer, START_MS).token
    kept.park(peer, 1.0)
    kept.use(peer, kept.check(first, known, START_MS), 2.0)
    kept.use(peer, kept.check(first, known, START_MS), 3.0)
    kept.confirm(peer)
    with pytest.raises(TicketRefused, match="has been used"):
        kept.check(first, known, START_MS)
    kept.check(kept.offer(peer, START_MS).token, known, START_MS)


def test_what_is_revoked_or_used_stays_so_when_the_peer_is_gone_for_as_long_as_it_lasts() -> None:
    kept = resumption()
    peer = member(kept)
    token = kept.offer(peer, START_MS).token
    kept.revoke(peer)
    kept.forget(peer, START_MS)
    with pytest.raises(TicketRefused, match="has been used"):
        kept.check(token, {}, START_MS)
    end = START_MS + round(TICKET_LIFETIME * 1000)
    kept.sweep(end - 1)
    with pytest.raises(TicketRefused, match="has been used"):
        kept.check(token, {}, end - 1)
    kept.sweep(end)
    with pytest.raises(TicketRefused, match="expired"):
        kept.check(token, {}, end)


def test_a_token_is_for_the_room_in_which_its_peer_is() -> None:
    kept = resumption()
    peer = member(kept)
    token = kept.offer(peer, START_MS).token
    peer.room = Room("other", 0, 0.0)
    with pytest.raises(TicketRefused, match="another room"):
        kept.check(token, {"a": peer}, START_MS)


def test_the_longest_away_makes_way_among_all_and_among_those_of_its_address() -> None:
    kept = resumption(away_limit=3, source_limit=2)
    peers = [member(kept, str(number), "192.0.2.1" if number < 3 else "") for number in range(5)]
    assert [kept.park(peer, 0.0) for peer in peers[:2]] == [None, None]
    assert kept.park(peers[2], 0.0) is peers[0]
    kept.forget(peers[0], START_MS)
    assert kept.park(peers[3], 0.0) is None
    assert kept.park(peers[4], 0.0) is peers[1]


def test_who_is_away_expires_and_who_is_back_does_not() -> None:
    kept = resumption()
    first, second = member(kept, "first"), member(kept, "second")
    token = kept.offer(second, START_MS).token
    kept.park(first, 0.0)
    kept.park(second, 1.0)
    kept.use(second, kept.check(token, {"second": second}, START_MS), 5.0)
    assert (kept.expired(19.9), kept.expired(100.0)) == ([], [first])
    assert second.refresh_at == 5.0 + REFRESH_INTERVAL


def test_space_is_given_back_when_nobody_comes() -> None:
    kept = resumption()
    peer = member(kept)
    kept.park(peer, 0.0)
    kept.forget(peer, START_MS)
    assert (kept.space.used, kept.away, peer.mailbox) == (0, {}, None)
