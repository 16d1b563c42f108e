"""core.credits: a receiver grants what it can hold, and a reader that reads always gets more."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from visavis_peer.core.link.credits import (
    POOL,
    SHARE,
    STREAM_COUNT,
    WINDOW_BASE,
    WINDOW_START,
    CreditPool,
    Overrun,
    ReceiveWindow,
)

PIECE = 16 << 10
"""Bytes that a sender sends at a time: it looks at the pool before and not in between."""


class Stream:
    """A window, the sender that obeys it, and the reader behind it."""

    def __init__(self, pool: CreditPool) -> None:
        self.window = ReceiveWindow(pool)
        self.granted = WINDOW_BASE
        self.sent = 0
        self.read = 0

    @property
    def held(self) -> int:
        return self.sent - self.read

    def send(self, size: int) -> None:
        self.sent += size
        self.hear(self.window.on_received(size))

    def consume(self, size: int) -> None:
        self.read += size
        self.hear(self.window.on_consumed(size))

    def hear(self, limit: int | None) -> None:
        if limit is not None:
            assert limit > self.granted, "a limit that says nothing new"
            self.granted = limit


class Receiver(RuleBasedStateMachine):
    """Streams that share a pool, with senders that use all they may and readers at any pace."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = CreditPool()
        self.streams: list[Stream] = []

    @precondition(lambda self: len(self.streams) < 2 * STREAM_COUNT)
    @rule()
    def open(self) -> None:
        self.streams.append(Stream(self.pool))

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        stream.window.release()
        stream.window.release()
        self.streams.remove(stream)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), share=st.floats(0, 1))
    def send(self, data: st.DataObject, share: float) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        stream.send(int((stream.granted - stream.sent) * share))

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), share=st.floats(0, 1))
    def read(self, data: st.DataObject, share: float) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        stream.consume(int(stream.held * share))

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), rounds=st.integers(1, 20))
    def stream_at_full_speed(self, data: st.DataObject, rounds: int) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        for _ in range(rounds):
            stream.send(stream.granted - stream.sent)
            stream.consume(stream.held)

    @rule(size=st.integers(1, 1 << 18))
    def send_ourselves(self, size: int) -> None:
        pool = self.pool
        before = pool.sending
        while pool.may_send and pool.sending < before + size:
            pool.sending += PIECE

    @rule(share=st.floats(0, 1))
    def be_acknowledged(self, share: float) -> None:
        self.pool.sending -= int(self.pool.sending * share)

    @invariant()
    def nothing_is_held_beyond_what_was_granted(self) -> None:
        for stream in self.streams:
            assert stream.held <= stream.granted - stream.read <= stream.window.size

    @invariant()
    def the_pool_is_conserved(self) -> None:
        assert self.pool.lent == sum(stream.window.size - WINDOW_BASE for stream in self.streams)
        assert self.pool.lent <= SHARE
        assert self.pool.sending < SHARE + PIECE
        assert self.pool.lent + self.pool.sending < POOL + PIECE

    @invariant()
    def all_streams_together_hold_at_most_their_bases_and_the_pool(self) -> None:
        assert sum(stream.granted - stream.read for stream in self.streams) <= SHARE + len(self.streams) * WINDOW_BASE

    @invariant()
    def whoever_has_read_everything_gets_more(self) -> None:
        for stream in self.streams:
            assert stream.granted > stream.read


TestReceiver = Receiver.TestCase
TestReceiver.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_byte_beyond_the_credit_is_an_overrun() -> None:
    window = ReceiveWindow(CreditPool())
    with pytest.raises(Overrun, match="1 bytes beyond its credit"):
        window.on_received(WINDOW_BASE + 1)
    stream = Stream(CreditPool())
    stream.send(WINDOW_BASE)
    stream.send(stream.granted - stream.sent)
    with pytest.raises(Overrun):
        stream.send(1)


def test_a_short_exchange_costs_no_message_and_nothing_of_the_pool() -> None:
    pool = CreditPool()
    window = ReceiveWindow(pool)
    assert window.on_received(WINDOW_BASE // 2) is None
    assert pool.lent == 0
    assert window.on_received(1) == WINDOW_START


def test_a_reader_that_never_reads_gets_its_first_window_and_no_more() -> None:
    stream = Stream(CreditPool())
    while stream.sent < stream.granted:
        stream.send(stream.granted - stream.sent)
    assert stream.sent == WINDOW_START


def test_a_window_grows_while_it_holds_the_sender_back_and_takes_its_whole_share_if_nobody_else_wants_it() -> None:
    stream = Stream(CreditPool())
    for _ in range(20):
        stream.send(stream.granted - stream.sent)
        stream.consume(stream.held)
    assert stream.window.size == SHARE + WINDOW_BASE


def test_a_window_does_not_grow_for_a_sender_with_little_to_send() -> None:
    stream = Stream(CreditPool())
    for _ in range(1000):
        stream.send(3000)
        stream.consume(3000)
    assert stream.window.size == WINDOW_START


def test_an_empty_pool_slows_a_stream_down_and_does_not_stop_it() -> None:
    pool = CreditPool()
    pool.take(SHARE)
    stream = Stream(pool)
    for _ in range(100):
        stream.send(stream.granted - stream.sent)
        stream.consume(stream.held)
    assert stream.read == 100 * WINDOW_BASE
    assert stream.window.size == WINDOW_BASE


def test_what_a_released_stream_had_is_there_for_the_next() -> None:
    pool = CreditPool()
    first = Stream(pool)
    for _ in range(20):
        first.send(first.granted - first.sent)
        first.consume(first.held)
    assert pool.lent == SHARE
    first.window.release()
    assert pool.lent == 0


def test_each_direction_has_something_left_when_the_other_takes_all_it_can() -> None:
    pool = CreditPool()
    assert pool.take(2 * POOL) == SHARE
    assert pool.may_send
    pool.sending = POOL - SHARE
    assert not pool.may_send
    pool.give_back(SHARE)
    assert pool.may_send
    pool.sending = SHARE
    assert not pool.may_send
    assert pool.take(2 * POOL) == POOL - SHARE
