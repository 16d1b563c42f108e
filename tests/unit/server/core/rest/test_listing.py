"""core.rest.listing: many ask, one list is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.server_world import World
from visavis_server.core.rest.documents import PAGE_LIMIT
from visavis_server.core.rest.listing import FRESH_COUNT, SHARED_TIME, BadQuery, Listing, Page, parse_page


def ids(body: bytes) -> list[Any]:
    return [room["id"] for room in json.loads(body)["rooms"]]


def crowded(count: int = FRESH_COUNT + 1) -> World:
    world = World(room_capacity=0)
    for number in range(count):
        world.joined(f"p{number}", f"r{number:04}")
    return world


def test_many_rooms_are_written_once_a_second() -> None:
    world = crowded()
    listing = Listing(world.hub.overview)
    first = listing.whole(0.0)
    assert len(ids(first.body)) == FRESH_COUNT + 1
    world.joined("late", "late")
    assert listing.whole(SHARED_TIME * 0.99) is first
    later = listing.whole(SHARED_TIME)
    assert ids(later.body)[-1] == "late"
    assert later.tag != first.tag


def test_few_rooms_are_shown_as_they_are() -> None:
    world = World()
    listing = Listing(world.hub.overview)
    empty = listing.whole(0.0)
    assert ids(empty.body) == []
    world.joined("a", "r")
    assert ids(listing.whole(0.0).body) == ["r"]
    assert ids(listing.page(Page(), 0.0)) == ["r"]


def test_what_has_not_changed_is_the_same_bytes() -> None:
    world = crowded()
    listing = Listing(world.hub.overview)
    assert listing.whole(0.0) is listing.whole(5.0)


def test_pages_add_up_to_the_whole_though_rooms_come_and_go() -> None:
    world = crowded()
    listing = Listing(world.hub.overview)
    found: list[str] = []
    page = ids(listing.page(Page(limit=10), 0.0))
    world.joined("early", "a room before all others")
    while page:
        found += page
        page = ids(listing.page(Page(10, page[-1]), float(len(found))))
    assert found == [f"r{number:04}" for number in range(FRESH_COUNT + 1)]


def test_a_room_that_has_gone_is_not_on_a_page_of_names_that_are_older() -> None:
    world = crowded(FRESH_COUNT + 2)
    listing = Listing(world.hub.overview)
    listing.page(Page(), 0.0)
    del world.hub.rooms.open["r0003"]
    assert ids(listing.page(Page(limit=3, after="r0002"), 0.1)) == ["r0004", "r0005"]


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", None),
        ("x=1", None),
        ("limit=5", Page(5)),
        ("after=a%20b%2F", Page(after="a b/")),
        ("limit=1000&after=%ff", Page(1000, "\N{REPLACEMENT CHARACTER}")),
        ("after", Page()),
    ],
)
def test_queries(query: str, page: Page | None) -> None:
    assert parse_page(query) == page


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=", "limit=-1", f"limit={PAGE_LIMIT + 1}", "limit=1e3", "limit=%D9%A1", "a&" * 20, "limit=00001"],
)
def test_queries_that_name_no_page(query: str) -> None:
    with pytest.raises(BadQuery):
        parse_page(query)
