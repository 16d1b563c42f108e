"""core.signaling.mailbox: once, in order, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from visavis_server.core.signaling.mailbox import (
    MAILBOX_COUNT,
    MAILBOX_SIZE,
    SENDER_COUNT,
    SENDER_SIZE,
    Kind,
    Mailbox,
    Space,
)


def fill(mailbox: Mailbox, count: int, kind: Kind = Kind.DIRECTED, size: int = 4) -> list[bool]:
    first = mailbox.sent + 1
    return [mailbox.add(kind, b"%0*d" % (size, first + step), f"s{first + step}") for step in range(count)]


def test_what_was_not_received_comes_again_in_order() -> None:
    mailbox = Mailbox(Space())
    fill(mailbox, 3)
    mailbox.park()
    fill(mailbox, 2, Kind.EVENT)
    missed, gap = mailbox.resume(received=2)
    assert [letter.data for letter in missed] == [b"0003", b"0004", b"0005"]
    assert not gap


def test_a_second_loss_before_anything_was_received_repeats_all() -> None:
    mailbox = Mailbox(Space())
    fill(mailbox, 3)
    mailbox.resume(received=1)
    fill(mailbox, 1)
    missed, gap = mailbox.resume(received=1)
    assert [letter.data for letter in missed] == [b"0003", b"0003"], "the third of the first connection, then a new one"
    assert not gap
    assert mailbox.resume(received=2) == ([], False)


def test_who_has_received_everything_gets_nothing() -> None:
    mailbox = Mailbox(Space())
    assert mailbox.resume(received=0) == ([], False)
    fill(mailbox, 5)
    assert mailbox.resume(received=5) == ([], False)


def test_a_count_that_cannot_be_is_a_gap_and_directed_messages_come_all_the_same() -> None:
    mailbox = Mailbox(Space())
    fill(mailbox, 1, Kind.EVENT)
    mailbox.park()
    fill(mailbox, 1)
    missed, gap = mailbox.resume(received=3)
    assert (missed, gap) == ([], True), "who claims more than was sent has received that, too"


def test_while_connected_the_oldest_make_way() -> None:
    mailbox = Mailbox(Space())
    assert all(fill(mailbox, MAILBOX_COUNT + 10))
    assert len(mailbox) == MAILBOX_COUNT
    assert mailbox.resume(received=9)[1], "the tenth is lost"
    fill(mailbox, MAILBOX_COUNT + 10)
    assert not mailbox.resume(received=mailbox.sent - MAILBOX_COUNT)[1]


def test_while_away_senders_are_refused_when_it_is_full() -> None:
    mailbox = Mailbox(Space())
    mailbox.park()
    size = MAILBOX_SIZE // 4
    assert fill(mailbox, 5, size=size) == [True] * 4 + [False]
    missed, gap = mailbox.resume(received=0)
    assert len(missed) == 4
    assert not gap, "what was refused was told to its sender"


def test_events_make_way_for_directed_messages_while_away() -> None:
    mailbox = Mailbox(Space())
    mailbox.park()
    fill(mailbox, 4, Kind.EVENT, MAILBOX_SIZE // 4)
    assert fill(mailbox, 1) == [True]
    assert fill(mailbox, 1, Kind.EVENT) == [True]
    missed, gap = mailbox.resume(received=0)
    assert [letter.kind for letter in missed] == [Kind.DIRECTED]
    assert gap


def test_the_space_of_all_mailboxes_is_bounded() -> None:
    space = Space(limit=100)
    mailboxes = [Mailbox(space) for _ in range(3)]
    mailboxes[2].park()
    for mailbox in mailboxes:
        fill(mailbox, 10, size=10)
        assert space.used <= 100
    assert fill(mailboxes[2], 1) == [False]
    mailboxes[0].clear()
    assert fill(mailboxes[2], 1) == [True]
    for mailbox in mailboxes:
        mailbox.clear()
    assert space.used == 0


def test_a_message_larger_than_the_mailbox_is_a_gap_only_for_who_missed_it() -> None:
    mailbox = Mailbox(Space())
    fill(mailbox, 1, Kind.REPLY, MAILBOX_SIZE + 1)
    assert mailbox.resume(received=1) == ([], False)
    fill(mailbox, 1, Kind.REPLY, MAILBOX_SIZE + 1)
    assert mailbox.resume(received=0) == ([], True)


def test_only_what_no_connection_ever_carried_is_undelivered() -> None:
    mailbox = Mailbox(Space())
    fill(mailbox, 2)
    assert mailbox.return_undelivered() == []
    mailbox.park()
    mailbox.add(Kind.EVENT, b"event")
    mailbox.add(Kind.DIRECTED, b"offer", "sender", "o1")
    returned = mailbox.return_undelivered()
    assert [(each.data, each.sender_id, each.request_id) for each in returned] == [(b"offer", "sender", "o1")]
    missed, _ = mailbox.resume(received=0)
    assert b"offer" not in [letter.data for letter in missed], "what its sender was told is lost does not arrive"


def test_old_messages_are_forgotten_while_connected_only() -> None:
    mailbox = Mailbox(Space())
    fill(mailbox, 3)
    mailbox.forget_old(now=100, age=60)
    fill(mailbox, 2)
    mailbox.forget_old(now=159, age=60)
    assert len(mailbox) == 5
    mailbox.forget_old(now=160, age=60)
    assert len(mailbox) == 2
    mailbox.park()
    mailbox.forget_old(now=300, age=60)
    assert len(mailbox) == 2
    mailbox.resume(received=3)
    mailbox.forget_old(now=300, age=60)
    mailbox.forget_old(now=360, age=60)
    assert len(mailbox) == 0
    assert mailbox.resume(received=2) == ([], False)


class MailboxMachine(RuleBasedStateMachine):
    """A client whose connection breaks anywhere, against the list of all that was sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space(limit=400, sender_share=150)
        self.mailbox = Mailbox(self.space)
        self.on_the_way: list[bytes] = []
        """Written to the connection, not yet received."""
        self.received: list[bytes] = []
        self.counted = 0
        self.accepted: list[bytes] = []
        """Directed messages that were not refused."""
        self.gap = False
        self.count = 0
        self.away = False

    @rule(kind=st.sampled_from(Kind), size=st.integers(4, 120), sender=st.sampled_from("abc"))
    def send(self, kind: Kind, size: int, sender: str) -> None:
        self.count += 1
        data = b"%0*d" % (size, self.count)
        accepted = self.mailbox.add(kind, data, sender)
        if kind is Kind.DIRECTED and accepted:
            self.accepted.append(data)
        for letter in self.mailbox.take_evicted():
            self.accepted.remove(letter.data)  # its sender is told
        if not self.away:
            assert accepted
            self.on_the_way.append(data)

    @precondition(lambda self: self.on_the_way)
    @rule()
    def deliver(self) -> None:
        self.received.append(self.on_the_way.pop(0))
        self.counted += 1

    @precondition(lambda self: not self.away)
    @rule(noticed=st.booleans())
    def break_connection(self, noticed: bool) -> None:
        self.on_the_way.clear()
        self.away = noticed
        if noticed:
            self.mailbox.park()
        else:
            self.resume()

    @precondition(lambda self: self.away)
    @rule()
    def resume(self) -> None:
        missed, gap = self.mailbox.resume(self.counted)
        self.on_the_way = [letter.data for letter in missed]
        self.gap |= gap
        self.counted, self.away = 0, False

    @invariant()
    def once_and_in_order(self) -> None:
        numbers = [int(data) for data in self.received + self.on_the_way]
        assert numbers == sorted(set(numbers))

    @invariant()
    def everything_unless_told(self) -> None:
        if not self.gap and not self.away:
            arrived = set(self.received + self.on_the_way)
            assert arrived.issuperset(self.accepted)

    @invariant()
    def bounded(self) -> None:
        assert self.space.used <= 400
        assert all(0 < size <= 150 for size in self.space._senders.values())


TestMailboxMachine = MailboxMachine.TestCase


@given(st.lists(st.tuples(st.sampled_from(Kind), st.integers(1, 60)), max_size=60), st.integers(0, 70))
def test_space_is_given_back(letters: list[tuple[Kind, int]], received: int) -> None:
    space = Space(limit=500)
    mailbox = Mailbox(space)
    for number, (kind, size) in enumerate(letters):
        mailbox.add(kind, b"x" * size)
        if number == len(letters) // 2:
            mailbox.park()
    mailbox.resume(received)
    mailbox.clear()
    assert space.used == 0


def test_the_mailboxes_of_one_address_have_a_share_and_those_of_others_are_kept() -> None:
    space = Space(limit=1000, share=100)
    greedy = [Mailbox(space, "192.0.2.1") for _ in range(5)]
    victim = Mailbox(space, "203.0.113.1")
    for mailbox in (*greedy, victim):
        mailbox.park()
    kept = [mailbox.add(Kind.DIRECTED, bytes(40)) for mailbox in greedy]
    assert kept == [True, True, False, False, False]
    assert victim.add(Kind.DIRECTED, bytes(90))
    greedy[0].move("203.0.113.2")
    assert greedy[2].add(Kind.DIRECTED, bytes(40)), "what has moved is charged elsewhere"
    for mailbox in (*greedy, victim):
        mailbox.clear()
    assert (space.used, dict(space._sources), dict(space._senders)) == (0, {}, {})


def test_one_sender_fills_no_mailbox_of_a_peer_that_is_away() -> None:
    mailbox = Mailbox(Space())
    mailbox.park()
    size = SENDER_SIZE // 4
    kept = [mailbox.add(Kind.DIRECTED, bytes(size), f"peer {number}", None, "192.0.2.1") for number in range(20)]
    assert kept == [True] * 4 + [False] * 16, "by address, however many peers it has"
    assert mailbox.add(Kind.DIRECTED, b"offer", "friend", None, "203.0.113.1")
    small = [mailbox.add(Kind.DIRECTED, b"x", "other") for _ in range(SENDER_COUNT + 1)]
    assert small == [True] * SENDER_COUNT + [False]
    missed, gap = mailbox.resume(received=0)
    assert b"offer" in [letter.data for letter in missed]
    assert not gap, "what was refused was told to its sender"


def test_who_has_most_in_a_full_mailbox_makes_way_for_who_has_less() -> None:
    mailbox = Mailbox(Space())
    mailbox.park()
    size = SENDER_SIZE // 4
    kept = [mailbox.add(Kind.DIRECTED, bytes(size), f"s{number % 4}", str(number)) for number in range(20)]
    assert kept == [True] * 16 + [False] * 4, "four senders have filled it"
    assert mailbox.take_evicted() == []
    assert mailbox.add(Kind.DIRECTED, b"y" * size, "friend")
    assert [letter.request_id for letter in mailbox.take_evicted()] == ["12"], "the latest of one of them"
    assert [mailbox.add(Kind.DIRECTED, b"z" * size, "friend") for _ in range(4)] == [True, True, False, False]
    assert len(mailbox.take_evicted()) == 2
    missed, gap = mailbox.resume(received=0)
    assert sum(letter.sender == "friend" for letter in missed) == 3, "as much as the others have"
    assert not gap, "all whose messages have made way are told"


def test_a_mailbox_full_of_what_was_written_or_of_the_senders_own_makes_no_way() -> None:
    space = Space(limit=100)
    mailbox, other = Mailbox(space), Mailbox(space)
    for number in range(2):
        mailbox.add(Kind.DIRECTED, bytes(50), f"s{number}")
    mailbox.park()
    other.park()
    assert not mailbox.add(Kind.DIRECTED, bytes(10), "friend"), "what may have been received is not taken back"
    assert not other.add(Kind.DIRECTED, bytes(10), "friend"), "others have the space"
    assert not mailbox.add(Kind.DIRECTED, bytes(60), "s0")
    assert mailbox.take_evicted() == []


def test_one_sender_pushes_nothing_of_others_out_while_the_peer_is_connected() -> None:
    mailbox = Mailbox(Space())
    mailbox.add(Kind.DIRECTED, b"offer", "friend")
    for _ in range(2 * MAILBOX_COUNT):
        assert mailbox.add(Kind.DIRECTED, b"x", "stranger")
    assert len(mailbox) == SENDER_COUNT + 1
    mailbox.park()
    assert mailbox.add(Kind.DIRECTED, b"y", "stranger"), "what was written before makes way"
    missed, gap = mailbox.resume(received=0)
    assert missed[0].data == b"offer"
    assert gap


def test_one_sender_has_a_share_of_all_mailboxes() -> None:
    space = Space(limit=1000, sender_share=100)
    mailboxes = [Mailbox(space) for _ in range(5)]
    for mailbox in mailboxes:
        mailbox.park()
    kept = [mailbox.add(Kind.DIRECTED, bytes(40), "stranger") for mailbox in mailboxes]
    assert kept == [True, True, False, False, False]
    assert all(mailbox.add(Kind.DIRECTED, bytes(10), "friend") for mailbox in mailboxes)
    for mailbox in mailboxes:
        mailbox.clear()
    assert dict(space._senders) == {}
