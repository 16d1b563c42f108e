"""What may be seen of a server's rooms from outside: by REST, by the operator, by metrics. Nothing here changes any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from visavis_server.core.signaling.counts import Counts
from visavis_server.core.signaling.room import Room
from visavis_server.core.signaling.rooms import Rooms
from visavis_server.core.signaling.rules import Exposure
from visavis_shared.messages import RoomTerms


class RoomSummary(msgspec.Struct, frozen=True, gc=False):
    """What anybody may know of an open room."""

    room_id: str
    member_count: int
    created_at: int
    """Milliseconds since the epoch."""


class RoomMembers(msgspec.Struct, frozen=True):
    """A room with its members, first come first."""

    summary: RoomSummary
    infos: tuple[bytes, ...]
    """The PeerInfo of each, as JSON."""


class MemberRecord(msgspec.Struct, frozen=True):
    """What the operator is told of a member."""

    info: bytes
    """PeerInfo as JSON."""
    away: bool
    subject: str
    """Who its token says that it is; empty without one."""


class RoomRecord(msgspec.Struct, frozen=True):
    """What the operator is told of a room."""

    room_id: str
    private: bool
    seq: int
    """Number of the last event."""
    owner_id: str | None
    """Empty for a room with rules that belongs to nobody, None for one without rules."""
    rules: RoomTerms | None
    members: tuple[MemberRecord, ...]


class Overview:
    """Reads what there is now."""

    def __init__(self, rooms: Rooms, counts: Counts) -> None:
        self.counts = counts
        """What the server has done so far."""
        self._rooms = rooms

    @property
    def exposure(self) -> Exposure:
        """What is shown to whoever asks."""
        return self._rooms.rules.exposure

    @property
    def room_capacity(self) -> int:
        """Peers of a room without rules of its own at most; 0 for unlimited."""
        return self._rooms.rules.room_capacity

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self._rooms.draining

    @property
    def peer_count(self) -> int:
        """Peers, those away included."""
        return len(self._rooms.peers)

    @property
    def member_count(self) -> int:
        """Peers in rooms, those away included."""
        return self._rooms.member_count

    @property
    def away_count(self) -> int:
        """Peers kept after their connection was lost."""
        resumption = self._rooms.resumption
        return 0 if resumption is None else len(resumption.away)

    @property
    def mailbox_bytes(self) -> int:
        """Bytes kept for peers that may resume."""
        resumption = self._rooms.resumption
        return 0 if resumption is None else resumption.space.used

    @property
    def room_count(self) -> int:
        """Rooms, open and private, empty ones included."""
        return self._rooms.room_count

    @property
    def open_count(self) -> int:
        """Open rooms, empty ones included."""
        return len(self._rooms.open)

    def names(self) -> list[str]:
        """Return the names of the open rooms, in order of their names."""
        return sorted(self._rooms.open)

    def open_rooms(self, names: Iterable[str] | None = None) -> Iterator[RoomSummary]:
        """Yield the open rooms, oldest first; or those of `names` that exist."""
        rooms = self._rooms.open
        shown = rooms.values() if names is None else [rooms[name] for name in names if name in rooms]
        return map(_summary, shown)

    def shows_members(self, room_id: str) -> bool:
        """Whether the members of an open room may be shown to others; True if there is none."""
        room = self._rooms.open.get(room_id)
        return room is None or room.charter is None or not room.charter.is_private

    def open_room(self, room_id: str) -> RoomMembers | None:
        """Return an open room, None if there is none."""
        room = self._rooms.open.get(room_id)
        return None if room is None else RoomMembers(_summary(room), tuple(each.info for each in room.members.values()))

    def records(self, now: float) -> Iterator[RoomRecord]:
        """Yield all rooms, the open ones first; `now` is in seconds on the monotonic clock."""
        return (_record(room, now) for room in self._rooms.all())


def _summary(room: Room) -> RoomSummary:
    return RoomSummary(room.room_id, len(room.members), room.created_at)


def _record(room: Room, now: float) -> RoomRecord:
    members = tuple(
        MemberRecord(peer.info, peer.away_since is not None, peer.grants.subject) for peer in room.members.values()
    )
    charter = room.charter
    owner_id, rules = (None, None) if charter is None else (charter.owner_id, charter.describe(now))
    return RoomRecord(room.room_id, room.private, room.seq, owner_id, rules, members)
