"""The streams of a link: readers and writers with back-pressure in both directions.

A writer's bytes wait here until the peer has given credit for them (core/credits.py) and the engine has sent what it
was given before; `drain()` waits for that. A reader's bytes wait here until the application reads them, and only then
does the peer get credit for more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from visavis_peer.core.credits import STREAM_COUNT, WINDOW_BASE, CreditPool, Overrun, ReceiveWindow
from visavis_peer.errors import AgentError, LinkClosed
from visavis_peer.link import control
from visavis_peer.link.quic import SecureConnection

HIGH_WATER: Final = 128 << 10
"""Bytes that a writer keeps before `drain` waits: enough for a full batch of datagrams while the writer is woken."""
BACKLOG: Final = 3 << 19
"""Bytes that all writers of a link keep before `drain` waits sooner: 12 of them with HIGH_WATER."""
LOW_WATER: Final = 8 << 10
"""Bytes that a writer keeps then before `drain` waits: 128 streams then keep 1 MiB more."""
PIECE: Final = 1024
"""Bytes up to which neighbouring pieces are joined: byte by byte, each would cost fifty times its size."""
UNSENT: Final = 256 << 10
"""Bytes given to the engine ahead of what it has sent: a batch of 200 datagrams; the rest waits here, so that streams
take turns and a reset has little to undo."""
TURN: Final = 32 << 10
"""Bytes that one stream gives the engine before the next has its turn."""
CONTROL_UNSENT: Final = UNSENT + 2 * TURN
"""The same bound for the control stream: a TURN of 1,500 frames above what streams ever reach, so that bulk does not
delay it; what a peer that acknowledges nothing leaves beyond waits in the table, one CREDIT and one DONE a stream."""
UNREAD_COUNT: Final = 2 * STREAM_COUNT
"""Streams of the peer that are not read to their end at a time; it opens half as many, resets on their way aside."""
LINGERING_COUNT: Final = 8 * STREAM_COUNT
"""Streams of the peer in all, with those of which it has yet to say that it has read them, about 4 KB each; with 3 % of
loss, and streams opened as fast as they go, there were up to 188."""
STREAM_STEP: Final = 4
"""Between the ids of one side's bidirectional streams (RFC 9000 section 2.1)."""
READ_SIZE: Final = 64 << 10
"""Bytes that one `read` of an iteration returns at most."""


class StreamReset(AgentError):
    """The peer has given up this stream; `code` is the application's number for the reason."""

    exit_code = 9
    name = "stream_reset"

    def __init__(self, code: int) -> None:
        super().__init__(f"the peer has reset the stream with code {code}")
        self.code = code


class _Stream:
    """One stream: what its two directions have in common."""

    def __init__(self, stream_id: int, table: StreamTable, pool: CreditPool) -> None:
        self.stream_id = stream_id
        self.table = table
        self.reader = StreamReader(self, pool)
        self.writer = StreamWriter(self)
        self.credit: int | None = None
        """The newest limit that the peer is to be told."""
        self.done_due = False
        """Whether the peer is to be told that it was read to its end."""

    @property
    def finished(self) -> bool:
        return self.reader.finished and self.writer.closed and not self.done_due


class StreamReader:
    """The incoming direction of a stream."""

    def __init__(self, stream: _Stream, pool: CreditPool) -> None:
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
            self._stream.table.stop(self._stream, code)
            self.fail(StreamReset(code))

    # --- the table's side ---------------------------------------------------------------------------------------------

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
            self._stream.table.on_read_to_end(self._stream)
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
            self._stream.table.grant(self._stream, limit)
        if self.at_eof():
            self._stream.table.on_read_to_end(self._stream)
        return data


class StreamWriter:
    """The outgoing direction of a stream."""

    def __init__(self, stream: _Stream) -> None:
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

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, after what was written before; `drain` waits while too much is on its way.

        Raises StreamReset when the peer reads no further, LinkClosed, RuntimeError after `write_eof`.
        """
        if self._error is not None:
            raise self._error
        if self._eof:
            raise RuntimeError("the stream has been ended by write_eof")
        if data:
            self._count(len(data))
            if self._pending and len(self._pending[-1]) + len(data) <= PIECE:
                data = bytes(self._pending.pop()) + data
            # a copy of what may change, none of bytes
            self._pending.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
            self._stream.table.wants_to_send(self._stream)

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
            self._stream.table.wants_to_send(self._stream)

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
            self._stream.table.reset(self._stream, code)
            self.fail(StreamReset(code))

    # --- the table's side ---------------------------------------------------------------------------------------------

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
        return self._pending_size > (LOW_WATER if self._stream.table.backlog > BACKLOG else HIGH_WATER)

    def on_credit(self, limit: int) -> None:
        """The peer takes bytes up to `limit`."""
        self._limit = max(self._limit, limit)

    def on_done(self) -> None:
        """The peer's application has read everything."""
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
        self._stream.table.backlog += size


class StreamTable:
    """The streams of one link."""

    def __init__(self, connection: SecureConnection, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something for `flush` to do."""
        self._connection = connection
        self._wake = wake
        self._pool = CreditPool()
        self._streams: dict[int, _Stream] = {}
        self._next_of_peer = 1 if connection.is_offerer else STREAM_STEP
        """Id of the next stream that the peer opens; of the offerer's, 0 is the control stream."""
        self._missing: set[int] = set()
        """Ids before that one of which nothing has come in; fewer than the engine lets the peer open."""
        self._own = 0
        """Streams of this side that are open, at most STREAM_COUNT."""
        self._room = asyncio.Event()
        self._waiting: deque[_Stream] = deque()
        """Streams with something to send, next turn first."""
        self._to_tell: dict[int, _Stream] = {}
        """Streams with a CREDIT or DONE that the engine has not been given, by id."""
        self._accepted: deque[_Stream] = deque()
        self._arrived = asyncio.Event()
        self._error: LinkClosed | None = None
        self.backlog = 0
        """Bytes that all writers keep."""

    async def open(self) -> tuple[StreamReader, StreamWriter]:
        """Open a stream, waiting while STREAM_COUNT of this side are open.

        Raises LinkClosed.
        """
        while (self._own >= STREAM_COUNT or not self._connection.may_open) and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error
        stream_id = self._connection.next_stream_id()
        self._connection.send_stream(stream_id, control.STREAM_START)
        self._wake()
        self._own += 1
        stream = self._streams[stream_id] = _Stream(stream_id, self, self._pool)
        return stream.reader, stream.writer

    async def accept(self) -> tuple[StreamReader, StreamWriter]:
        """Return the next stream that the peer has opened.

        Raises LinkClosed.
        """
        while not self._accepted:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        stream = self._accepted.popleft()
        return stream.reader, stream.writer

    def flush(self) -> None:
        """Give the engine what it can take, stream by stream, and the next stream its place."""
        if self._own < STREAM_COUNT and not self._room.is_set() and self._connection.may_open:
            self._room.set()
        self._tell()
        waiting = self._waiting
        while waiting and self._connection.unsent < UNSENT:
            stream = waiting.popleft()
            if not stream.writer.ready:
                continue
            stream.writer.send_some(self._connection)
            if stream.writer.ready:
                waiting.append(stream)
            self._forget_if_finished(stream)

    # --- what the peer does -------------------------------------------------------------------------------------------

    def on_data(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Take bytes of a stream.

        Raises Overrun.
        """
        stream = self._streams.get(stream_id)
        if stream is None and self._is_new(stream_id):
            self._check_count()
            stream = self._streams[stream_id] = _Stream(stream_id, self, self._pool)
            self._accepted.append(stream)
            self._arrived.set()
            data = data.removeprefix(control.STREAM_START)
        if stream is not None:
            limit = stream.reader.feed(data, end=end)
            if limit is not None:
                self.grant(stream, limit)

    def on_reset(self, stream_id: int, code: int) -> None:
        """The peer has given up sending."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.reader.fail(StreamReset(code))
            self._forget_if_finished(stream)

    def on_stopped(self, stream_id: int, code: int) -> None:
        """The peer reads no further."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.writer.closed:
            self._connection.reset_stream(stream_id, code)
            stream.writer.fail(StreamReset(code))
            self._forget_if_finished(stream)
            self._wake()

    def on_control(self, frame: control.Credit | control.Done) -> None:
        """Take credit, or learn that a stream was read to its end."""
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            return
        if isinstance(frame, control.Credit):
            stream.writer.on_credit(frame.limit)
            self.wants_to_send(stream)
        else:
            stream.writer.on_done()
            self._forget_if_finished(stream)

    def close(self, error: LinkClosed) -> None:
        """End every stream. Idempotent."""
        if self._error is None:
            self._error = error
            for stream in list(self._streams.values()):
                stream.reader.fail(error)
                stream.writer.fail(error)
            self._streams.clear()
            self._waiting.clear()
            self._to_tell.clear()
            self._room.set()
            self._arrived.set()

    # --- what readers and writers want --------------------------------------------------------------------------------

    def wants_to_send(self, stream: _Stream) -> None:
        """Give `stream` a turn if it has something to send that the peer takes."""
        if stream.writer.ready and stream not in self._waiting:
            self._waiting.append(stream)
        self._wake()

    def grant(self, stream: _Stream, limit: int) -> None:
        """Tell the peer how far it may send; only the newest limit counts."""
        stream.credit = limit
        self._to_tell[stream.stream_id] = stream
        self._wake()

    def on_read_to_end(self, stream: _Stream) -> None:
        """The application has read everything; say so, once."""
        stream.reader.release()
        if self._error is None and stream.stream_id in self._streams:
            self._tell_done(stream)
            self._wake()

    def reset(self, stream: _Stream, code: int) -> None:
        """Reset the outgoing direction."""
        self._connection.reset_stream(stream.stream_id, code)
        self._after(stream)

    def stop(self, stream: _Stream, code: int) -> None:
        """Stop the incoming direction; where all of it has come in, only the writer waits to hear of it."""
        if stream.reader.ended:
            self._tell_done(stream)
        else:
            self._connection.stop_stream(stream.stream_id, code)
        self._after(stream)

    def _tell_done(self, stream: _Stream) -> None:
        """Have the peer told that `stream` was read to its end; until then it is not forgotten."""
        stream.credit, stream.done_due = None, True
        self._to_tell[stream.stream_id] = stream

    def _tell(self) -> None:
        """Give the engine what the peer is to be told of streams, as far as it can take it."""
        while self._to_tell and self._connection.unsent < CONTROL_UNSENT:
            stream = self._to_tell.pop(next(iter(self._to_tell)))
            if stream.credit is not None:
                self._connection.send_control(control.Credit(stream.stream_id, stream.credit))
                stream.credit = None
            if stream.done_due:
                self._connection.send_control(control.Done(stream.stream_id))
                stream.done_due = False
                self._forget_if_finished(stream)

    def _after(self, stream: _Stream) -> None:
        asyncio.get_running_loop().call_soon(self._forget_if_finished, stream)
        self._wake()

    def _is_new(self, stream_id: int) -> bool:
        """Whether the peer has just opened a stream of both directions, and not one that is over."""
        if stream_id % STREAM_STEP != self._next_of_peer % STREAM_STEP:
            return False
        if stream_id < self._next_of_peer:
            was_missing = stream_id in self._missing
            self._missing.discard(stream_id)
            return was_missing
        # the bytes of streams opened before may be late
        self._missing.update(range(self._next_of_peer, stream_id, STREAM_STEP))
        self._next_of_peer = stream_id + STREAM_STEP
        return True

    def _forget_if_finished(self, stream: _Stream) -> None:
        if not stream.finished or self._streams.pop(stream.stream_id, None) is None:
            return
        self._to_tell.pop(stream.stream_id, None)
        if self._is_own(stream.stream_id):
            self._own -= 1
            self._room.set()
        elif stream in self._accepted:
            self._accepted.remove(stream)  # over before anybody wanted it

    def _check_count(self) -> None:
        """Raise Overrun when the peer has opened too many streams; for QUIC, they may be over before they are here."""
        count = len(self._streams) - self._own
        if count >= UNREAD_COUNT:
            of_peer = (stream for stream in self._streams.values() if not self._is_own(stream.stream_id))
            unread = sum(not stream.reader.finished for stream in of_peer)
            if unread >= UNREAD_COUNT or count >= LINGERING_COUNT:
                raise Overrun(f"more streams at a time ({count}) than it may open")

    def _is_own(self, stream_id: int) -> bool:
        return stream_id % STREAM_STEP == (0 if self._connection.is_offerer else 1)
