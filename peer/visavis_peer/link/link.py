"""What an application has of a link to one peer, and of its streams.

What the agent does with a link, and what comes in on it, is the matter of the association behind it
(`link.association`) and of the parts of its streams (`link.reader`, `link.writer`): these are small objects in front.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from visavis_peer.core.link.kinds import CODE_MAX
from visavis_peer.errors import AgentError, LinkClosed

if TYPE_CHECKING:  # the engine is imported when it is needed
    from visavis_peer.events import PathInfo
    from visavis_peer.link.association import Association
    from visavis_peer.link.reader import ReceivingPart
    from visavis_peer.link.writer import SendingPart

Handler = Callable[["StreamReader", "StreamWriter"], Coroutine[Any, Any, None]]
"""What `Link.serve` is given."""


class StreamReader:
    """The incoming direction of a stream: `async for data in reader`, or by `read` and `readexactly`.

    Each piece of data that is read lets the peer send as much more. What a link's end has cut off raises LinkClosed;
    what had come in and was not read is lost then.
    """

    __slots__ = ("__weakref__", "_part")

    def __init__(self, part: ReceivingPart) -> None:
        """`part` is the link's side; an application never makes a reader."""
        self._part = part

    @property
    def stream_id(self) -> int:
        """Number of the stream (RFC 9000 section 2.1); the two directions and both sides share it."""
        return self._part.stream_id

    def at_eof(self) -> bool:
        """Return whether the peer has ended the stream and everything has been read."""
        return self._part.at_eof()

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, waiting for at least one; with -1 everything until the peer ends the stream.

        Returns b"" at the end. Raises StreamReset when the peer has given up the stream, LinkClosed.
        """
        return await self._part.read(size)

    async def readexactly(self, size: int) -> bytes:
        """Return `size` bytes.

        Raises asyncio.IncompleteReadError when the stream ends before, StreamReset, LinkClosed.
        """
        return await self._part.readexactly(size)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._part)

    def stop(self, code: int = 0) -> None:
        """Read no further: what is unread is dropped, and the peer's writer raises StreamReset. Idempotent.

        `code`, 0 to 2**32 - 1, is the application's own number for the reason. Raises ValueError for another one.
        """
        self._part.stop(_checked(code))


class StreamWriter:
    """The outgoing direction of a stream: `write` and `drain`, then `write_eof` and `wait_closed`."""

    __slots__ = ("__weakref__", "_part")

    def __init__(self, part: SendingPart) -> None:
        """`part` is the link's side; an application never makes a writer."""
        self._part = part

    @property
    def stream_id(self) -> int:
        """Number of the stream (RFC 9000 section 2.1); the two directions and both sides share it."""
        return self._part.stream_id

    @property
    def read_size(self) -> int:
        """Bytes that the peer's application has read, as far as is known: at least so many."""
        return self._part.read_size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, after what was written before; returns at once, whatever is still on its way.

        Raises StreamReset when the peer reads no further, LinkClosed, RuntimeError after `write_eof`, TypeError for
        what is no bytes.
        """
        self._part.write(data)

    async def drain(self) -> None:
        """Wait until there is room for more: until less than 512 KiB wait here, or 8 KiB where a link has many streams.

        Raises StreamReset, LinkClosed.
        """
        await self._part.drain()

    def write_eof(self) -> None:
        """End this direction, after everything that was written; the other one stays open. Idempotent."""
        self._part.write_eof()

    def close(self) -> None:
        """Do as `write_eof`."""
        self._part.write_eof()

    async def wait_closed(self) -> None:
        """Wait until the peer's application has read everything to the end, which `write_eof` has to be called for.

        Raises StreamReset when it gave up, LinkClosed.
        """
        await self._part.wait_closed()

    def reset(self, code: int = 0) -> None:
        """Give up this direction: what has not arrived is dropped, the peer's reader raises StreamReset. Idempotent.

        `code`, 0 to 2**32 - 1, is the application's own number for the reason. Raises ValueError for another one.
        """
        self._part.reset(_checked(code))


class Link:
    """Streams and datagrams to and from one peer, encrypted end to end.

    The agent makes it (`Agent.links`), one object for as long as the link lasts. It outlives its paths, the connection
    to the signaling server, and an authenticated peer's sleep. What it tells of the peer changes while it lasts: the
    peer may come back under another id. Once it is gone it stays so, and what is asked of it raises LinkClosed.
    """

    __slots__ = ("__weakref__", "_association")

    def __init__(self, association: Association) -> None:
        """`association` is the agent's side; an application never makes a link."""
        self._association = association

    def __repr__(self) -> str:
        return f"Link({self._association.peer_id}, {self._association.state})"

    # --- whose it is --------------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> str:
        """The peer's id in the room; another one when the peer had to join anew."""
        return self._association.peer_id

    @property
    def name(self) -> str | None:
        """The name that the peer has given itself, 1 to 64 characters; None where it has none.

        Any peer may take any name: `fingerprint` tells two of one name apart.
        """
        return self._association.name

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the peer's certificate, of which it has proved the key.

        The certificate is made anew with each process, and is the same for all links of it.
        """
        return self._association.fingerprint

    @property
    def authenticated(self) -> bool:
        """Whether the peer has proved to know the room's secret; otherwise it is whoever the server says."""
        return self._association.authenticated

    @property
    def is_offerer(self) -> bool:
        """Whether it was this side that offered the link: True on one side and False on the other.

        It serves where one of the two has to begin, as the one that opens a stream and the one that accepts it.
        """
        return self._association.is_offerer

    # --- how it is ----------------------------------------------------------------------------------------------------

    @property
    def path(self) -> PathInfo:
        """The path that the link uses, or the last one while there is none; PathChanged tells of another one."""
        return self._association.path

    @property
    def silence(self) -> float:
        """Seconds since the peer has last given a sign of life; it is asked for one after 5 s."""
        return self._association.silence

    @property
    def suspended(self) -> bool:
        """Whether the link waits for a peer that has been silent for 26 s, as one that is asleep."""
        return self._association.suspended_at is not None

    @property
    def patience(self) -> float:
        """Seconds of silence, counted from their beginning, after which a suspended link is over.

        It is the smaller of both sides' `AgentSettings.patience`. Without `authenticated`, or after the peer has left
        the room, the link is over after 26 s whatever this says.
        """
        return self._association.patience

    @property
    def closed_reason(self) -> str | None:
        """Why the link is gone, in words for a person; None while it is not."""
        return self._association.closed_reason

    @property
    def error(self) -> AgentError | None:
        """The same as an exception: Refused, AuthenticationFailed or LinkClosed; None while the link is not gone."""
        return self._association.error

    # --- streams ------------------------------------------------------------------------------------------------------

    async def open_stream(self, kind: str) -> tuple[StreamReader, StreamWriter]:
        """Open a stream of `kind`; waits while 64 that this side has opened are open.

        A kind is 1 to 63 of the characters a-z 0-9 . _ / - and says what the stream is for: the peer's program gets it
        by `serve` or `accept_stream` with the same one. Where it offers no such kind, reader and writer raise
        KindNotOffered. Those that begin with `visavis/` are described in docs/link.md.

        Raises LinkClosed, or ValueError for what cannot be a kind.
        """
        incoming, outgoing = await self._association.streams.open(kind)
        return StreamReader(incoming), StreamWriter(outgoing)

    async def serve(self, kind: str, handler: Handler) -> None:
        """Run `handler(reader, writer)`, a coroutine function, for each stream of `kind` that the peer opens.

        Each has a task of its own, at most 64 at a time; what a handler leaves of its stream is ended when it returns:
        its writer as by `write_eof`, its reader as by `stop`. StreamReset and LinkClosed end that handler only. Any
        other exception is raised here, and ends the other handlers of this kind; the peer's reader and writer then
        raise StreamReset, as they do when this call is cancelled.

        Returns once the link is gone; handlers that have not ended 5 s after that are cancelled. Raises ValueError for
        what cannot be a kind, RuntimeError for one that is taken already.
        """
        from visavis_peer.link import serving

        async def handle(incoming: ReceivingPart, outgoing: SendingPart) -> None:
            await handler(StreamReader(incoming), StreamWriter(outgoing))

        await serving.serve(self._association, kind, handle)

    async def accept_stream(self, kind: str) -> tuple[StreamReader, StreamWriter]:
        """Return the next stream of `kind` that the peer has opened, waiting for it.

        For a program that takes one after another; from the first call on the kind is offered. Raises LinkClosed,
        ValueError for what cannot be a kind, RuntimeError for one that `serve` takes.
        """
        incoming, outgoing = await self._association.streams.accept(kind)
        return StreamReader(incoming), StreamWriter(outgoing)

    # --- datagrams ----------------------------------------------------------------------------------------------------

    @property
    def datagram_size(self) -> int:
        """Bytes of a datagram at most, the same on every path."""
        return self._association.datagram_size

    def send_datagram(self, data: bytes) -> None:
        """Send `data`, at most `datagram_size` bytes; it may be lost or overtaken, as with UDP.

        While the peer is silent it is lost, at the latest when the link is suspended.

        Raises LinkClosed, or ValueError when it is too large.
        """
        self._association.send_datagram(data)

    async def receive_datagram(self) -> bytes:
        """Return the next datagram, waiting for it; 1,024 are kept for a reader that is busy, the oldest are dropped.

        Raises LinkClosed once the link is gone and everything received has been returned.
        """
        return await self._association.datagrams.receive()

    async def datagrams(self) -> AsyncIterator[bytes]:
        """Yield the datagrams, until the link is gone and everything received has been yielded."""
        while True:
            try:
                datagram = await self._association.datagrams.receive()
            except LinkClosed:
                return
            yield datagram

    # --- the link itself ----------------------------------------------------------------------------------------------

    async def ping(self, timeout: float) -> float:
        """Return the seconds of one round trip to the peer's agent and back.

        Raises PeerAbsent when nothing comes back within `timeout` seconds, LinkClosed when the link is gone.
        """
        return await self._association.datagrams.ping(timeout)

    async def wait_closed(self) -> str:
        """Wait until the link is gone and return `closed_reason`."""
        return await self._association.wait_closed()

    def close(self, reason: str = "", *, refuse: bool = False) -> None:
        """End the link at once, with all of its streams, and tell the peer the `reason`. Idempotent.

        With `refuse` the peer is told that it is not wanted: its side raises Refused. Streams that are to be read to
        their end are waited for by `StreamWriter.wait_closed` before.
        """
        self._association.close(reason, refuse=refuse)


def _checked(code: object) -> int:
    if not isinstance(code, int) or not 0 <= code <= CODE_MAX:
        raise ValueError(f"the code of a stream's end is a whole number from 0 to 2**32 - 1, not {code!r}")
    return code
