"""Fixtures of the NAT lab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.lab import Lab
from tests.support.requirements import require


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An empty lab for the module's tests, which add sites of their own."""
    require("netns")
    with Lab() as made:
        yield made
