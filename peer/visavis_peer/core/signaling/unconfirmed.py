"""What was sent to the signaling server and is not known to have been taken (docs/protocol.md, "Resuming").

Messages are numbered from 1 on, counted from the ACK that brought the resume token. The server counts them too,
and when the session goes on over another connection its ACK tells how far it has come.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

UNCONFIRMED_COUNT: Final = 1024
"""Messages: offers to 64 peers with 16 messages each."""
UNCONFIRMED_SIZE: Final = 1 << 20
"""Bytes of these: 64 descriptions of 8 KiB, each with as much in candidates; more than what TCP holds of it at once."""


class NotTaken(NamedTuple):
    """What a resumed session has to say again."""

    messages: list[bytes]
    """In order."""
    lost: int
    """How many before these were not taken either, and are not kept any more."""


class Unconfirmed:
    """The last messages of one session, bounded in number and bytes."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._sent = 0
        self._doubtful = False
        """Whether the last message may not have left this machine."""

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self) -> None:
        """The ACK of a JOIN has come, or the session is over: forget everything and count anew."""
        self._kept.clear()
        self._size = self._sent = 0
        self._doubtful = False

    def add(self, message: bytes) -> None:
        """Note a message that is about to be sent; the oldest make way."""
        self._sent += 1
        self._kept.append(message)
        self._size += len(message)
        while len(self._kept) > UNCONFIRMED_COUNT or self._size > UNCONFIRMED_SIZE:
            self._size -= len(self._kept.popleft())

    def doubt(self) -> None:
        """Sending the last message has failed, so that it may not have left this machine."""
        self._doubtful = True

    def resume(self, received: int | None) -> NotTaken:
        """Return what has to be sent again, and begin anew.

        `received` is how many messages the server has taken, None where it does not know: then only the one whose
        sending failed is sent again, for a message must not arrive twice.
        """
        if received is None:
            received = self._sent - self._doubtful
        missing = max(0, self._sent - received)
        again = list(self._kept)[-missing:] if missing else []
        self.begin()
        return NotTaken(again, missing - len(again))
