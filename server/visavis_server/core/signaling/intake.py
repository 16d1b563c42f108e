"""How many messages of a peer that may resume the server has taken, in the peer's own numbers.

A peer counts what it sends since the ACK that brought its resume token; when it comes back the ACK of its RESUME tells
how many of these were taken, so that it sends the others again and none twice (as XEP-0198 does with `h`). A message
counts as taken when it has been handled, refused or not: what was wrong with it once will be wrong again.
"""

from __future__ import annotations


class Intake:
    """The count of one peer; starts with the ACK of its JOIN."""

    __slots__ = ("_before", "_since")

    def __init__(self) -> None:
        self._since = 0
        """Since the last ACK with a token."""
        self._before = 0
        """Of those before: what the peer is told again if that ACK does not reach it."""

    def count(self) -> None:
        """One message is handled."""
        self._since += 1

    def resume(self, *, again: bool) -> int:
        """Start anew with another ACK; return how many messages were taken since the one whose token the peer shows.

        `again` tells that the peer shows the token which it has shown before: it has not seen the last ACK.
        """
        self._before = self._before + self._since if again else self._since
        self._since = 0
        return self._before
