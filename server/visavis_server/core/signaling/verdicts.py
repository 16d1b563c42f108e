"""Bans and closures, remembered for as long as a resume token is good: it must not lead back to what is over.

A room's own rules are gone with the room; who shows a token for it makes it anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, TypeVar

from visavis_server.core.signaling.tickets import TICKET_LIFETIME, Ticket, TicketRefused

CAPACITY: Final = 10_000
"""Bans, and closures, that are remembered: as many as there may be rooms. The oldest make way."""
_LIFETIME_MS: Final = round(TICKET_LIFETIME * 1000)

_K = TypeVar("_K", bound=Hashable)
_Room = tuple[bool, str]
"""Whether it is a private one, and its name."""


class Verdicts:
    """What holds against resume tokens; times in milliseconds since the epoch."""

    def __init__(self) -> None:
        self._closed: OrderedDict[_Room, int] = OrderedDict()
        """When each room was closed."""
        self._banned: OrderedDict[tuple[_Room, str], int] = OrderedDict()
        """When each identity was banned from a room."""

    def close(self, private: bool, room_id: str, now_ms: int) -> None:
        """A room has been closed: tokens issued until now lead into it no more."""
        _note(self._closed, (private, room_id), now_ms)

    def ban(self, private: bool, room_id: str, identity: str, now_ms: int) -> None:
        """Somebody has been banned from a room."""
        _note(self._banned, ((private, room_id), identity), now_ms)

    def check(self, ticket: Ticket, identity: str, now_ms: int) -> None:
        """Check that nothing holds against who wants to resume into the ticket's room.

        Raises TicketRefused.
        """
        room = (ticket.rights.private, ticket.room_id)
        if self._closed.get(room, 0) >= ticket.issued_at:
            raise TicketRefused("the room has been closed")
        if self._banned.get((room, identity), 0) > now_ms - _LIFETIME_MS:
            raise TicketRefused("you are banned from the room")

    def sweep(self, now_ms: int) -> None:
        """Forget what no token is old enough for."""
        for table in (self._closed, self._banned):
            while table and next(iter(table.values())) <= now_ms - _LIFETIME_MS:
                table.popitem(last=False)


def _note(table: OrderedDict[_K, int], key: _K, now_ms: int) -> None:
    table[key] = now_ms
    table.move_to_end(key)
    if len(table) > CAPACITY:
        table.popitem(last=False)
