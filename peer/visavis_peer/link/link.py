"""What an application has of a link to one peer.

What the agent does with a link, and what comes in on it, is the matter of the association behind it: this is a small
object in front of that (`link.association`), with nothing in it that could break a link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from visavis_peer.errors import AgentError, LinkClosed

if TYPE_CHECKING:  # the engine is imported when it is needed
    from visavis_peer.core.events import PathInfo
    from visavis_peer.link.association import Association
    from visavis_peer.link.streams import StreamReader, StreamWriter


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

    async def open_stream(self) -> tuple[StreamReader, StreamWriter]:
        """Open a stream; waits while 64 that this side has opened are open. The peer gets it by `accept_stream`.

        Raises LinkClosed.
        """
        return await self._association.open_stream()

    async def accept_stream(self) -> tuple[StreamReader, StreamWriter]:
        """Return the next stream that the peer has opened, waiting for it.

        Raises LinkClosed.
        """
        return await self._association.accept_stream()

    async def streams(self) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
        """Yield the streams that the peer opens, until the link is gone."""
        while True:
            try:
                stream = await self._association.accept_stream()
            except LinkClosed:
                return
            yield stream

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
        return await self._association.receive_datagram()

    async def datagrams(self) -> AsyncIterator[bytes]:
        """Yield the datagrams, until the link is gone and everything received has been yielded."""
        while True:
            try:
                datagram = await self._association.receive_datagram()
            except LinkClosed:
                return
            yield datagram

    # --- the link itself ----------------------------------------------------------------------------------------------

    async def ping(self, timeout: float) -> float:
        """Return the seconds of one round trip to the peer's agent and back.

        Raises PeerAbsent when nothing comes back within `timeout` seconds, LinkClosed when the link is gone.
        """
        return await self._association.ping(timeout)

    async def wait_closed(self) -> str:
        """Wait until the link is gone and return `closed_reason`."""
        return await self._association.wait_closed()

    def close(self, reason: str = "", *, refuse: bool = False) -> None:
        """End the link at once, with all of its streams, and tell the peer the `reason`. Idempotent.

        With `refuse` the peer is told that it is not wanted: its side raises Refused. Streams that are to be read to
        their end are waited for by `StreamWriter.wait_closed` before.
        """
        self._association.close(reason, refuse=refuse)
