"""The offerer's end of a link as a bare connection: it keeps to no rule but those that a test has it keep to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.support.link_pair import DIRECT, End, Wire, introduce, make_end
from visavis_peer.link import quic
from visavis_peer.link.identity import Identity
from visavis_peer.link.quic import SecureConnection


class RawPeer:
    """A connection and, at its other end, a link; nothing is lost between them."""

    def __init__(self, connection: type[SecureConnection] = SecureConnection) -> None:
        identities = Identity(), Identity()
        introduction = introduce(*identities)
        self.connection = connection(identities[0], introduction, is_offerer=True)
        self.events: list[quic.ConnectionEvent] = []
        self.end: End = make_end(
            identities[1], introduction, is_offerer=False, direct=Wire("direct"), relay=Wire("relay")
        )
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        """Bring the connection up; the link may still wait for a proof."""
        self.end.association.use_direct(self, DIRECT)
        self.connection.start(self._loop.time())
        await self.turn()
        while not self.connection.established and self.connection.terminated is None:
            await self.turn()

    async def turn(self) -> None:
        """Let what this side has to say reach the link, and the answer come back."""
        self._flush()
        await asyncio.sleep(0.001)

    @property
    def path_datagram_size(self) -> int:
        """What any path carries (DirectPath)."""
        return 1200

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Take what the link sends (DirectPath)."""
        self._loop.call_soon(self._arrive, list(datagrams))

    async def find_datagram_size(self) -> int | None:
        """Say the same (DirectPath)."""
        return 1200

    def suspect(self) -> None:
        """Nothing is to be suspected of this path (DirectPath)."""

    def heard(self, kind: type[quic.ConnectionEvent]) -> list[quic.ConnectionEvent]:
        """Return the events of that kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def _arrive(self, datagrams: list[bytes]) -> None:
        self.connection.receive(datagrams, self._loop.time())
        self._flush()

    def _flush(self) -> None:
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
        datagrams = self.connection.take_datagrams(self._loop.time())
        if datagrams:
            self._loop.call_soon(self.end.association.receive, datagrams, "direct")
        if self._timer is not None:
            self._timer.cancel()
        due = self.connection.next_timer()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self.connection.handle_timer(self._loop.time())
        self._flush()

    def close(self) -> None:
        """End both sides."""
        if self._timer is not None:
            self._timer.cancel()
        self.end.link.close("test over")
