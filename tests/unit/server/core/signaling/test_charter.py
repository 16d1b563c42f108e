"""core.signaling.charter: the rules of one room, without a room."""

from __future__ import annotations

import pytest

from visavis_server.core.signaling.charter import BAN_COUNT, Charter, digest, identity_of
from visavis_shared.messages import RoomTerms


def test_the_number_of_bans_is_bounded() -> None:
    charter = Charter("owner")
    for number in range(BAN_COUNT + 1):
        charter.ban(f"address {number}")
    charter.check_ban("address 0")
    with pytest.raises(Exception, match="you are banned"):
        charter.check_ban("address 1")


def test_a_charter_never_shows_its_password() -> None:
    charter = Charter("owner")
    charter.change(RoomTerms(password="geheim"), 0.0)
    assert "geheim" not in charter.describe(0.0).model_dump_json()
    assert charter.describe(0.0).password == ""


def test_what_is_not_mentioned_stays_and_nothing_ends_a_rule() -> None:
    charter = Charter("owner")
    charter.change(RoomTerms(capacity=3, locked=True, password="p", ttl=60), 100.0)
    charter.change(RoomTerms(), 110.0)
    assert charter.describe(110.0) == RoomTerms(capacity=3, locked=True, password="", ttl=50)
    charter.change(RoomTerms(capacity=0, locked=False, password="", ttl=0), 120.0)
    assert charter.describe(120.0) == RoomTerms(capacity=0, locked=False)
    assert not charter.is_private


def test_only_the_owner_needs_no_password_and_no_open_door() -> None:
    charter = Charter("owner")
    charter.change(RoomTerms(password="p"), 0.0)
    assert (charter.needs_password("x", "owner"), charter.needs_password("x", "a")) == (False, True)
    assert (charter.opens(digest("p")), charter.opens(digest("q"))) == (True, False)
    charter.change(RoomTerms(locked=True), 0.0)
    assert not charter.needs_password("x", "owner")
    with pytest.raises(Exception, match="locked"):
        charter.needs_password("x", "a")
    charter.ban("x")
    with pytest.raises(Exception, match="banned"):
        charter.needs_password("x", "owner")


def test_a_room_that_belongs_to_nobody_has_no_owner_to_pass_for() -> None:
    charter = Charter.of_private_room(digest("p"))
    assert charter.needs_password("x", "")
    assert charter.is_private


def test_a_ban_holds_on_to_the_surest_that_is_known() -> None:
    assert identity_of("a", "192.0.2.1", "alice") == "subject alice"
    assert identity_of("a", "192.0.2.1", "") == "address 192.0.2.1"
    assert identity_of("a", "", "") == "peer a"
