"""Who gets the streams that the peer opens: by their kind, the part of the program that offers it, or nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from visavis_peer.core.link import kinds
from visavis_peer.errors import LinkClosed

T = TypeVar("T")

FIRST_OFFER_TIMEOUT: Final = 5.0
"""Seconds that a stream waits for a program that has not offered anything yet: the peer may be quicker than it is."""


class _Offer(Generic[T]):
    """One kind that the program takes."""

    def __init__(self, *, served: bool) -> None:
        self.served = served
        """Whether `Link.serve` takes all of them."""
        self.streams: deque[T] = deque()
        self.arrived = asyncio.Event()

    def add(self, stream: T) -> None:
        self.streams.append(stream)
        self.arrived.set()


class Reception(Generic[T]):
    """The streams of one link between their arrival and the application; their number is the table's to bound."""

    def __init__(self, refuse: Callable[[T, int], None]) -> None:
        """`refuse` ends both directions of a stream, with one of the link's own codes."""
        self._refuse = refuse
        self._offers: dict[str, _Offer[T]] = {}
        """By kind."""
        self._early: deque[tuple[str, T]] = deque()
        """Kind and stream: of before the program has offered anything."""
        self._settled = False
        """Whether what is not offered is refused at once."""
        self._timer: asyncio.Handle | None = None
        self._error: LinkClosed | None = None

    def arrive(self, stream: T, kind: str) -> None:
        """Take a stream whose kind is known."""
        offer = self._offers.get(kind)
        if offer is not None:
            offer.add(stream)
        elif self._settled:
            self._refuse(stream, kinds.NOT_OFFERED)
        else:
            self._early.append((kind, stream))
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(FIRST_OFFER_TIMEOUT, self._settle)

    def offer(self, kind: str, *, served: bool) -> None:
        """Take streams of `kind` from now on, and those that have waited for it.

        Once the tasks that are ready now have had their turn, and so the chance to offer something as well, all other
        kinds are refused. Raises ValueError for what cannot be a kind, RuntimeError where `serve` and another call
        want the same one.
        """
        known = self._offers.get(kind)
        if known is not None:
            if served or known.served:
                raise RuntimeError(f"streams of the kind {kind} are served or accepted already")
            return
        kinds.header(kind)
        offer = self._offers[kind] = _Offer[T](served=served)
        waited, self._early = self._early, deque()
        for of_kind, stream in waited:
            if of_kind == kind:
                offer.add(stream)
            else:
                self._early.append((of_kind, stream))
        if not self._settled and self._error is None:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_soon(self._settle)

    def withdraw(self, kind: str) -> None:
        """Take no more streams of `kind`; those that nobody has taken yet are refused."""
        for stream in self._offers.pop(kind).streams:
            self._refuse(stream, kinds.NOT_OFFERED)

    async def accept(self, kind: str) -> T:
        """Return the next stream of a kind that is offered.

        Raises LinkClosed.
        """
        offer = self._offers[kind]
        while not offer.streams:
            if self._error is not None:
                raise self._error
            offer.arrived.clear()
            await offer.arrived.wait()
        return offer.streams.popleft()

    def forget(self, stream: T) -> None:
        """Hand nobody a stream that is over before anybody wanted it."""
        self._early = deque(each for each in self._early if each[1] is not stream)
        for offer in self._offers.values():
            if stream in offer.streams:
                offer.streams.remove(stream)

    def close(self, error: LinkClosed) -> None:
        """The link is gone: nobody gets anything any more."""
        self._error = error
        self._stop_timer()
        self._early.clear()
        for offer in self._offers.values():
            offer.streams.clear()
            offer.arrived.set()

    def _settle(self) -> None:
        self._settled = True
        self._timer = None
        waited, self._early = self._early, deque()
        for _, stream in waited:
            self._refuse(stream, kinds.NOT_OFFERED)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
