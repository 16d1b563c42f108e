"""What one step wants done, collected in order; what is sent to a peer that may be away goes into its mailbox, too."""

from __future__ import annotations

from visavis_server.core.signaling import replies
from visavis_server.core.signaling.counts import Counts
from visavis_server.core.signaling.effects import Effect, Send
from visavis_server.core.signaling.mailbox import Kind
from visavis_server.core.signaling.room import Peer, Room
from visavis_shared.errors import RemoteProtocolError


class Post:
    """The effects of the step under way."""

    def __init__(self, counts: Counts) -> None:
        """`counts` is told of every ERROR."""
        self.effects: list[Effect] = []
        self._counts = counts

    def take(self) -> list[Effect]:
        """End the step; return what is to be done."""
        effects, self.effects = self.effects, []
        return effects

    def send(self, peer: Peer, data: bytes) -> None:
        """Send one message of the server's own to a peer that has a connection."""
        if peer.mailbox is not None:
            peer.mailbox.add(Kind.REPLY, data)
        self.effects.append(Send((peer.peer_id,), data))

    def announce(self, room: Room, to: tuple[str, ...], data: bytes) -> None:
        """Tell members of an event; those of them that are away have no connection that it could go to."""
        for mailbox in room.kept.values():
            mailbox.add(Kind.EVENT, data)
        if to:
            self.effects.append(Send(to, data))

    def refuse(self, peer: Peer, error: RemoteProtocolError, now_ms: int, request_id: str | None) -> None:
        """Answer a message of a peer with ERROR."""
        self._counts.errors[error.code] += 1
        self.send(peer, replies.error(error.code, error.message, error.details, now_ms, request_id))
