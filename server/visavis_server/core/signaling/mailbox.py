"""What a peer that may resume was sent and may have missed.

Messages are numbered from 1 on, counted from the ACK that carried the peer's resume token. While the peer is connected
the last ones are kept, for those on their way when a connection breaks are lost with it; while it is away all are kept
that fit. On its return it says how many it has received, and gets the others once and in order.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum, auto
from typing import Final, NamedTuple

from visavis_server.core.signaling.intake import Intake

MAILBOX_COUNT: Final = 512
"""Messages for one peer: an OFFER and some candidates from each of the 64 peers that an agent links with."""
MAILBOX_SIZE: Final = 256 << 10
"""Bytes of these: 64 descriptions of 4 KiB."""
SENDER_COUNT: Final = MAILBOX_COUNT // 4
"""Directed messages of one sender (an address, an IPv6 /64) in a mailbox: nobody fills it alone."""
SENDER_SIZE: Final = MAILBOX_SIZE // 4
"""Bytes of these: 16 descriptions of 4 KiB, or two messages of the largest size."""
SPACE: Final = 64 << 20
"""Bytes in all mailboxes of a server together: what a small host has to spare, 6 KiB for each of 10,000 peers."""
SHARE: Final = SPACE // 16
"""Bytes of these in the mailboxes of one address (an IPv6 /64): 16 that are full, or 64 KiB for each of 64 peers."""
SENDER_SHARE: Final = SPACE // 64
"""Bytes of these that come from one address: 1 MiB, a few descriptions for each of 64 peers."""


class Kind(Enum):
    """What a message is to its addressee."""

    EVENT = auto()
    """PEER_JOINED or PEER_LEFT: a list of the members says the same."""
    DIRECTED = auto()
    """OFFER, ANSWER or CANDIDATE: nobody else can say it again."""
    REPLY = auto()
    """An answer to the peer itself, which can ask again."""


class Letter(NamedTuple):
    """A message in a mailbox."""

    number: int
    kind: Kind
    data: bytes
    sender_id: str
    """Of a directed message, else empty."""
    request_id: str | None
    """Of a directed message."""
    sender: str = ""
    """What the sender of a directed message is counted under: its address, or its id where that is unknown."""


class Space:
    """The bytes that all mailboxes share."""

    __slots__ = ("_limit", "_sender_share", "_senders", "_share", "_sources", "used")

    def __init__(self, limit: int = SPACE, share: int = SHARE, sender_share: int = SENDER_SHARE) -> None:
        self._limit = limit
        self._share = share
        self._sender_share = sender_share
        self._senders: Counter[str] = Counter()
        """Bytes by what the senders of directed messages are counted under; those that have any."""
        self._sources: Counter[str] = Counter()
        """Bytes by what the owners' addresses are counted under; those that have any."""
        self.used = 0

    def fits(self, size: int, source: str = "") -> bool:
        """Whether `size` more bytes may be kept for a peer of this source; an empty one has no share of its own."""
        return self.used + size <= self._limit and (not source or self._sources[source] + size <= self._share)

    def has_share(self, size: int, sender: str) -> bool:
        """Whether `size` more bytes of a sender may be kept."""
        return self._senders[sender] + size <= self._sender_share

    def charge_sender(self, size: int, sender: str) -> None:
        """Note that so many bytes more, or fewer, are kept of a sender."""
        self._senders[sender] += size
        if not self._senders[sender]:
            del self._senders[sender]

    def charge(self, size: int, source: str = "") -> None:
        """Note that so many bytes more, or fewer, are kept."""
        self.used += size
        self._sources[source] += size
        if not self._sources[source]:
            del self._sources[source]


class Mailbox:
    """The messages of one peer."""

    __slots__ = (
        "_evicted",
        "_incomplete",
        "_letters",
        "_lost",
        "_parked_from",
        "_senders",
        "_size",
        "_source",
        "_space",
        "_sweeps",
        "intake",
        "sent",
    )

    def __init__(self, space: Space, source: str = "") -> None:
        """`source` is what the peer's address is counted under."""
        self._source = source
        self.intake = Intake()
        """What has come from the peer itself in that time."""
        self._space = space
        self._letters: deque[Letter] = deque()
        self._size = 0
        self._senders: dict[str, tuple[int, int]] = {}
        """Number and bytes of the directed messages of each sender that are kept."""
        self._sweeps: deque[tuple[float, int]] = deque()
        """Time and `sent` of the last calls of `forget_old`."""
        self.sent = 0
        """Number of the last message."""
        self._lost = 0
        """Number of the last message that is not kept any more."""
        self._incomplete = False
        """Whether events were dropped while the peer was away."""
        self._evicted: list[Letter] = []
        """Directed messages that have made way and whose senders do not know; taken after each `add`."""
        self._parked_from: int | None = None
        """While the peer is away: number of the last message that was written to its connection."""

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def away(self) -> bool:
        """Whether the peer has no connection."""
        return self._parked_from is not None

    def add(
        self, kind: Kind, data: bytes, sender_id: str = "", request_id: str | None = None, sender: str = ""
    ) -> bool:
        """Keep one message; `sender` is what the sender of a directed one is counted under, empty for its id.

        While the peer is connected older ones make way. While it is away events and replies make way for directed
        messages, for which there may be no space: False then, and nothing is kept. Who has more in it makes way for
        who has less, which `take_evicted` tells.
        """
        letter = Letter(self.sent + 1, kind, data, sender_id, request_id, sender or sender_id)
        own = kind is not Kind.DIRECTED or self._has_share(letter)
        # to a peer that is away nothing is sent meanwhile: what is not kept is lost, and its sender is to know
        if self._parked_from is not None and not own:
            return False
        if self._parked_from is not None and not self._fits(data):
            self._drop_replaceable()  # a list of the members stands for them when the peer comes back
            if kind is Kind.DIRECTED and not self._makes_way(letter):
                return False
            self._incomplete |= kind is not Kind.DIRECTED
        # once one event is missing the others are of no use without it
        if self._incomplete and kind is not Kind.DIRECTED:
            return True
        self.sent += 1
        # a connected peer has most likely received the oldest already
        while own and self._letters and not self._fits(data):
            self._drop_oldest()
        if own and self._fits(data):
            self._letters.append(letter)
            self._charge(letter)
        else:  # sent, but not to be had again: whoever resumes before this number has a gap
            self._lost = letter.number
        return True

    def move(self, source: str) -> None:
        """The peer has come back from another address."""
        self._space.charge(-self._size, self._source)
        self._source = source
        self._space.charge(self._size, source)

    def park(self) -> None:
        """The connection is lost."""
        self._parked_from = self.sent

    def resume(self, received: int) -> tuple[list[Letter], bool]:
        """Start anew with a connection whose client has received `received` messages of the last one.

        Returns what it has to be sent, in order, and whether there is a gap: then only directed messages are returned,
        some of which may be missing, and the events have to be replaced by a list. The messages returned are kept,
        numbered from 1, for the new connection may break as well.
        """
        gap = self._incomplete or not self._lost <= received <= self.sent
        missed = [
            letter for letter in self._letters if letter.number > received and (not gap or letter.kind is Kind.DIRECTED)
        ]
        missed = [letter._replace(number=number) for number, letter in enumerate(missed, 1)]
        self._replace(missed)
        self.sent, self._lost, self._incomplete, self._parked_from = len(missed), 0, False, None
        self._sweeps.clear()
        return missed, gap

    def return_undelivered(self) -> list[Letter]:
        """Give up and return the directed messages that were never written to a connection."""
        returned: list[Letter] = []
        if self._parked_from is not None:
            returned = [
                each for each in self._letters if each.kind is Kind.DIRECTED and each.number > self._parked_from
            ]
            self._replace([each for each in self._letters if each not in returned])
        return returned

    def forget_old(self, now: float, age: float) -> None:
        """Drop what a connected peer was sent at least `age` seconds ago; a peer that is away keeps all.

        To be called now and then: what was sent between two calls ages from the second one.
        """
        if self._parked_from is not None:
            return
        self._sweeps.append((now, self.sent))
        while now - self._sweeps[0][0] >= age:
            _, number = self._sweeps.popleft()
            while self._letters and self._letters[0].number <= number:
                self._drop_oldest()
            if not self._sweeps:
                break

    def clear(self) -> None:
        """Drop everything, so that the space is free for others; the peer is gone for good."""
        while self._letters:
            self._charge(self._letters.popleft(), -1)

    def _fits(self, data: bytes) -> bool:
        size = len(data)
        return (
            len(self._letters) < MAILBOX_COUNT
            and self._size + size <= MAILBOX_SIZE
            and self._space.fits(size, self._source)
        )

    def _has_share(self, letter: Letter) -> bool:
        """Whether a message is within its sender's shares, for which older ones that were written before make way."""
        sender, size = letter.sender, len(letter.data)
        while True:
            count, used = self._senders.get(sender, (0, 0))
            here = count < SENDER_COUNT and used + size <= SENDER_SIZE
            if here and self._space.has_share(size, sender):
                return True
            oldest = next((index for index, each in enumerate(self._letters) if each.sender == sender), None)
            if not count or oldest is None or self._is_unwritten(self._letters[oldest]):
                return False
            self._lost = max(self._lost, self._letters[oldest].number)
            self._charge(self._letters[oldest], -1)
            del self._letters[oldest]

    def take_evicted(self) -> list[Letter]:
        """Return the directed messages that the last `add` has dropped for one of somebody else."""
        evicted, self._evicted = self._evicted, []
        return evicted

    def _makes_way(self, letter: Letter) -> bool:
        """Drop the latest messages of who has most, as long as that is more than the sender of `letter` has with it."""
        count, used = self._senders.get(letter.sender, (0, 0))
        own = _part(count + 1, used + len(letter.data))
        while not self._fits(letter.data):
            greedy = max(self._senders, key=lambda sender: _part(*self._senders[sender]), default=letter.sender)
            found = [index for index, each in enumerate(self._letters) if each.sender == greedy]
            if greedy == letter.sender or _part(*self._senders[greedy]) <= own:
                return False
            if not self._is_unwritten(self._letters[found[-1]]):
                return False
            self._evicted.append(self._letters[found[-1]])
            self._charge(self._letters[found[-1]], -1)
            del self._letters[found[-1]]
        return True

    def _is_unwritten(self, letter: Letter) -> bool:
        return self._parked_from is not None and letter.number > self._parked_from

    def _drop_oldest(self) -> None:
        letter = self._letters.popleft()
        self._lost = max(self._lost, letter.number)
        self._charge(letter, -1)

    def _drop_replaceable(self) -> None:
        """Make room among the messages of a peer that is away."""
        kept = [letter for letter in self._letters if letter.kind is Kind.DIRECTED]
        self._incomplete |= len(kept) < len(self._letters)
        self._replace(kept)

    def _replace(self, letters: list[Letter]) -> None:
        self.clear()
        self._letters.extend(letters)
        for letter in letters:
            self._charge(letter)

    def _charge(self, letter: Letter, sign: int = 1) -> None:
        """Note that a message is kept, or with -1 that it is not any more."""
        size = sign * len(letter.data)
        self._size += size
        self._space.charge(size, self._source)
        if letter.kind is Kind.DIRECTED:
            count, used = self._senders.get(letter.sender, (0, 0))
            self._senders[letter.sender] = count + sign, used + size
            if not count + sign:
                del self._senders[letter.sender]
            self._space.charge_sender(size, letter.sender)


def _part(count: int, size: int) -> float:
    """Return which part of a mailbox so many messages and bytes take."""
    return max(count / MAILBOX_COUNT, size / MAILBOX_SIZE)
