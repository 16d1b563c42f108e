"""core.unconfirmed: what is sent again, and its bounds."""

from __future__ import annotations

import pytest

from visavis_peer.core.signaling.unconfirmed import UNCONFIRMED_COUNT, UNCONFIRMED_SIZE, NotTaken, Unconfirmed


def filled(count: int, size: int = 1) -> Unconfirmed:
    unconfirmed = Unconfirmed()
    for number in range(1, count + 1):
        unconfirmed.add(b"%0*d" % (size, number))
    return unconfirmed


@pytest.mark.parametrize(
    ("received", "again"), [(0, [b"1", b"2", b"3"]), (2, [b"3"]), (3, []), (4, []), (1 << 60, []), (None, [])]
)
def test_exactly_what_was_not_taken_is_sent_again(received: int | None, again: list[bytes]) -> None:
    unconfirmed = filled(3)
    assert unconfirmed.resume(received) == NotTaken(again, 0)
    assert unconfirmed.resume(0) == NotTaken([], 0), "the count has begun anew"


def test_where_nobody_knows_only_what_could_not_be_sent_is_sent_again() -> None:
    unconfirmed = filled(3)
    unconfirmed.doubt()
    assert unconfirmed.resume(None) == NotTaken([b"3"], 0)
    assert unconfirmed.resume(None) == NotTaken([], 0)


def test_a_known_count_says_whether_a_message_whose_sending_failed_was_taken() -> None:
    for received, again in ((3, []), (2, [b"3"])):
        unconfirmed = filled(3)
        unconfirmed.doubt()
        assert unconfirmed.resume(received) == NotTaken(list(again), 0)


def test_the_oldest_make_way_and_count_as_lost_only_when_they_were_not_taken() -> None:
    assert len(filled(UNCONFIRMED_COUNT + 5)) == UNCONFIRMED_COUNT
    assert filled(UNCONFIRMED_COUNT + 5).resume(5).lost == 0
    missed = filled(UNCONFIRMED_COUNT + 5).resume(3)
    assert (len(missed.messages), missed.lost) == (UNCONFIRMED_COUNT, 2)
    size = UNCONFIRMED_SIZE // 4
    assert [len(each) for each in filled(6, size).resume(0).messages] == [size] * 4
