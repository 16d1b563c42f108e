"""The records of `Rooms`: peers and the rooms that they are in. A connection is something else (`edge.Client`)."""

from __future__ import annotations

from visavis_server.core.access.grants import Grants
from visavis_server.core.signaling.charter import Charter, identity_of
from visavis_server.core.signaling.mailbox import Mailbox
from visavis_shared.messages import Departure, Endpoint, PeerInfo, SelfDescription, encode


class Peer:
    """Whoever goes by a peer_id: connected, or away for a short while."""

    __slots__ = (
        "away_because",
        "away_since",
        "counter",
        "display_name",
        "endpoint",
        "first_accepted",
        "fresh",
        "grants",
        "info",
        "joined_at",
        "mailbox",
        "peer_id",
        "refresh_at",
        "room",
        "shows_seen",
        "source",
        "token",
    )

    def __init__(self, peer_id: str, now: float, source: str = "", token: str = "") -> None:
        """`source` is what its connection is counted under (buckets.counted_source)."""
        self.peer_id = peer_id
        self.shows_seen = False
        """Whether those it sends OFFER and ANSWER to are told the address of its connection."""
        self.source = source
        """What its mailbox and bans are counted under: its connection, while it is away the last one."""
        self.token = token
        """What it has shown when it connected, for every JOIN that brings no token; empty without one. Never logged."""
        self.room: Room | None = None
        self.display_name: str | None = None
        """Kept over LEAVE and a later JOIN without one."""
        self.endpoint: Endpoint | None = None
        """Kept like the name."""
        self.fresh: str | None = None
        """Kept like the name."""
        self.info = b""
        """PeerInfo as JSON while in a room: encoded once a JOIN, spliced into every list."""
        self.mailbox: Mailbox | None = None
        """What it may have missed, when it has asked to be kept."""
        self.away_since: float | None = None
        """When its connection was lost; None while it has one."""
        self.away_because = Departure.CLOSED
        """Why, as the room is told when it does not come back."""
        self.joined_at = 0
        """When it joined its room, in milliseconds since the epoch."""
        self.counter = 0
        """Of its current resume token."""
        self.grants = Grants(())
        """Those with which it joined its room."""
        self.first_accepted = 0
        """The lowest counter that a resume token of this peer may have."""
        self.refresh_at = now
        """When its resume token is to be replaced."""

    def take_description(self, told: SelfDescription) -> None:
        """Note what the client says of itself; what it does not mention stays."""
        self.display_name = told.display_name or self.display_name
        self.endpoint = told.endpoint or self.endpoint
        self.fresh = told.fresh or self.fresh
        self.shows_seen = bool(told.show_seen)

    def describe(self, joined_at: int) -> None:
        """Fix what the room is told of this peer; `joined_at` in milliseconds since the epoch."""
        self.joined_at = joined_at
        self.info = encode(
            PeerInfo(
                peer_id=self.peer_id,
                display_name=self.display_name,
                endpoint=self.endpoint,
                fresh=self.fresh,
                joined_at=joined_at,
            )
        )

    @property
    def identity(self) -> str:
        """What a ban holds on to."""
        return identity_of(self.peer_id, self.source, self.grants.subject)

    def __repr__(self) -> str:
        return f"<Peer {self.peer_id} in {self.room!r}>"


class Room:
    """A room and its members in the order in which they joined."""

    __slots__ = ("charter", "created_at", "empty_at", "kept", "members", "private", "room_id", "seq")

    def __init__(self, room_id: str, created_at: int, now: float, *, private: bool = False) -> None:
        """`created_at` in milliseconds since the epoch, `now` in seconds on the loop's clock."""
        self.room_id = room_id
        self.private = private
        """Whether it is shown to its members only; its charter then has a password and no owner."""
        self.created_at = created_at
        self.members: dict[str, Peer] = {}
        self.charter: Charter | None = None
        """Its rules, if it belongs to somebody."""
        self.kept: dict[str, Mailbox] = {}
        """The mailboxes of the members that may be away."""
        self.seq = 0
        """Number of the last PEER_JOINED or PEER_LEFT."""
        self.empty_at = now
        """Since when the room is empty; meaningless while it has members."""

    @property
    def peer_ids(self) -> tuple[str, ...]:
        """The members, first come first."""
        return tuple(self.members)

    def others(self, peer: Peer) -> tuple[str, ...]:
        """Return the members other than `peer`."""
        return tuple(peer_id for peer_id in self.members if peer_id != peer.peer_id)

    def __repr__(self) -> str:
        return f"<Room {self.room_id!r} {len(self.members)} members seq {self.seq}>"
