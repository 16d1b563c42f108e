"""One source, several subscribers that read at their own pace."""

from __future__ import annotations

from asyncio import Event
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

from visavis_peer.errors import AgentError

T = TypeVar("T")


class ItemsLost(AgentError):
    """A subscriber was too slow for the source."""

    name = "events_lost"


class _Subscription(Generic[T]):
    def __init__(self, items: Iterable[T]) -> None:
        self.items = deque(items)
        self.wake = Event()
        self.overflowed = False


class Broadcast(Generic[T]):
    """Hands each published item to every subscriber; at most `limit` unread items each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._subscriptions: list[_Subscription[T]] = []
        self._closed = False

    def publish(self, item: T) -> None:
        """Hand `item` to every subscriber; one that is full loses its subscription, not single items unnoticed."""
        for subscription in self._subscriptions:
            if len(subscription.items) >= self._limit:
                subscription.overflowed = True
            else:
                subscription.items.append(item)
            subscription.wake.set()

    def close(self) -> None:
        """End every subscription once its items are read. Idempotent."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.wake.set()

    def subscribe(self, first: Iterable[T] = ()) -> AsyncIterator[T]:
        """Return an iterator over `first` and every item published from now on.

        Raises ItemsLost while iterating, when more than the limit was unread.
        """
        subscription = _Subscription(first)
        self._subscriptions.append(subscription)
        return self._iterate(subscription)

    async def _iterate(self, subscription: _Subscription[T]) -> AsyncIterator[T]:
        try:
            while True:
                while subscription.items:
                    yield subscription.items.popleft()
                if subscription.overflowed:
                    raise ItemsLost(f"more than {self._limit} events were not read in time")
                if self._closed:
                    return
                subscription.wake.clear()
                await subscription.wake.wait()
        finally:
            self._subscriptions.remove(subscription)
