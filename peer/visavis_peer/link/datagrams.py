"""The QUIC datagrams of a link: the application's, and PING and PONG, by which ways and round trips are known."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from visavis_peer.errors import LinkClosed, PeerAbsent
from visavis_peer.link import control
from visavis_peer.link.challenge import Challenges, Way

RECEIVE_COUNT: Final = 1024
"""Datagrams kept for a reader that is busy, 1.2 MB at most; the oldest are dropped, as UDP does."""
REPLY_COUNT: Final = 4
"""Challenges answered of those that come together: a peer asks four times a second on a way."""


class Datagrams:
    """What has come in datagrams and waits for somebody, and what is waited for."""

    def __init__(self, send: Callable[[int, bytes], None], send_on: Callable[[Way, int, bytes], None]) -> None:
        """`send` puts a datagram of a kind on the link's own path, `send_on` on a way that is none of the link's."""
        self.challenges = Challenges(send_on)
        self._send = send
        self._received: deque[bytes] = deque(maxlen=RECEIVE_COUNT)
        self._arrived = asyncio.Event()
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._replies: list[bytes] | None = None
        """Tokens to be sent back by the way whose datagrams are being taken, where that is none of the link's."""
        self._error: LinkClosed | None = None

    @property
    def waiting_count(self) -> int:
        """Datagrams that wait for a reader."""
        return len(self._received)

    # --- for the application ------------------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next datagram.

        Raises LinkClosed once the link is gone and everything received has been returned.
        """
        while not self._received:
            self._check_open()
            self._arrived.clear()
            await self._arrived.wait()
        return self._received.popleft()

    async def ping(self, timeout: float) -> float:
        """Return the seconds of one round trip.

        Raises PeerAbsent when nothing comes back within `timeout` seconds, LinkClosed when the link is gone.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        token = secrets.token_bytes(control.TOKEN_SIZE)
        answered: asyncio.Future[None] = loop.create_future()
        self._pings[token] = answered
        started = loop.time()
        try:
            self._send(control.PING, token)
            async with asyncio.timeout(timeout):
                await answered
        except TimeoutError:
            raise PeerAbsent(f"no answer over the link within {timeout:g} s") from None
        finally:
            del self._pings[token]
        return loop.time() - started

    # --- for the link -------------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Take a datagram of the peer."""
        kind, content = data[:1], data[1:]
        if kind == bytes((control.PING,)) and self._replies is not None:
            self._replies.append(content[: control.TOKEN_SIZE])
        elif kind == bytes((control.PING,)):
            self._send(control.PONG, content[: control.TOKEN_SIZE])
        elif kind == bytes((control.PONG,)):
            self.challenges.on_answer(content)
            answered = self._pings.get(content)
            if answered is not None and not answered.done():
                answered.set_result(None)
        elif kind == bytes((control.DATA,)):
            self._received.append(content)
            self._arrived.set()

    def hold_replies(self) -> None:
        """Keep answers to PINGs from now on until `take_replies`."""
        self._replies = []

    def take_replies(self) -> list[bytes]:
        """Return the tokens of REPLY_COUNT PINGs at most that were taken since `hold_replies`."""
        replies, self._replies = self._replies or [], None
        return replies[:REPLY_COUNT]

    def close(self, error: LinkClosed) -> None:
        """End whatever waits. Idempotent."""
        self._error = error
        self.challenges.close()
        self._arrived.set()
        for answered in self._pings.values():
            if not answered.done():
                answered.set_exception(error)

    def _check_open(self) -> None:
        if self._error is not None:
            raise LinkClosed(str(self._error))
