"""The relay's books: who may send to whom, how much, and what waits for whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from visavis_server.core.access.buckets import REFUSAL_INTERVAL
from visavis_server.core.relay import books
from visavis_server.core.relay.books import BURST, PAIR_IDLE
from visavis_server.core.relay.relay import (
    EARLY_COUNT,
    EARLY_SIZE,
    EARLY_TIME,
    PAIRS_PER_PEER,
    RELAY_GRACE,
    Drop,
    Forward,
    Keep,
    Relay,
    RelayRules,
)

A, B, C = "aa" * 8, "bb" * 8, "cc" * 8


class World:
    """A relay with peers that are connected unless a test says otherwise."""

    def __init__(self, *peers: str, **rules: Any) -> None:
        self.relay = Relay(RelayRules(**rules))
        self.now = 1000.0
        for peer in peers:
            self.relay.admit(peer, f"token of {peer}")
            self.connect(peer)

    def connect(self, peer: str, address: str = "192.0.2.1") -> tuple[str, list[tuple[str, bytes]]] | None:
        """Show the token that a peer was admitted with; whose it is now, and what was kept for that peer."""
        peer_id = self.relay.peer_of(f"token of {peer}")
        return None if peer_id is None else (peer_id, self.relay.connect(peer_id, address, self.now))

    def introduce(self, offerer: str, answerer: str) -> None:
        self.relay.on_directed("OFFER", offerer, answerer)
        self.relay.on_directed("ANSWER", answerer, offerer)

    def send(self, source: str, target: str, size: int = 100) -> Forward | Keep | Drop:
        return self.relay.forward(source, bytes.fromhex(target) + bytes(size), self.now)


def test_peers_may_send_once_an_offer_was_answered_and_not_before() -> None:
    world = World(A, B)
    assert world.send(A, B) == Drop("not_introduced")
    world.relay.on_directed("ANSWER", B, A)
    assert world.send(B, A) == Drop("not_introduced"), "an answer to nothing"
    world.relay.on_directed("OFFER", A, B)
    assert world.send(A, B) == Drop(None), "told within a second"
    world.relay.on_directed("ANSWER", A, B)
    assert world.send(A, B) == Drop(None), "its own offer answered by itself"
    world.relay.on_directed("ANSWER", B, A)
    assert world.send(A, B) == Forward(B)
    assert world.send(B, A) == Forward(A)
    assert world.relay.relayed == 200


def test_a_refusal_is_told_once_a_second_for_each_cause() -> None:
    world = World(A, B)
    told = []
    for _ in range(30):
        told.append(world.send(A, B))
        world.now += REFUSAL_INTERVAL / 10
    assert told.count(Drop("not_introduced")) == 3
    assert world.relay.drops.total() == 30


def test_introductions_of_strangers_are_ignored() -> None:
    world = World(A)
    world.introduce(A, B)
    assert world.send(A, B) == Drop("not_introduced")


def test_who_leaves_its_room_may_send_to_nobody_any_longer() -> None:
    world = World(A, B, C)
    world.introduce(A, B)
    world.introduce(C, A)
    world.relay.on_left(A)
    world.relay.on_left("nobody")
    assert isinstance(world.send(A, B), Drop)
    assert isinstance(world.send(C, A), Drop)


def test_the_oldest_introductions_make_way() -> None:
    world = World(A)
    others = [f"{number:016x}" for number in range(PAIRS_PER_PEER + 1)]
    for other in others:
        world.relay.admit(other, other)
        world.introduce(A, other)
    assert isinstance(world.send(A, others[0]), Drop)
    assert world.send(A, others[1]) == Keep()
    assert world.send(A, others[-1]) == Keep()


def test_messages_wait_for_a_connection_that_is_on_its_way() -> None:
    world = World(A)
    world.relay.admit(B, f"token of {B}")
    world.introduce(A, B)
    assert [world.send(A, B) for _ in range(EARLY_COUNT)] == [Keep()] * EARLY_COUNT
    assert world.send(A, B) == Drop("early")
    assert world.connect(B) == (B, [(A, bytes(100))] * EARLY_COUNT)
    assert world.send(A, B) == Forward(B)
    world.relay.disconnect(B)
    assert world.send(A, B, EARLY_SIZE) == Keep()
    assert world.send(A, B, 1) == Drop(None)
    world.now += EARLY_TIME + 1
    assert world.connect(B) == (B, []), "too old"


def test_what_waits_in_vain_is_forgotten() -> None:
    world = World(A)
    world.relay.admit(B, f"token of {B}")
    world.introduce(A, B)
    assert world.send(A, B) == Keep()
    world.now += EARLY_TIME + 1
    assert world.relay.handle_timer(world.now) == []
    assert world.relay._members[B].early_size == 0


def test_a_peer_is_reachable_for_the_grace_after_its_signaling_connection_has_ended() -> None:
    world = World(A, B)
    world.introduce(A, B)
    world.relay.on_gone(B, world.now)
    world.relay.on_gone("nobody", world.now)
    world.now += RELAY_GRACE - 1
    assert world.relay.handle_timer(world.now) == []
    assert world.send(A, B) == Forward(B)
    world.now += 1
    assert world.relay.handle_timer(world.now) == [B]
    assert isinstance(world.send(A, B), Drop)
    assert world.connect(B) is None


def test_a_token_stands_for_one_peer_and_an_invented_one_for_none() -> None:
    world = World(A, B)
    assert world.connect("nobody") is None
    assert world.connect(A) == (A, [])


def test_a_resumed_peer_keeps_its_introductions_under_the_new_token() -> None:
    world = World(A, B)
    world.introduce(A, B)
    world.relay.on_gone(B, world.now)
    world.relay.admit(C, f"token of {C}")
    world.relay.take_over(B, C, world.now)
    world.now += RELAY_GRACE + 1
    assert world.relay.handle_timer(world.now) == [C], "nobody is C any longer"
    assert world.send(A, B) == Forward(B)
    assert world.connect(B) is None, "the former token"
    assert world.connect(C) == (B, [])


def test_a_peer_that_this_server_never_met_is_taken_over_without_introductions() -> None:
    world = World(A, C)
    world.relay.take_over(B, C, world.now)
    assert world.connect(C) == (B, [])
    assert isinstance(world.send(A, B), Drop)


def test_a_pair_has_a_rate_and_a_burst() -> None:
    world = World(A, B, rate=1000, address_rate=0)
    world.introduce(A, B)
    verdicts = [world.send(A, B, 100) for _ in range(30)]
    assert verdicts.count(Forward(B)) == BURST * 1000 / 100
    world.now += 1
    verdicts = [world.send(B, A, 100) for _ in range(30)]
    assert verdicts.count(Forward(A)) == 10
    assert verdicts[-1] == Drop(None), "a drop for speed is not told"


def test_an_address_has_a_rate_over_all_its_pairs() -> None:
    world = World(A, B, C, rate=0, address_rate=1000)
    world.introduce(A, B)
    world.introduce(A, C)
    verdicts = [world.send(A, target, 100) for target in (B, C) * 20]
    assert sum(isinstance(verdict, Forward) for verdict in verdicts) == BURST * 1000 / 100


def test_a_pair_has_a_volume() -> None:
    world = World(A, B, volume=250)
    world.introduce(A, B)
    assert [world.send(A, B) for _ in range(3)] == [Forward(B), Forward(B), Drop("volume")]


def test_an_address_has_so_many_pairs_with_traffic_at_a_time() -> None:
    peers = [f"{number:016x}" for number in range(4)]
    world = World(A, *peers, sessions=2)
    for peer in peers:
        world.relay.disconnect(peer)
        world.connect(peer, "2001:db8::1")
        world.introduce(A, peer)
    assert [world.send(A, peer) for peer in peers[:3]] == [Forward(peers[0]), Forward(peers[1]), Drop("sessions")]
    world.now += PAIR_IDLE + 1
    assert world.send(A, peers[2]) == Forward(peers[2])


@pytest.mark.parametrize("place", ["198.51.100.7", "198.51.100.{}", "20010db8000000{:02x}/64"])
def test_the_other_end_that_has_most_places_of_an_address_makes_way(place: str) -> None:
    """So nobody takes an agent's relay away by letting it send to many peers of one address."""
    world = World(A, sessions=4)
    crowd, friends = [f"{number:016x}" for number in range(6)], [f"{number + 100:016x}" for number in range(3)]
    theirs = [place.format(number) for number in range(len(crowd))]
    friendly = [f"203.0.{number}.1" for number in range(len(friends))]
    for peer, location in zip((*crowd, *friends), (*theirs, *friendly), strict=True):
        world.relay.admit(peer, f"token of {peer}", location)
        world.connect(peer)
        world.introduce(A, peer)
    assert [world.send(A, peer) for peer in crowd] == [*map(Forward, crowd[:4]), Drop("sessions"), Drop(None)]
    assert [world.send(A, peer) for peer in friends] == list(map(Forward, friends))
    assert world.send(A, crowd[0]) == Drop(None), "the first places were given away"
    assert world.send(A, crowd[3]) == Forward(crowd[3]), "and the latest stays"
    assert all(world.send(A, peer) == Forward(peer) for peer in friends)


def test_zero_is_unlimited() -> None:
    world = World(A, B, rate=0, volume=0, sessions=0, address_rate=0, address_volume=0)
    world.introduce(A, B)
    assert all(world.send(A, B, 60_000) == Forward(B) for _ in range(1000))


def test_rate_and_volume_of_two_addresses_outlive_rooms_and_connections() -> None:
    world = World(rate=1000, volume=2500, address_rate=0)
    sent = 0
    for number in range(5):
        first, second = f"{number:016x}", f"{number + 100:016x}"
        for peer, address in ((first, "192.0.2.1"), (second, "192.0.2.2")):
            world.relay.admit(peer, f"token of {peer}", address)
            world.connect(peer, address)
        world.introduce(first, second)
        sent += sum(isinstance(world.send(first, second), Forward) for _ in range(30))
        world.relay.on_left(first)
        world.relay.disconnect(first)
    assert sent == BURST * 1000 / 100
    world.introduce(first, second)
    world.connect(first, "192.0.2.1")
    world.now += 10
    verdicts = [world.send(first, second) for _ in range(10)]
    assert verdicts.count(Forward(second)) == 5, "the volume"
    assert Drop("volume") in verdicts
    world.now += books.VOLUME_TIME
    assert world.send(first, second) == Forward(second)


def test_an_address_has_no_new_rate_by_a_new_connection() -> None:
    world = World(A, B, rate=0, address_rate=1000)
    world.introduce(A, B)
    sent = 0
    for _ in range(5):
        sent += sum(isinstance(world.send(A, B), Forward) for _ in range(30))
        world.relay.disconnect(A)
        world.relay.disconnect(B)
        world.connect(A)
        world.connect(B)
    assert sent == BURST * 1000 / 100


def test_the_sessions_of_an_address_are_forgotten_neither_by_leaving_nor_by_new_connections() -> None:
    world = World(sessions=2)
    verdicts = []
    for number in range(4):
        first, second = f"{number:016x}", f"{number + 100:016x}"
        for peer, address in ((first, "192.0.2.1"), (second, f"198.51.100.{number}")):
            world.relay.admit(peer, f"token of {peer}")
            world.connect(peer, address)
        world.introduce(first, second)
        verdicts.append(world.send(first, second))
        world.relay.on_left(first)
        world.relay.on_left(second)
        world.introduce(first, second)
        assert world.send(first, second) == (Forward(second) if number < 2 else Drop(None)), "no pair more"
        world.relay.disconnect(first)
    assert [isinstance(each, Forward) for each in verdicts] == [True, True, False, False]
    assert world.send(second, first) == Keep(), "the other end has an address of its own"


def test_an_address_has_a_volume_over_all_whom_it_sends_to() -> None:
    world = World(A, B, C, address_volume=250)
    world.introduce(A, B)
    world.introduce(A, C)
    assert [world.send(A, peer) for peer in (B, C, B)] == [Forward(B), Forward(C), Drop("address_volume")]
    world.connect(C, "192.0.2.2")
    assert world.send(C, A) == Forward(A), "what comes to an address does not count: others could use it up"
    world.now += books.VOLUME_TIME
    assert world.send(A, B) == Forward(B)


def test_every_drop_is_told_and_counted_by_its_cause() -> None:
    world = World(A, B, rate=100)
    world.introduce(A, B)
    assert [world.send(A, B, 150) for _ in range(3)] == [Forward(B), Drop("rate"), Drop(None)]
    assert world.relay.on_unread(A, world.now) == Drop("unread")
    assert world.relay.on_invalid(A, world.now) == Drop("invalid")
    assert world.relay.drops == {"rate": 2, "unread": 1, "invalid": 1}
    fast = World(A, B, address_rate=100)
    fast.introduce(A, B)
    assert [fast.send(A, B, 150) for _ in range(2)] == [Forward(B), Drop("address_rate")]


class Books(RuleBasedStateMachine):
    """Whatever happens, tables hold nobody that is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(rate=1000, volume=10_000, sessions=2)
        self.peers = [f"{number:016x}" for number in range(5)]

    @rule(index=st.integers(0, 4))
    def admit(self, index: int) -> None:
        peer = self.peers[index]
        if peer not in self.world.relay._members:
            self.world.relay.admit(peer, f"token of {peer}")

    @rule(index=st.integers(0, 4), address=st.sampled_from(["192.0.2.1", "192.0.2.2"]))
    def connect(self, index: int, address: str) -> None:
        self.world.connect(self.peers[index], address)

    @rule(index=st.integers(0, 4))
    def disconnect(self, index: int) -> None:
        self.world.relay.disconnect(self.peers[index])

    @rule(first=st.integers(0, 4), second=st.integers(0, 4))
    def introduce(self, first: int, second: int) -> None:
        if first != second:
            self.world.introduce(self.peers[first], self.peers[second])

    @rule(first=st.integers(0, 4), second=st.integers(0, 4), size=st.integers(1, 5000))
    def send(self, first: int, second: int, size: int) -> None:
        source = self.world.relay._members.get(self.peers[first])
        if source is not None and source.source is not None and first != second:
            self.world.send(self.peers[first], self.peers[second], size)

    @rule(index=st.integers(0, 4))
    def leave(self, index: int) -> None:
        self.world.relay.on_left(self.peers[index])

    @rule(index=st.integers(0, 4))
    def gone(self, index: int) -> None:
        self.world.relay.on_gone(self.peers[index], self.world.now)

    @rule(seconds=st.floats(0, 2 * RELAY_GRACE))
    def sweep(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.relay.handle_timer(self.world.now)

    @invariant()
    def tables_agree(self) -> None:
        relay = self.world.relay
        assert set(relay._tokens.values()) == set(relay._members)
        assert all(len(book.places) <= 2 for book in relay._addresses.values())
        for peer, member in relay._members.items():
            for other, pair in member.pairs.items():
                assert relay._members[other].pairs[peer] is pair
            assert member.early_size == sum(len(body) for _, _, body in member.early) <= EARLY_SIZE


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("name", ["rate", "volume", "sessions", "address_rate", "address_volume"])
def test_every_limit_has_a_default(name: str) -> None:
    assert getattr(RelayRules(), name) > 0
