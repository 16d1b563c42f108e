"""The requests of an agent that are not answered yet: checks of pairs, and consent that is asked for on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from visavis_peer.core.ice.pairs import Pair
from visavis_peer.core.ice.transactions import Transaction

CONSENT_COUNT: Final = 32
"""Requests for consent awaiting a response at most: those of EXPIRY's last seconds on five pairs; the oldest makes way.
Of checks there is one for each pair."""


@dataclass(slots=True, eq=False)
class Request:
    """A request on a pair."""

    pair: Pair
    transaction: Transaction
    controlling: bool
    """The role that it has told of."""
    consent: bool
    """Whether it asks for consent; else it is a check, which changes the pair's state."""


class Requests:
    """All of them, oldest first."""

    def __init__(self) -> None:
        self._requests: dict[bytes, Request] = {}
        self._checks: dict[Pair, Request] = {}

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests.values()))

    def __len__(self) -> int:
        return len(self._requests)

    def get(self, transaction_id: bytes) -> Request | None:
        """Return the request that a response with this id answers."""
        return self._requests.get(transaction_id)

    def check_of(self, pair: Pair) -> Request | None:
        """Return the check of a pair that is in progress."""
        return self._checks.get(pair)

    def add(self, request: Request) -> None:
        """Await a response; of too many requests for consent the oldest is forgotten."""
        self._requests[request.transaction.transaction_id] = request
        if not request.consent:
            self._checks[request.pair] = request
            return
        asking = [each for each in self if each.consent]
        for oldest in asking[:-CONSENT_COUNT]:
            self.remove(oldest)

    def remove(self, request: Request) -> None:
        """Await it no longer."""
        del self._requests[request.transaction.transaction_id]
        if not request.consent:
            del self._checks[request.pair]

    def forget(self, pair: Pair) -> None:
        """Await nothing on a pair any longer."""
        for request in self:
            if request.pair is pair:
                self.remove(request)

    @property
    def due_at(self) -> float | None:
        """When the next of them wants something done."""
        return min((each.transaction.due_at for each in self._requests.values()), default=None)
