"""core.signaling.verdicts: what a resume token must not lead back to."""

from __future__ import annotations

import pytest

from visavis_server.core.signaling.tickets import TICKET_LIFETIME, Rights, Ticket, TicketRefused
from visavis_server.core.signaling.verdicts import CAPACITY, Verdicts

LIFETIME_MS = round(TICKET_LIFETIME * 1000)
START = 1_795_403_021_000
"""Milliseconds since the epoch, from which all below counts."""


def ticket(issued_at: int = 0, *, private: bool = False) -> Ticket:
    issued_at += START
    return Ticket("a", "r", 0, issued_at + LIFETIME_MS, issued_at, Rights(private))


def refused(verdicts: Verdicts, shown: Ticket, now_ms: int = 1000) -> bool:
    try:
        verdicts.check(shown, "me", START + now_ms)
    except TicketRefused:
        return True
    return False


def test_a_token_from_before_the_room_was_closed_is_void_and_a_later_one_is_not() -> None:
    verdicts = Verdicts()
    verdicts.close(False, "r", START + 500)
    assert [refused(verdicts, ticket(issued_at)) for issued_at in (0, 500, 501)] == [True, True, False]
    assert not refused(verdicts, ticket(private=True)), "another room of that name"


def test_a_ban_holds_for_as_long_as_a_token_does() -> None:
    verdicts = Verdicts()
    verdicts.ban(False, "r", "me", START + 500)
    assert refused(verdicts, ticket(900), 1000)
    assert refused(verdicts, ticket(900), 499 + LIFETIME_MS)
    assert not refused(verdicts, ticket(900), 500 + LIFETIME_MS)


@pytest.mark.parametrize("kind", ["close", "ban"])
def test_what_is_remembered_is_bounded_and_the_oldest_goes(kind: str) -> None:
    verdicts = Verdicts()
    for number, room_id in enumerate(["r", *(str(number) for number in range(CAPACITY))], START):
        if kind == "close":
            verdicts.close(False, room_id, number)
        else:
            verdicts.ban(False, room_id, "me", number)
    assert not refused(verdicts, ticket())


def test_a_sweep_forgets_what_no_token_is_old_enough_for() -> None:
    verdicts = Verdicts()
    verdicts.close(False, "r", START + 500)
    verdicts.sweep(START + 499 + LIFETIME_MS)
    assert refused(verdicts, ticket())
    verdicts.sweep(START + 500 + LIFETIME_MS)
    assert not refused(verdicts, ticket())
