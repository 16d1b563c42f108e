"""One source, several subscribers that read at their own pace."""

from __future__ import annotations

import weakref
from asyncio import Event
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

from visavis_peer.errors import AgentError

T = TypeVar("T")


class ItemsLost(AgentError):
    """A subscriber was too slow for the source."""

    name = "events_lost"


class _Subscription(AsyncIterator[T]):
    """One reader's items; a wait that is cancelled leaves it as it was."""

    def __init__(self, items: Iterable[T], limit: int, lost: Callable[[int], T] | None) -> None:
        self._items = deque(items)
        self._limit = limit
        self._lost = lost
        self._lost_count = 0
        """Items for which there was no space since the last one for which there was."""
        self._wake = Event()
        self._closed = False

    def put(self, item: T) -> None:
        if len(self._items) >= self._limit or (self._lost_count and self._lost is None):
            self._lost_count += 1
        else:
            self._note_lost()
            self._items.append(item)
        self._wake.set()

    def _note_lost(self) -> None:
        """Put an item in the place of those that were lost."""
        if self._lost_count and self._lost is not None:
            self._items.append(self._lost(self._lost_count))
            self._lost_count = 0

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def __anext__(self) -> T:
        while not self._items:
            self._note_lost()
            if self._items:
                break
            if self._lost_count:
                raise ItemsLost(f"more than {self._limit} items were not read in time")
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()


class Broadcast(Generic[T]):
    """Hands each published item to every subscriber; at most `limit` unread items each.

    What a slow subscriber loses is replaced by the item that `lost` makes of their number; without that it is told by
    ItemsLost, and gets nothing more.
    """

    def __init__(self, limit: int, lost: Callable[[int], T] | None = None) -> None:
        self._limit = limit
        self._lost = lost
        self._subscriptions: weakref.WeakSet[_Subscription[T]] = weakref.WeakSet()
        """Who still reads: an iterator that nobody has any longer is forgotten."""
        self._closed = False

    def publish(self, item: T) -> None:
        """Hand `item` to every subscriber; no item is lost unnoticed."""
        for subscription in list(self._subscriptions):
            subscription.put(item)

    def close(self) -> None:
        """End every subscription once its items are read. Idempotent."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()

    def subscribe(self, first: Iterable[T] = ()) -> AsyncIterator[T]:
        """Return an iterator over `first` and every item published from now on.

        Raises ItemsLost while iterating, when more than the limit was unread and nothing can stand for it. A task that
        is cancelled while it waits for an item takes none with it: another one may go on.
        """
        subscription = _Subscription(first, self._limit, self._lost)
        if self._closed:
            subscription.close()
        self._subscriptions.add(subscription)
        return subscription
