"""A link to one peer."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from visavis_peer.core.events import PathInfo
from visavis_peer.core.frames import DATAGRAM_SIZE, Bye, DataFrame, Ping, Pong, decode, encode
from visavis_peer.errors import AgentError, PeerAbsent
from visavis_peer.net.ice import IceSession

RECEIVE_COUNT: Final = 1024
"""Datagrams kept for a reader that is busy, 1.2 MB at most; the oldest are dropped, as UDP does."""


class LinkClosed(AgentError):
    """The link is gone; the text says why."""

    exit_code = 4
    name = "link_closed"


class Link:
    """Datagrams to and from one peer, over whatever path the agent has found; the agent makes and moves it.

    Datagrams may be lost, reordered or repeated, as with UDP. They are not encrypted yet.
    """

    def __init__(self, peer_id: str, name: str | None, path: PathInfo, on_bye: Callable[[], None]) -> None:
        self.peer_id = peer_id
        """The peer's id in the room; changes when the peer has reconnected to the signaling server."""
        self.name = name
        self.path = path
        self.authenticated = False
        """Whether the peer has proved to know the room's secret."""
        self.closed_reason: str | None = None
        """Why the link is gone; None while it is up."""
        self.on_datagram: Callable[[bytes], None] | None = None
        """Called with each datagram instead of keeping it for `receive`."""
        self._on_bye = on_bye
        self._session: IceSession | None = None
        self._received: deque[bytes] = deque(maxlen=RECEIVE_COUNT)
        self._wake = asyncio.Event()
        self._pings: dict[bytes, asyncio.Future[None]] = {}

    def __repr__(self) -> str:
        state = f"closed: {self.closed_reason}" if self.closed_reason else self.path.kind
        return f"Link({self.peer_id}, {state})"

    def send_datagram(self, data: bytes) -> None:
        """Send `data` (at most 1,200 bytes).

        Raises LinkClosed, or ValueError when it is too large.
        """
        if len(data) > DATAGRAM_SIZE:
            raise ValueError(f"a datagram has at most {DATAGRAM_SIZE} bytes, not {len(data)}")
        self._send(encode(DataFrame(data)))

    async def receive_datagram(self) -> bytes:
        """Return the next datagram.

        Raises LinkClosed once the link is gone and everything received has been returned.
        """
        while not self._received:
            self._check_open()
            self._wake.clear()
            await self._wake.wait()
        return self._received.popleft()

    async def datagrams(self) -> AsyncIterator[bytes]:
        """Yield the datagrams until the link is gone."""
        while True:
            try:
                datagram = await self.receive_datagram()
            except LinkClosed:
                return
            yield datagram

    async def ping(self, timeout: float) -> float:
        """Return the seconds of one round trip to the peer's agent and back.

        Raises PeerAbsent when nothing comes back within `timeout` seconds, LinkClosed when the link is gone.
        """
        token = secrets.token_bytes(8)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        self._pings[token] = answered
        started = loop.time()
        try:
            self._send(encode(Ping(token)))
            async with asyncio.timeout(timeout):
                await answered
        except TimeoutError:
            raise PeerAbsent(f"no answer over the link within {timeout:g} s") from None
        finally:
            del self._pings[token]
        return loop.time() - started

    async def wait_closed(self) -> str:
        """Wait until the link is gone and return why."""
        while self.closed_reason is None:
            self._wake.clear()
            await self._wake.wait()
        return self.closed_reason

    # --- the agent's side ---------------------------------------------------------------------------------------------

    @property
    def session(self) -> IceSession | None:
        """The ICE session that carries the link."""
        return self._session

    def move_to(self, session: IceSession, path: PathInfo) -> None:
        """Carry the link on `session` from now on."""
        self._session = session
        self.path = path
        session.deliver_to(self._receive)

    def say_bye(self) -> None:
        """Tell the peer that this side closes the link; a lost one is made up for by consent."""
        if self.closed_reason is None and self._session is not None:
            self._session.send_datagram(encode(Bye()))

    def close(self, reason: str) -> None:
        """Mark the link as gone; waiting readers and pings end. Idempotent."""
        if self.closed_reason is not None:
            return
        self.closed_reason = reason
        self._wake.set()
        for answered in self._pings.values():
            if not answered.done():
                answered.set_exception(LinkClosed(reason))

    def _send(self, datagram: bytes) -> None:
        self._check_open()
        if self._session is not None:
            self._session.send_datagram(datagram)

    def _check_open(self) -> None:
        if self.closed_reason is not None:
            raise LinkClosed(self.closed_reason)

    def _receive(self, datagram: bytes) -> None:
        match decode(datagram):
            case DataFrame(data):
                if self.on_datagram is not None:
                    self.on_datagram(data)
                else:
                    self._received.append(data)
                    self._wake.set()
            case Ping(token):
                if self.closed_reason is None:
                    self._send(encode(Pong(token)))
            case Pong(token):
                answered = self._pings.get(token)
                if answered is not None and not answered.done():
                    answered.set_result(None)
            case Bye():
                self._on_bye()
            case None:
                pass
