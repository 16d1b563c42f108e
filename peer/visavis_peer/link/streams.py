"""The streams of a link: which are open, whose turn it is, and what the peer is to be told of them.

The two directions of each are in `link.reader` and `link.writer`, with back-pressure both ways.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from visavis_peer.core.link import kinds
from visavis_peer.core.link.credits import STREAM_COUNT, CreditPool, Overrun
from visavis_peer.errors import KindNotOffered, LinkClosed, StreamReset
from visavis_peer.link import control
from visavis_peer.link.quic import SecureConnection
from visavis_peer.link.reader import ReceivingPart
from visavis_peer.link.reception import Reception
from visavis_peer.link.writer import TURN, SendingPart

__all__ = ["ReceivingPart", "SendingPart", "StreamTable"]

UNSENT: Final = 512 << 10
"""Bytes given to the engine ahead of what it has sent: a batch of 350 datagrams, which makes up for what a turn of the
loop costs (scripts/bench link); the rest waits here, so that streams take turns and a reset has little to undo."""
CONTROL_UNSENT: Final = UNSENT + 2 * TURN
"""The same bound for the control stream: a TURN of 1,500 frames above what streams ever reach, so that bulk does not
delay it; what a peer that acknowledges nothing leaves beyond waits in the table, one CREDIT and one DONE a stream."""
UNREAD_COUNT: Final = 2 * STREAM_COUNT
"""Streams of the peer that are not read to their end at a time; it opens half as many, resets on their way aside."""
LINGERING_COUNT: Final = 8 * STREAM_COUNT
"""Streams of the peer in all, with those of which it has yet to say that it has read them, about 4 KB each; with 3 % of
loss, and streams opened as fast as they go, there were up to 188."""
HEADER_TIMEOUT: Final = 30.0
"""Seconds in which the header of a stream has to be complete: its 64 bytes at most go out at once, but what is lost of
them may have to wait for another path (core/link/liveness.py, SILENCE)."""
STREAM_STEP: Final = 4
"""Between the ids of one side's bidirectional streams (RFC 9000 section 2.1)."""


class Stream:
    """One stream: what its two directions have in common."""

    def __init__(self, stream_id: int, table: StreamTable, pool: CreditPool, kind: str | None = None) -> None:
        """`kind` is that of a stream of this side."""
        self.stream_id = stream_id
        self.kind = kind
        self.opening = kinds.HeaderReader() if kind is None else None
        """The header, until it is complete."""
        self.opening_timer: asyncio.TimerHandle | None = None
        self._table = table
        self.reader = ReceivingPart(self, pool)
        self.writer = SendingPart(self)
        self.credit: int | None = None
        """The newest limit that the peer is to be told."""
        self.done_due = False
        """Whether the peer is to be told that it was read to its end."""

    def opened(self) -> None:
        """No longer wait for the header. Idempotent."""
        self.opening = None
        if self.opening_timer is not None:
            self.opening_timer.cancel()
            self.opening_timer = None

    @property
    def finished(self) -> bool:
        return self.reader.finished and self.writer.closed and not self.done_due

    def part(self) -> None:
        """Let go of reader and writer, which the application may keep: a cycle would wait for the garbage collector."""
        over = _Over(self.stream_id)
        self.reader.belong_to(over)
        self.writer.belong_to(over)

    @property
    def backlog(self) -> int:
        return self._table.backlog

    def count(self, size: int) -> None:
        self._table.backlog += size

    def grant(self, limit: int) -> None:
        self._table.grant(self, limit)

    def on_read_to_end(self) -> None:
        self._table.on_read_to_end(self)

    def stop(self, code: int) -> None:
        self._table.stop(self, code)

    def wants_to_send(self) -> None:
        self._table.wants_to_send(self)

    def reset(self, code: int) -> None:
        self._table.reset(self, code)


class _Over:
    """What is left of a stream for its reader and writer when it is over."""

    __slots__ = ("backlog", "stream_id")

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.backlog = 0

    def nothing(self, *_: object) -> None:
        """Do nothing: there is nobody to be told."""

    count = grant = on_read_to_end = stop = wants_to_send = reset = nothing


class StreamTable:
    """The streams of one link."""

    def __init__(self, connection: SecureConnection, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something for `flush` to do."""
        self._connection = connection
        self._wake = wake
        self._pool = CreditPool()
        self._streams: dict[int, Stream] = {}
        self._next_of_peer = 1 if connection.is_offerer else STREAM_STEP
        """Id of the next stream that the peer opens; of the offerer's, 0 is the control stream."""
        self._missing: set[int] = set()
        """Ids before that one of which nothing has come in; fewer than the engine lets the peer open."""
        self._own = 0
        """Streams of this side that are open, at most STREAM_COUNT."""
        self._room = asyncio.Event()
        self._waiting: deque[Stream] = deque()
        """Streams with something to send, next turn first."""
        self._to_tell: dict[int, Stream] = {}
        """Streams with a CREDIT or DONE that the engine has not been given, by id."""
        self.reception = Reception[Stream](self.refuse)
        """Where those of the peer wait for the application."""
        self._error: LinkClosed | None = None
        self.backlog = 0
        """Bytes that all writers keep."""

    @property
    def open_count(self) -> int:
        """How many streams there are, of both sides, with those that wait to be read."""
        return len(self._streams)

    @property
    def untold_count(self) -> int:
        """How many of them have a CREDIT or DONE that the engine has not been given."""
        return len(self._to_tell)

    @property
    def lent(self) -> int:
        """Bytes of the link's credit that streams hold."""
        return self._pool.lent

    async def open(self, kind: str) -> tuple[ReceivingPart, SendingPart]:
        """Open a stream, waiting while STREAM_COUNT of this side are open.

        Raises LinkClosed, or ValueError for what cannot be a kind.
        """
        header = kinds.header(kind)
        while (self._own >= STREAM_COUNT or not self._connection.may_open) and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error
        stream_id = self._connection.next_stream_id()
        self._connection.send_stream(stream_id, header)
        self._wake()
        self._own += 1
        stream = self._streams[stream_id] = Stream(stream_id, self, self._pool, kind)
        return stream.reader, stream.writer

    async def accept(self, kind: str) -> tuple[ReceivingPart, SendingPart]:
        """Return the next stream of `kind` that the peer has opened; from now on that kind is offered.

        Raises LinkClosed, ValueError for what cannot be a kind, RuntimeError for one that is served.
        """
        self.reception.offer(kind, served=False)
        stream = await self.reception.accept(kind)
        return stream.reader, stream.writer

    def flush(self) -> None:
        """Give the engine what it can take, stream by stream, and the next stream its place."""
        if self._own < STREAM_COUNT and not self._room.is_set() and self._connection.may_open:
            self._room.set()
        self._tell()
        waiting = self._waiting
        in_flight = self._connection.in_flight
        while waiting:
            unsent = self._connection.unsent
            self._pool.sending = in_flight + unsent
            if unsent >= UNSENT or not self._pool.may_send:
                break
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
            stream = self._streams[stream_id] = Stream(stream_id, self, self._pool)
        if stream is not None:
            if stream.opening is not None:
                data = self._open(stream, data, end=end)
            limit = stream.reader.feed(data, end=end)
            if limit is not None:
                self.grant(stream, limit)

    def on_reset(self, stream_id: int, code: int) -> None:
        """The peer has given up sending."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.reader.fail(_reason(stream, code))
            if stream.opening is not None:
                self.refuse(stream, kinds.BAD_HEADER)
            if code > kinds.CODE_MAX:
                self.on_stopped(stream_id, code)  # who refuses a stream takes nothing either, though all of it be there
            self._forget_if_finished(stream)

    def on_stopped(self, stream_id: int, code: int) -> None:
        """The peer reads no further."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.writer.closed:
            self._connection.reset_stream(stream_id, code)
            stream.writer.fail(_reason(stream, code))
            self._forget_if_finished(stream)
            self._wake()

    def on_control(self, frame: control.Credit | control.Done) -> None:
        """Take credit, or learn that a stream was read to its end.

        Raises Overrun.
        """
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
            self.reception.close(error)
            for stream in list(self._streams.values()):
                stream.opened()
                stream.reader.fail(error)
                stream.writer.fail(error)
            self._streams.clear()
            self._waiting.clear()
            self._to_tell.clear()
            self._room.set()

    def refuse(self, stream: Stream, code: int) -> None:
        """End both directions of a stream that the application does not get, or has failed to serve. Idempotent.

        The peer is not told that anything was read, whatever has come in.
        """
        stream.opened()
        if self._streams.get(stream.stream_id) is not stream:
            return
        if not stream.reader.ended:
            self._connection.stop_stream(stream.stream_id, code)
        self._connection.reset_stream(stream.stream_id, code)
        stream.reader.fail(StreamReset(code))
        stream.writer.fail(StreamReset(code))
        self._after(stream)

    # --- what readers and writers want --------------------------------------------------------------------------------

    def wants_to_send(self, stream: Stream) -> None:
        """Give `stream` a turn if it has something to send that the peer takes."""
        if stream.writer.ready and stream not in self._waiting:
            self._waiting.append(stream)
        self._wake()

    def grant(self, stream: Stream, limit: int) -> None:
        """Tell the peer how far it may send; only the newest limit counts."""
        stream.credit = limit
        self._to_tell[stream.stream_id] = stream
        self._wake()

    def on_read_to_end(self, stream: Stream) -> None:
        """The application has read everything; say so, once."""
        stream.reader.release()
        if self._error is None and stream.stream_id in self._streams:
            self._tell_done(stream)
            self._wake()

    def reset(self, stream: Stream, code: int) -> None:
        """Reset the outgoing direction."""
        self._connection.reset_stream(stream.stream_id, code)
        self._after(stream)

    def stop(self, stream: Stream, code: int) -> None:
        """Stop the incoming direction; where all of it has come in, only the writer waits to hear of it."""
        if stream.reader.ended:
            self._tell_done(stream)
        else:
            self._connection.stop_stream(stream.stream_id, code)
        self._after(stream)

    def _tell_done(self, stream: Stream) -> None:
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

    def _after(self, stream: Stream) -> None:
        asyncio.get_running_loop().call_soon(self._forget_if_finished, stream)
        self._wake()

    def _open(self, stream: Stream, data: bytes, *, end: bool) -> bytes:
        """Take bytes of a header, and with the last of them give the stream to who offers its kind; return the rest."""
        assert stream.opening is not None
        try:
            found = stream.opening.receive(data)
            if found is None and end:
                raise kinds.BadHeader
        except kinds.BadHeader:
            self.refuse(stream, kinds.BAD_HEADER)
            return b""
        if found is not None:
            stream.opened()
            self.reception.arrive(stream, found[0])
            return found[1]
        if stream.opening_timer is None:
            loop = asyncio.get_running_loop()
            stream.opening_timer = loop.call_later(HEADER_TIMEOUT, self.refuse, stream, kinds.BAD_HEADER)
        return b""

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

    def _forget_if_finished(self, stream: Stream) -> None:
        if not stream.finished or self._streams.pop(stream.stream_id, None) is None:
            return
        self._to_tell.pop(stream.stream_id, None)
        stream.part()
        if self._is_own(stream.stream_id):
            self._own -= 1
            self._room.set()
        else:
            self.reception.forget(stream)

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


def _reason(stream: Stream, code: int) -> StreamReset:
    """Return what an end by the peer means: that it does not offer a kind it can say of streams of this side only."""
    if code == kinds.NOT_OFFERED and stream.kind is not None:
        return KindNotOffered(stream.kind)
    return StreamReset(code)
