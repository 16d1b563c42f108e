"""The sending part of a stream (RFC 9000 section 3.1).

Bytes wait here until the peer has given credit for them (credits.py) and the engine has sent what it was given
before; `drain()` waits for that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from visavis_peer.core.link.credits import WINDOW_BASE, WINDOW_MAX, Overrun
from visavis_peer.errors import AgentError, StreamReset
from visavis_peer.link.quic import SecureConnection

HIGH_WATER: Final = 512 << 10
"""Bytes that a writer keeps before `drain` waits: a full batch of datagrams (streams.py, UNSENT) while it is woken."""
BACKLOG: Final = 1 << 20
"""Bytes that all writers of a link keep before `drain` waits sooner: two of them with HIGH_WATER."""
LOW_WATER: Final = 8 << 10
"""Bytes that a writer keeps then before `drain` waits: 128 streams then keep 1 MiB more."""
PIECE: Final = 1024
"""Bytes up to which neighbouring pieces are joined: byte by byte, each would cost fifty times its size."""
TURN: Final = 32 << 10
"""Bytes that one stream gives the engine before the next has its turn."""


class WriterOwner(Protocol):
    """What a writer asks of its stream."""

    stream_id: int

    @property
    def backlog(self) -> int:
        """Bytes that all writers of the link keep."""

    def count(self, size: int) -> None:
        """So many more of them."""

    def wants_to_send(self) -> None:
        """Give this stream its turn."""

    def reset(self, code: int) -> None:
        """Tell the peer that nothing more comes."""


class SendingPart:
    """The outgoing direction of a stream; the application has a `StreamWriter` in front of it."""

    def __init__(self, stream: WriterOwner) -> None:
        self._stream = stream
        self._pending: deque[memoryview] = deque()
        self._pending_size = 0
        self._sent = 0
        self._limit = WINDOW_BASE
        self._eof = False
        self._end_sent = False
        self._done = False
        self._error: AgentError | None = None
        self._wake = asyncio.Event()

    @property
    def stream_id(self) -> int:
        """Number of the stream."""
        return self._stream.stream_id

    @property
    def read_size(self) -> int:
        """Bytes that the peer's application has read, as far as is known: at least so many."""
        return self._sent if self._done else max(0, min(self._sent, self._limit - WINDOW_MAX))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, after what was written before; `drain` waits while too much is on its way.

        Raises StreamReset when the peer reads no further, LinkClosed, RuntimeError after `write_eof`.
        """
        if self._error is not None:
            raise self._error
        if self._eof:
            raise RuntimeError("the stream has been ended by write_eof")
        if not isinstance(data, bytes):
            data = bytes(memoryview(data))  # a copy of what may change; its items may have several bytes each
        if data:
            self._count(len(data))
            if self._pending and len(self._pending[-1]) + len(data) <= PIECE:
                data = bytes(self._pending.pop()) + data
            self._pending.append(memoryview(data))
            self._stream.wants_to_send()

    async def drain(self) -> None:
        """Wait until there is room for more.

        Raises StreamReset, LinkClosed.
        """
        while self._crowded and self._error is None:
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None:
            raise self._error

    def write_eof(self) -> None:
        """End this direction; the other stays open. Idempotent."""
        if not self._eof and self._error is None:
            self._eof = True
            self._stream.wants_to_send()

    def close(self) -> None:
        """Do as `write_eof`."""
        self.write_eof()

    async def wait_closed(self) -> None:
        """Wait until the peer's application has read everything to the end.

        Raises StreamReset when it gave up, LinkClosed.
        """
        while not self._done and self._error is None:
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None and not self._done:
            raise self._error

    def reset(self, code: int = 0) -> None:
        """Give up this direction: what has not arrived is dropped, and the peer's reader is told `code`. Idempotent."""
        if not self.closed:
            self._stream.reset(code)
            self.fail(StreamReset(code))

    # --- the stream's side --------------------------------------------------------------------------------------------

    def belong_to(self, stream: WriterOwner) -> None:
        """Ask nothing of the former stream any longer."""
        self._stream = stream

    @property
    def finished(self) -> bool:
        """Whether nothing more will be sent."""
        return self._error is not None or self._end_sent

    @property
    def closed(self) -> bool:
        """Whether the peer has everything, or never will."""
        return self._error is not None or self._done

    @property
    def ready(self) -> bool:
        """Whether there is something to send that the peer takes."""
        if self.finished:
            return False
        return bool(self._pending and self._sent < self._limit) or (self._eof and not self._pending)

    def send_some(self, connection: SecureConnection) -> None:
        """Give the engine up to TURN bytes."""
        left = min(TURN, self._limit - self._sent)
        while self._pending and left:
            part = self._pending.popleft()
            if len(part) > left:
                self._pending.appendleft(part[left:])
                part = part[:left]
            connection.send_stream(self.stream_id, part)
            left -= len(part)
            self._sent += len(part)
            self._count(-len(part))
        if self._eof and not self._pending:
            connection.send_stream(self.stream_id, b"", end=True)
            self._end_sent = True
        if not self._crowded:
            self._wake.set()

    @property
    def _crowded(self) -> bool:
        """Whether what waits here is too much for this stream, or more than its share of what waits in all."""
        return self._pending_size > (LOW_WATER if self._stream.backlog > BACKLOG else HIGH_WATER)

    def on_credit(self, limit: int) -> None:
        """The peer takes bytes up to `limit`."""
        self._limit = max(self._limit, limit)

    def on_done(self) -> None:
        """The peer's application has read everything.

        Raises Overrun: it cannot, before the end has been sent.
        """
        if not self._end_sent:
            raise Overrun("DONE for a stream that has not ended")
        self._done = True
        self._wake.set()

    def fail(self, error: AgentError) -> None:
        """End the stream for the writer."""
        if self._error is None:
            self._error = error
            self._pending.clear()
            self._count(-self._pending_size)
            self._wake.set()

    def _count(self, size: int) -> None:
        self._pending_size += size
        self._stream.count(size)
