"""Who may use the relay, and how much of it, without I/O.

Two peers may use it once the hub has forwarded an OFFER of one and then an ANSWER of the other; no longer when either
leaves its room, or RELAY_GRACE after its signaling connection has ended. What is beyond a limit is dropped: the
transport above is QUIC, and slows down.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from visavis_server.core.access.buckets import REFUSAL_INTERVAL
from visavis_server.core.access.rate import SOURCE_CAPACITY, network_of, source_of
from visavis_server.core.relay.books import PAIR_IDLE, Book
from visavis_shared.ids import PEER_ID_BYTES

RELAY_GRACE: Final = 30.0
"""Seconds for which a peer may still be reached after its signaling connection ended: until it is back."""
PAIRS_PER_PEER: Final = 256
"""Introductions remembered for each peer, four times the links of an agent; the oldest make way."""
EARLY_COUNT: Final = 16
"""Messages kept for a peer that is introduced but whose relay connection is still on its way: a first flight."""
EARLY_SIZE: Final = 64 << 10
"""Bytes of them."""
EARLY_TIME: Final = 5.0
"""Seconds for which they are kept."""
BOOK_CAPACITY: Final = 50_000
"""Pairs of addresses whose rate and volume are remembered, at about 200 bytes each; the oldest make way."""

DropCause = Literal[
    "not_introduced", "volume", "address_volume", "sessions", "rate", "address_rate", "early", "unread", "invalid"
]
"""Why a message is dropped: a limit of the pair or of the sender's address; too many for a peer whose connection is on
its way; one that does not read; or it is no message of the relay's."""


@dataclass(frozen=True)
class RelayRules:
    """Limits of the relay; 0 is unlimited."""

    rate: int = 4 << 20
    """Bytes per second of a pair of addresses, both directions together."""
    volume: int = 4 << 30
    """Bytes of a pair of addresses in a day."""
    sessions: int = 32
    """Pairs that each client address sends for at a time."""
    address_rate: int = 16 << 20
    """Bytes per second that a client address sends, whoever for."""
    address_volume: int = 16 << 30
    """Bytes that it sends in a day."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send `body` to the relay connection of `target`, with the sender's id before it."""

    target: str


@dataclass(frozen=True, slots=True)
class Keep:
    """The target's relay connection is not here yet: the message has been kept for it."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The message is dropped; `tell` is the cause if the sender is to hear of it now."""

    tell: DropCause | None


class _Pair:
    """Two peers that have been introduced to each other, or are about to be."""

    __slots__ = ("answered", "book", "offerers", "used_at")

    def __init__(self, book: Book) -> None:
        self.offerers: set[str] = set()
        self.answered = False
        self.book = book
        self.used_at: float | None = None

    def is_active(self, now: float) -> bool:
        return self.used_at is not None and now - self.used_at <= PAIR_IDLE


class _Member:
    """A peer that has a token."""

    __slots__ = ("early", "early_size", "gone_at", "location", "pairs", "source", "token", "told")

    def __init__(self, token: str, location: str) -> None:
        self.token = token
        self.location = location
        """What it is counted under in a pair: the address of its signaling connection; its id where that is unknown."""
        self.source: str | None = None
        """What the address of its relay connection is counted under; None while it has none."""
        self.pairs: OrderedDict[str, _Pair] = OrderedDict()
        """By the other peer's id."""
        self.gone_at: float | None = None
        """When its signaling connection ended."""
        self.early: deque[tuple[float, str, bytes]] = deque()
        self.early_size = 0
        self.told: dict[DropCause, float] = {}
        """When it was last told of each cause."""

    @property
    def site(self) -> str:
        """What it is counted under among those who share places with an address: the network around its own.

        Whoever has one IPv6 /64 has 65,536 of them (RFC 6177).
        """
        return network_of(self.location) if "." in self.location or "/" in self.location else self.location


class Relay:
    """The relay's books. `now` is in seconds on a monotonic clock."""

    def __init__(self, rules: RelayRules) -> None:
        self.rules = rules
        self.connections = 0
        """Relay connections admitted so far."""
        self.relayed = 0
        """Bytes forwarded so far."""
        self.delivered = 0
        """Messages forwarded so far."""
        self.drops: Counter[DropCause] = Counter()
        """Messages dropped so far."""
        self._members: dict[str, _Member] = {}
        """By peer_id: as many as peers, and those gone within RELAY_GRACE."""
        self._tokens: dict[str, str] = {}
        self._addresses: OrderedDict[str, Book] = OrderedDict()
        """By client address, an IPv6 one by its /64; those of late: so that no new connection is a new limit."""
        self._books: OrderedDict[tuple[str, str], Book] = OrderedDict()
        """By the locations of both, the smaller one first; those that were introduced of late."""

    # --- what the hub tells -------------------------------------------------------------------------------------------

    def admit(self, peer_id: str, token: str, location: str = "") -> None:
        """Note a new peer, what its address is counted under, and the token that its relay connection has to show."""
        self._members[peer_id] = _Member(token, location or peer_id)
        self._tokens[token] = peer_id

    def on_directed(self, kind: str, source: str, target: str) -> None:
        """Note an OFFER or ANSWER that is forwarded."""
        ours, theirs = self._members.get(source), self._members.get(target)
        if ours is None or theirs is None:
            return
        pair = ours.pairs.get(target)
        if pair is None:
            pair = _Pair(self._book(ours.location, theirs.location))
            ours.pairs[target] = theirs.pairs[source] = pair
            for peer_id, member in ((source, ours), (target, theirs)):
                if len(member.pairs) > PAIRS_PER_PEER:
                    self._forget_pair(peer_id, next(iter(member.pairs)))
        if kind == "OFFER":
            pair.offerers.add(source)
        elif target in pair.offerers:
            pair.answered = True

    def on_left(self, peer_id: str) -> None:
        """A peer has left its room: its introductions are void."""
        member = self._members.get(peer_id)
        if member is not None:
            for other in list(member.pairs):
                self._forget_pair(peer_id, other)

    def on_gone(self, peer_id: str, now: float) -> None:
        """A peer's signaling connection has ended."""
        member = self._members.get(peer_id)
        if member is not None:
            member.gone_at = now

    def take_over(self, peer_id: str, fresh_id: str, now: float) -> None:
        """The peer admitted as `fresh_id` is `peer_id` again, whose token its own becomes."""
        fresh = self._members[fresh_id]
        member = self._members.setdefault(peer_id, _Member("", fresh.location))
        if fresh.location != fresh_id:
            member.location = fresh.location
        self._tokens.pop(member.token, None)
        member.token, fresh.token = fresh.token, ""
        self._tokens[member.token] = peer_id
        member.gone_at, fresh.gone_at = None, now

    def active_pairs(self, now: float) -> int:
        """Return how many pairs have had traffic of late."""
        ends = sum(pair.is_active(now) for member in self._members.values() for pair in member.pairs.values())
        return ends // 2  # each pair stands with both of its members

    def handle_timer(self, now: float) -> list[str]:
        """Forget who is gone for good; return those whose relay connection is to be closed."""
        over = [
            peer_id
            for peer_id, member in self._members.items()
            if member.gone_at is not None and now - member.gone_at >= RELAY_GRACE
        ]
        for peer_id in over:
            self.on_left(peer_id)
            self.disconnect(peer_id)
            self._tokens.pop(self._members.pop(peer_id).token, None)
        for member in self._members.values():
            if member.early and now - member.early[0][0] > EARLY_TIME:
                member.early.clear()
                member.early_size = 0
        return over

    # --- what relay connections do ------------------------------------------------------------------------------------

    def peer_of(self, token: str) -> str | None:
        """Return the peer that a token stands for."""
        return self._tokens.get(token)

    def connect(self, peer_id: str, address: str, now: float) -> list[tuple[str, bytes]]:
        """Note that a peer with a token has a relay connection now; return the messages (sender, body) kept for it."""
        member = self._members[peer_id]
        self.disconnect(peer_id)
        self.connections += 1
        member.source = source_of(address)
        kept = [(source, body) for at, source, body in member.early if now - at <= EARLY_TIME]
        member.early.clear()
        member.early_size = 0
        return kept

    def disconnect(self, peer_id: str) -> None:
        """The relay connection of a peer has ended."""
        member = self._members.get(peer_id)
        if member is not None:
            member.source = None

    def forward(self, source: str, message: bytes | bytearray, now: float) -> Forward | Keep | Drop:
        """Decide on a message: the target's id and a body."""
        target = message[:PEER_ID_BYTES].hex()
        ours = self._members[source]
        pair = ours.pairs.get(target)
        if pair is None or not pair.answered:
            return self._drop(ours, "not_introduced", now)
        size = len(message) - PEER_ID_BYTES
        assert ours.source is not None  # it has just sent this
        peers = min(source, target), max(source, target)
        origin = _remembered(self._addresses, ours.source, Book, SOURCE_CAPACITY)
        theirs = self._members[target]
        cause = self._beyond(pair.book, origin, peers, theirs.site, size, now)
        if cause is not None:
            return self._drop(ours, cause, now)
        pair.used_at = now
        if self.rules.sessions:
            origin.use(peers, theirs.site, self.rules.sessions, now)
        pair.book.count(size)
        origin.count(size)
        self.relayed += size
        if theirs.source is not None:
            self.delivered += 1
            return Forward(target)
        if self._keeps(theirs, source, bytes(message[PEER_ID_BYTES:]), now):
            return Keep()
        return self._drop(ours, "early", now)

    def on_unread(self, source: str, now: float) -> Drop:
        """Note that a message could not be delivered, for its addressee does not read."""
        return self._drop(self._members[source], "unread", now)

    def on_invalid(self, source: str, now: float) -> Drop:
        """Note that a connection has brought what is no message."""
        return self._drop(self._members[source], "invalid", now)

    def _book(self, first: str, second: str) -> Book:
        return _remembered(self._books, (min(first, second), max(first, second)), Book, BOOK_CAPACITY)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _keeps(self, member: _Member, source: str, body: bytes, now: float) -> bool:
        if len(member.early) >= EARLY_COUNT or member.early_size + len(body) > EARLY_SIZE:
            return False
        member.early.append((now, source, body))
        member.early_size += len(body)
        return True

    def _beyond(
        self, pair: Book, origin: Book, peers: tuple[str, str], other: str, size: int, now: float
    ) -> DropCause | None:
        """Return the limit beyond which so many bytes are: of the pair of addresses, or of the sender's own.

        `other` is what the other end is counted under.
        """
        rules = self.rules
        if not pair.has_volume(size, rules.volume, now):
            return "volume"
        if not origin.has_volume(size, rules.address_volume, now):
            return "address_volume"
        if not origin.has_place(peers, other, rules.sessions, now):
            return "sessions"
        if not pair.bucket.allow(size, rules.rate, now):
            return "rate"
        return None if origin.bucket.allow(size, rules.address_rate, now) else "address_rate"

    def _drop(self, member: _Member, cause: DropCause, now: float) -> Drop:
        self.drops[cause] += 1
        if now - member.told.get(cause, -REFUSAL_INTERVAL) < REFUSAL_INTERVAL:
            return Drop(None)
        member.told[cause] = now
        return Drop(cause)

    def _forget_pair(self, peer_id: str, other: str) -> None:
        del self._members[peer_id].pairs[other], self._members[other].pairs[peer_id]


_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


def _remembered(table: OrderedDict[_K, _V], key: _K, make: Callable[[], _V], capacity: int) -> _V:
    """Return what a table has for a key, made if need be; beyond its capacity the oldest makes way."""
    found = table.get(key)
    if found is None:
        found = table[key] = make()
        if len(table) > capacity:
            table.popitem(last=False)
    table.move_to_end(key)
    return found
