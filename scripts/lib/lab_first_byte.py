"""How long two agents take from being in one room to the first bytes at an application, in signaling round trips."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from statistics import median
from typing import Final

from tests.netns.lab import Impairment, Lab
from tests.netns.pairs import PATIENCE, Cell, Matrix
from tests.netns.programs import agent, start_server

CONCURRENT: Final = 2


def measure_first_bytes(kinds: Sequence[str], round_trip: float) -> None:
    """Print a table over all pairs of `kinds`; `round_trip` is the seconds from peer to peer and back by the server."""
    with Lab() as lab, ThreadPoolExecutor(CONCURRENT) as pool:
        matrix = Matrix(lab, cables=True)
        start_server(lab)
        cells = [Cell(*pair, 0.5) for pair in combinations_with_replacement(kinds, 2)]
        for cell in cells:
            for client in matrix.clients(cell):
                lab.impair(client, Impairment(delay=round_trip / 4))
        times = dict(zip(cells, pool.map(lambda cell: _play(matrix, cell), cells), strict=True))
    print("| | " + " | ".join(kinds) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for row, left in enumerate(kinds):
        shown = [
            f"{times[Cell(left, right, 0.5)] / round_trip:.1f}" if column >= row else ""
            for column, right in enumerate(kinds)
        ]
        print(f"| {left} | " + " | ".join(shown) + " |")
    trips = [each / round_trip for each in times.values()]
    print(f"\nround trip from peer to peer by the server {round_trip * 1000:.0f} ms; ", end="")
    print(f"median {median(trips):.2f}, maximum {max(trips):.2f} round trips")


def _play(matrix: Matrix, cell: Cell) -> float:
    """Return the seconds from the second agent's being in the room to the first bytes at the later of the two."""
    left, right = matrix.clients(cell)
    first = agent(left, str(cell), "left")
    first.wait_for("joined", PATIENCE)
    second = agent(right, str(cell), "right")
    try:
        joined = second.wait_for("joined", PATIENCE)
        data = [program.wait_for("data", PATIENCE) for program in (first, second)]
        return float(max(record["ts"] for record in data) - joined["ts"])
    finally:
        first.kill()
        second.kill()
