"""core.ice.transactions: when a request is sent again, and when it is given up."""

from __future__ import annotations

from itertools import accumulate

from visavis_peer.core.ice.transactions import CHECK_SCHEDULE, TRIGGER_INTERVAL, Transaction


def test_a_request_is_sent_by_its_schedule_and_then_given_up() -> None:
    transaction, now, sent = Transaction(b"", b"", CHECK_SCHEDULE, 10.0), 10.0, []
    while (due := transaction.handle_timer(now)) != "timeout":
        assert due == "send"
        sent.append(now)
        assert transaction.handle_timer(transaction.due_at - 0.001) == "wait"
        now = transaction.due_at
    assert [round(at - 10.0, 6) for at in sent] == [0.0, *(round(at, 6) for at in accumulate(CHECK_SCHEDULE[:-1]))]
    assert round(now - 10.0, 6) == 5.0


def test_a_late_timer_delays_what_follows_and_makes_up_for_nothing() -> None:
    transaction = Transaction(b"", b"", (0.1, 0.2), 0.0)
    transaction.handle_timer(0.0)
    assert transaction.handle_timer(5.0) == "send"
    assert transaction.due_at == 5.2


def test_the_round_trip_counts_from_the_last_transmission() -> None:
    transaction = Transaction(b"", b"", (0.1,), 0.0)
    assert transaction.round_trip(5.0) == 0.0, "nothing has gone out"
    transaction.on_sent(1.0)
    transaction.on_sent(2.0)
    assert transaction.round_trip(2.5) == 0.5


def test_a_trigger_repeats_what_was_not_just_sent() -> None:
    transaction = Transaction(b"", b"", (0.1,), 0.0)
    assert transaction.may_repeat(0.0)
    transaction.on_sent(1.0)
    assert not transaction.may_repeat(1.0 + TRIGGER_INTERVAL / 2)
    assert transaction.may_repeat(1.0 + 2 * TRIGGER_INTERVAL)
