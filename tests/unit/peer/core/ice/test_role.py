"""core.ice.role: whose tie-breaker wins, and whose words are taken."""

from __future__ import annotations

import random

import pytest

from tests.support.ice_agents import OURS, THEIRS
from visavis_peer.core.ice.role import Role
from visavis_shared.messages import IceCredentials


def both(*, ours: bool, theirs: bool, seeds: tuple[int, int] = (1, 2)) -> tuple[Role, Role]:
    """Return the roles of two sides that know each other; the arguments tell who takes itself for controlling."""
    one, other = Role(OURS, random.Random(seeds[0])), Role(THEIRS, random.Random(seeds[1]))
    one.remote, other.remote = THEIRS, OURS
    one.controlling, other.controlling = ours, theirs
    return one, other


@pytest.mark.parametrize("controlling", [True, False])
def test_sides_of_different_roles_are_in_no_conflict(controlling: bool) -> None:
    one, other = both(ours=controlling, theirs=not controlling)
    check = one.read_check(other.sign_request(other.request(1, nominate=True)))
    assert check is not None
    assert check.nominates is (not controlling), "only the controlling side nominates"
    assert one.settle(check) == "apart"


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)])
def test_in_a_conflict_exactly_one_side_switches(controlling: bool, seeds: tuple[int, int]) -> None:
    one, other = both(ours=controlling, theirs=controlling, seeds=seeds)
    first = one.read_check(other.sign_request(other.request(1, nominate=False)))
    second = other.read_check(one.sign_request(one.request(1, nominate=False)))
    assert first is not None
    assert second is not None
    assert {one.settle(first), other.settle(second)} == {"keep", "switch"}


def test_nothing_is_read_of_a_side_that_has_other_credentials() -> None:
    one, other = both(ours=True, theirs=False)
    other.remote = IceCredentials(ufrag="ours", pwd="x" * 22)
    assert one.read_check(other.sign_request(other.request(1, nominate=False))) is None
    one.remote = None
    assert one.read_response(other.sign_response(other.request(1, nominate=False))) is None
