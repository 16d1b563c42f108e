"""The receiving part of a stream (RFC 9000 section 3.2).

Bytes wait here until the application reads them, and only then does the peer get credit for more (credits.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Protocol

from visavis_peer.core.link.credits import CreditPool, ReceiveWindow
from visavis_peer.errors import AgentError, StreamReset
from visavis_peer.link.writer import PIECE

READ_SIZE: Final = 64 << 10
"""Bytes that one `read` of an iteration returns at most."""


class ReaderOwner(Protocol):
    """What a reader asks of its stream."""

    stream_id: int

    def grant(self, limit: int) -> None:
        """Tell the peer how far it may send."""

    def on_read_to_end(self) -> None:
        """The application has read everything."""

    def stop(self, code: int) -> None:
        """Tell the peer that nothing more is read."""


class ReceivingPart:
    """The incoming direction of a stream; the application has a `StreamReader` in front of it."""

    def __init__(self, stream: ReaderOwner, pool: CreditPool) -> None:
        self._stream = stream
        self._window = ReceiveWindow(pool)
        self._chunks: deque[bytes] = deque()
        self._end = False
        self._error: AgentError | None = None
        self._wake = asyncio.Event()

    @property
    def stream_id(self) -> int:
        """Number of the stream; the two directions and both sides share it."""
        return self._stream.stream_id

    @property
    def limit(self) -> int:
        """Bytes that the peer may send on this stream in all, as it has been told or is about to be."""
        return self._window.limit

    def at_eof(self) -> bool:
        """Whether the peer has ended the stream and everything has been read."""
        return self._end and not self._chunks

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, waiting for at least one; with -1 everything until the peer ends the stream.

        Returns b"" at the end. Raises StreamReset, LinkClosed.
        """
        if size < 0:
            parts = []
            while part := await self.read(READ_SIZE):
                parts.append(part)
            return b"".join(parts)
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._end or not size:
                return b""
            self._wake.clear()
            await self._wake.wait()
        return self._take(size)

    async def readexactly(self, size: int) -> bytes:
        """Return `size` bytes.

        Raises asyncio.IncompleteReadError when the stream ends before, StreamReset, LinkClosed.
        """
        parts: list[bytes] = []
        missing = size
        while missing:
            part = await self.read(missing)
            if not part:
                raise asyncio.IncompleteReadError(b"".join(parts), size)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self.read(READ_SIZE):
            yield part

    def stop(self, code: int = 0) -> None:
        """Read no further: what is unread is dropped, and the peer's writer is told `code`. Idempotent."""
        if not self.finished:
            self._stream.stop(code)
            self.fail(StreamReset(code))

    # --- the stream's side --------------------------------------------------------------------------------------------

    def belong_to(self, stream: ReaderOwner) -> None:
        """Ask nothing of the former stream any longer."""
        self._stream = stream

    @property
    def finished(self) -> bool:
        """Whether nothing more will be read."""
        return self._error is not None or self.at_eof()

    @property
    def ended(self) -> bool:
        """Whether the peer has ended the stream."""
        return self._end

    def feed(self, data: bytes, *, end: bool) -> int | None:
        """Take bytes of the peer; return a new limit to tell it, if there is one.

        Raises Overrun.
        """
        if self._error is not None or self._end:
            return None
        limit = self._window.on_received(len(data))
        if self._chunks and len(self._chunks[-1]) + len(data) <= PIECE:
            self._chunks[-1] += data
        elif data:
            self._chunks.append(data)
        self._end = end
        self._wake.set()
        if self.at_eof():
            self._stream.on_read_to_end()
        return limit

    def fail(self, error: AgentError) -> None:
        """End the stream for the reader; what it has not read is lost."""
        if self.finished:
            return
        self._error = error
        self._chunks.clear()
        self._window.release()
        self._wake.set()

    def release(self) -> None:
        """Give the window back."""
        self._window.release()

    def _take(self, size: int) -> bytes:
        chunks = self._chunks
        parts = []
        missing = size
        while chunks and missing:
            part = chunks.popleft()
            if len(part) > missing:
                chunks.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        limit = None if self._end else self._window.on_consumed(len(data))
        if limit is not None:
            self._stream.grant(limit)
        if self.at_eof():
            self._stream.on_read_to_end()
        return data
