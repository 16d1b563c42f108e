"""The rules of a room that somebody owns: capacity, password, lock, bans and time to live.

A room that comes into being by a plain JOIN has none of these, and belongs to nobody.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from typing import Final, Self

from visavis_server.core.access.gate import cannot_join
from visavis_server.core.access.guessing import PRIVATE_NOTICE_COUNT, Suspicion
from visavis_shared.messages import RoomTerms

BAN_COUNT: Final = 256
"""Bans of one room; beyond that the oldest ends."""
DIGEST_SIZE: Final = hashlib.sha256().digest_size
"""Bytes that are kept of a password."""


class Charter:
    """The rules of one room."""

    __slots__ = ("_banned", "_password", "capacity", "closes_at", "locked", "owner_id", "suspicion", "visitors")

    def __init__(self, owner_id: str) -> None:
        self.owner_id = owner_id
        """Who may change the rules; it stays so when it leaves and comes back."""
        self.capacity = 0
        """Peers at most, 0 for as many as in any room."""
        self.locked = False
        """Whether nobody may join any more."""
        self.closes_at: float | None = None
        """When the room is closed; None if never."""
        self._password: bytes | None = None
        """Its digest."""
        self._banned: OrderedDict[str, None] = OrderedDict()
        self.suspicion = Suspicion()
        self.visitors = Suspicion(PRIVATE_NOTICE_COUNT)
        """The same, for the members of a private room."""

    @classmethod
    def of_private_room(cls, password: bytes) -> Self:
        """Return the charter of a private room, whose password has this digest: nobody's, and nobody changes it."""
        charter = cls("")
        charter._password = password
        return charter

    @property
    def password(self) -> bytes | None:
        """The digest of the password; None where there is none."""
        return self._password

    @property
    def is_private(self) -> bool:
        """Whether members are shown to members only, whatever the server shows of others."""
        return self.locked or self._password is not None

    def change(self, terms: RoomTerms, now: float) -> None:
        """Apply the rules that are given; an empty password removes it, a time to live of 0 ends it."""
        if terms.capacity is not None:
            self.capacity = terms.capacity
        if terms.locked is not None:
            self.locked = terms.locked
        if terms.password is not None:
            self._password = digest(terms.password) if terms.password else None
        if terms.ttl is not None:
            self.closes_at = now + terms.ttl if terms.ttl else None

    def describe(self, now: float) -> RoomTerms:
        """Return the rules as they are now; of the password only whether there is one (as an empty text, or none)."""
        return RoomTerms(
            capacity=self.capacity,
            locked=self.locked,
            password="" if self._password is not None else None,
            ttl=None if self.closes_at is None else max(0.0, round(self.closes_at - now, 3)),
        )

    def needs_password(self, identity: str, peer_id: str) -> bool:
        """Check that somebody may join, the password aside; returns whether that has to be shown.

        The owner may come back to a locked room, and needs no password.

        Raises RemoteProtocolError (UNAUTHORIZED).
        """
        self.check_ban(identity)
        if peer_id and peer_id == self.owner_id:
            return False
        if self.locked:
            raise cannot_join("the room is locked")
        return self._password is not None

    def opens(self, shown: bytes) -> bool:
        """Whether this is the digest of the password; in constant time."""
        return self._password is not None and hmac.compare_digest(self._password, shown)

    def check_ban(self, identity: str) -> None:
        """Check that somebody is not banned.

        Raises RemoteProtocolError (UNAUTHORIZED).
        """
        if identity in self._banned:
            raise cannot_join("you are banned from the room")

    def ban(self, identity: str) -> None:
        """Let somebody in no more."""
        self._banned[identity] = None
        if len(self._banned) > BAN_COUNT:
            self._banned.popitem(last=False)


def identity_of(peer_id: str, source: str, subject: str) -> str:
    """Return what a ban holds on to: who the token says it is, else the address, else the peer's id."""
    if subject:
        return f"subject {subject}"
    return f"address {source}" if source else f"peer {peer_id}"


def digest(password: str) -> bytes:
    """Return what is kept of a password."""
    # in memory only, and for as long as the room: no work factor is needed against a stolen table
    return hashlib.sha256(password.encode()).digest()
