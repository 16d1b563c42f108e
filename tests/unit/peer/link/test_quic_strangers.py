"""link.quic: datagrams of strangers, and damaged ones."""

from __future__ import annotations

import random

from tests.support.connection_pair import Exchange, events
from visavis_peer.link import quic


def test_an_answerer_takes_nothing_but_a_clients_first_packet_to_begin_with() -> None:
    chance = random.Random(1)
    exchange = Exchange()
    exchange.a.start(exchange.now)
    (first, *_) = exchange.a.take_datagrams(exchange.now)
    for stranger in (
        b"",
        b"\xc0",
        bytes(1200),
        b"\xff" * 1200,
        first[:1199],
        b"\x40" + first[1:],
        first[:1] + b"\0\0\0\2" + first[5:],
        first[:5] + b"\x07" + first[6:],
        first[:5] + b"\xff" + first[6:],
        *(chance.randbytes(1200) for _ in range(200)),
    ):
        exchange.b.receive([stranger], exchange.now)
        assert exchange.b.take_datagrams(exchange.now) == []
        assert exchange.b.next_timer() is None
    exchange.b.receive([bytes(100), first], exchange.now)
    exchange.go_on(2.0)
    assert exchange.b.established


def test_mutated_and_foreign_datagrams_among_the_true_ones_do_not_keep_a_connection_from_coming_up() -> None:
    chance = random.Random(2)

    def among_strangers(datagrams: list[bytes]) -> list[bytes]:
        mixed = []
        for datagram in datagrams:
            mutated = bytearray(datagram)
            mutated[chance.randrange(20, len(mutated))] ^= 1 << chance.randrange(8)
            mixed += [datagram, bytes(mutated), chance.randbytes(chance.randrange(1500)), datagram]
        return mixed

    exchange = Exchange()
    exchange.a.start(exchange.now)
    exchange.go_on(5.0, among_strangers, among_strangers)
    assert exchange.b.established
    data = chance.randbytes(100_000)
    events(exchange.b)
    exchange.a.send_stream(4, data, end=True)
    exchange.go_on(5.0, among_strangers, among_strangers)
    assert b"".join(event.data for event in events(exchange.b) if isinstance(event, quic.StreamData)) == data


def test_no_mutation_of_a_handshake_makes_either_side_take_the_other_for_somebody_else() -> None:
    """Handshakes with damaged datagrams come up or do not, and deliver nothing but the truth."""
    for seed in range(200):
        chance = random.Random(seed)

        def damaged(datagrams: list[bytes], chance: random.Random = chance) -> list[bytes]:
            out = []
            for datagram in datagrams:
                mutated = bytearray(datagram)
                if chance.random() < 0.3:
                    for _ in range(chance.randint(1, 5)):
                        mutated[chance.randrange(len(mutated))] = chance.randrange(256)
                out.append(bytes(mutated))
            return out

        exchange = Exchange()
        exchange.a.start(exchange.now)
        exchange.settle(damaged, damaged)
        exchange.a.send_stream(4, b"truth")
        exchange.settle(damaged, damaged)
        delivered = [event.data for event in events(exchange.b) if isinstance(event, quic.StreamData)]
        assert delivered in ([], [b"truth"])
