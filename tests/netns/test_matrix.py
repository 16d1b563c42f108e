"""The NAT matrix: every pair of kinds, real server and agents, and the oracle agrees with every cell."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.netns.forked import start_forked
from tests.netns.lab import Lab
from tests.netns.pairs import Cell, Matrix, Outcome, all_cells
from tests.netns.programs import start_server
from tests.support.requirements import require
from visavis_shared.nat import Method

CONCURRENT = 6
"""Cells at a time: most of a cell is waiting, and more would measure the two cores instead of the network."""
CELLS = {str(cell): cell for cell in all_cells()}
SWAPPED = {str(cell.swapped): cell.swapped for cell in CELLS.values() if cell.left != cell.right}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Outcome]]]:
    """Play the selected cells, several at a time."""
    require("netns")
    selected = [
        (CELLS | SWAPPED)[item.callspec.id]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    ]
    with Lab() as lab, ThreadPoolExecutor(CONCURRENT) as pool:
        matrix = Matrix(lab, start=start_forked)
        start_server(lab)
        futures = {str(cell): pool.submit(matrix.run, cell) for cell in selected}
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_pair_links_and_directly_exactly_where_it_can(cell: Cell, outcomes: dict[str, Future[Outcome]]) -> None:
    _check(cell, outcomes[str(cell)].result())


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cell", SWAPPED.values(), ids=SWAPPED)
def test_the_order_of_starting_changes_nothing(cell: Cell, outcomes: dict[str, Future[Outcome]]) -> None:
    _check(cell, outcomes[str(cell)].result())


def _check(cell: Cell, outcome: Outcome) -> None:
    if cell.links:
        assert outcome.kinds is not None
        assert outcome.reason is None
        assert cell.method is not Method.PLAIN_ICE or outcome.method is None, "probing where checks suffice"
        if _behind_nat(cell):
            by_host = outcome.kinds == ("host-host", "host-host")
            assert by_host is (cell.variant in ("one-router", "ipv6"))
    else:
        assert outcome.reason


def _behind_nat(cell: Cell) -> bool:
    """Whether both sides have private addresses, so that only a shared LAN lets host candidates meet."""
    return not {"public", "firewall"} & {cell.left, cell.right}
