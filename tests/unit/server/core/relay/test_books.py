"""core.relay.books: rates, volumes and places, without a peer."""

from __future__ import annotations

from visavis_server.core.relay.books import BURST, PAIR_IDLE, VOLUME_TIME, Book, Bucket

UNLIMITED = 0


def test_a_bucket_holds_a_burst_and_fills_with_its_rate() -> None:
    bucket = Bucket()
    assert bucket.allow(round(BURST * 1000), 1000, 100.0)
    assert not bucket.allow(1, 1000, 100.0)
    assert bucket.allow(1000, 1000, 101.0)
    assert all(Bucket().allow(1 << 40, UNLIMITED, 0.0) for _ in range(2))


def test_a_volume_is_there_again_little_by_little() -> None:
    book = Book()
    assert book.has_volume(1000, 1000, 0.0)
    book.count(1000)
    assert not book.has_volume(1, 1000, 0.0)
    assert book.has_volume(500, 1000, VOLUME_TIME / 2)
    assert not book.has_volume(501, 1000, VOLUME_TIME / 2)
    assert book.has_volume(1 << 40, UNLIMITED, 0.0)


def test_a_place_is_kept_by_using_it() -> None:
    book = Book()
    book.use(("a", "b"), "site", 1, 0.0)
    assert not book.has_place(("a", "c"), "site", 1, PAIR_IDLE)
    assert book.has_place(("a", "b"), "site", 1, PAIR_IDLE)
    assert book.has_place(("a", "c"), "site", 1, PAIR_IDLE + 0.1), "nothing was sent for so long"
    assert book.has_place(("a", "c"), "site", UNLIMITED, 0.0)


def test_the_greediest_other_end_makes_way_for_who_has_less() -> None:
    book = Book()
    for peer in ("b", "c", "d"):
        book.use(("a", peer), "greedy", 3, 0.0)
    assert not book.has_place(("a", "e"), "greedy", 3, 0.0)
    assert book.has_place(("a", "e"), "modest", 3, 0.0)
    book.use(("a", "e"), "modest", 3, 0.0)
    assert [end for _, end in book.places.values()] == ["greedy", "greedy", "modest"]
    assert ("a", "b") not in book.places, "the one that was longest unused"
    assert not book.has_place(("a", "f"), "modest", 3, 0.0), "who would then have as many"
