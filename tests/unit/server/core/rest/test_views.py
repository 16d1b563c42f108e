"""core.rest.views: the documents of the REST API, without HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.support.server_world import World
from visavis_server.core.rest import views


@pytest.fixture
def world() -> World:
    return World(room_capacity=5)


def test_times_are_utc_in_the_list_and_milliseconds_in_the_detail(world: World) -> None:
    world.now = 1703894400.25 - 1e6
    world.joined("a", "r")
    (listed,) = json.loads(views.rooms(world.hub.overview))["rooms"]
    assert listed == {"id": "r", "peer_count": 1, "max_peers": 5, "created_at": "2023-12-30T00:00:00.250Z"}
    detail = views.room(world.hub.overview, "r")
    assert detail is not None
    assert json.loads(detail)["created_at"] == 1703894400250


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the C library take this host for one five hours behind UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EST5")  # POSIX's own way: nothing to look up in files that may not be there
        time.tzset()
        assert time.localtime(0).tm_hour == 19
        yield
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_the_time_zone_of_the_host_does_not_matter(world: World) -> None:
    """Section 7, fix: the original shows the server's local zone."""
    world.now = 1703894400.25 - 1e6
    world.joined("a", "r")
    assert json.loads(views.rooms(world.hub.overview))["rooms"][0]["created_at"] == "2023-12-30T00:00:00.250Z"


def test_an_unknown_room_has_no_document(world: World) -> None:
    assert views.room(world.hub.overview, "r") is None


def test_ids_of_any_script_are_text_in_json(world: World) -> None:
    world.joined("a", 'é"\\ 房')
    assert json.loads(views.rooms(world.hub.overview))["rooms"][0]["id"] == 'é"\\ 房'
    detail = views.room(world.hub.overview, 'é"\\ 房')
    assert detail is not None
    assert json.loads(detail)["id"] == 'é"\\ 房'


def test_stats_add_up(world: World) -> None:
    for name in "abc":
        world.joined(name, "r")
    world.connect("d")
    stats = json.loads(views.stats(world.hub.overview, 7))
    assert stats == {
        "peers": {"total": 4, "without_room": 1},
        "rooms": {"total": 1, "total_peers": 3},
        "timestamp": 7,
    }
