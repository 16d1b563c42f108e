"""Ways that a link may take, once they have shown that they lead to its peer.

OFFER and ANSWER come by the signaling server and may come from another member than they seem to. So nothing moves for
what they say: the new way carries a PING with a token, and only an answer to it moves the link. PING and answer are
QUIC datagrams of the link itself (link/quic.py), so whoever answers holds the link's keys.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from visavis_peer.link import control

CHALLENGE_INTERVAL: Final = 0.25
"""Seconds between challenges on one way: what is lost is not repeated by the engine, and a round trip may take 2 s."""
WAY_COUNT: Final = 4
"""Ways of one link under challenge at a time: the oldest makes room."""
TOKEN_COUNT: Final = 16
"""Tokens of one way that an answer may name: those of the last four seconds."""


class Way(Protocol):
    """Something that carries UDP payloads to whoever is at its other end."""

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send UDP payloads."""


class _Challenge:
    def __init__(self, proven: Callable[[], None]) -> None:
        self.proven = proven
        self.tokens: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None


class Challenges:
    """The ways of one link that are under challenge."""

    def __init__(self, send: Callable[[Way, int, bytes], None]) -> None:
        """`send` puts a datagram of that kind on that way, and nothing else."""
        self._send = send
        self._challenges: dict[Way, _Challenge] = {}
        self._loop = asyncio.get_running_loop()

    def begin(self, way: Way, proven: Callable[[], None]) -> None:
        """Ask on `way` until there is an answer, then have `proven` called once; or until `end`."""
        self.end(way)
        if len(self._challenges) >= WAY_COUNT:
            self.end(next(iter(self._challenges)))
        self._challenges[way] = _Challenge(proven)
        self._ask(way)

    def end(self, way: Way) -> None:
        """Ask no more on `way`. Idempotent."""
        challenge = self._challenges.pop(way, None)
        if challenge is not None and challenge.timer is not None:
            challenge.timer.cancel()

    def close(self) -> None:
        """Ask no more. Idempotent."""
        for way in list(self._challenges):
            self.end(way)

    def on_answer(self, token: bytes) -> None:
        """Take the answer to a PING, whichever way it came."""
        for way, challenge in list(self._challenges.items()):
            if token in challenge.tokens:
                self.end(way)
                self._loop.call_soon(challenge.proven)  # not amid the link's events
                return

    def _ask(self, way: Way) -> None:
        challenge = self._challenges[way]
        token = secrets.token_bytes(control.TOKEN_SIZE)
        challenge.tokens = [*challenge.tokens, token][-TOKEN_COUNT:]
        challenge.timer = self._loop.call_later(CHALLENGE_INTERVAL, self._ask, way)
        self._send(way, control.PING, token)
