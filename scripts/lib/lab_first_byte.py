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
from visavis_shared.nat import Method

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
        times = dict(zip(cells, pool.map(lambda cell: _play(matrix, cell, round_trip), cells), strict=True))
    print("| | " + " | ".join(kinds) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for row, left in enumerate(kinds):
        shown = [
            f"{times[Cell(left, right, 0.5)][0] / round_trip:.1f}" if column >= row else ""
            for column, right in enumerate(kinds)
        ]
        print(f"| {left} | " + " | ".join(shown) + " |")
    print(f"\nround trip from peer to peer, directly or by the server, {round_trip * 1000:.0f} ms; in round trips:")
    first, after = (sorted(each[index] / round_trip for each in times.values() if each[index]) for index in (0, 1))
    print(f"- first bytes: median {median(first):.2f}, maximum {max(first):.2f}")
    print(
        f"- direct path by connectivity checks, from the ANSWER: median {median(after):.2f}, maximum {max(after):.2f}"
    )


def _play(matrix: Matrix, cell: Cell, round_trip: float) -> tuple[float, float]:
    """Return the seconds from the second agent's being in the room to the first bytes at the later of the two.

    And those from the ANSWER's arrival, one round trip after the OFFER, to the direct path at the offerer, the first
    agent; 0 where checks alone find none.
    """
    left, right = matrix.clients(cell)
    first = agent(left, str(cell), "left")
    first.wait_for("joined", PATIENCE)
    second = agent(right, str(cell), "right")
    try:
        joined = second.wait_for("joined", PATIENCE)
        data = [program.wait_for("data", PATIENCE) for program in (first, second)]
        after = 0.0
        if cell.method is Method.PLAIN_ICE:
            direct = first.wait_for("path", PATIENCE, lambda each: each["path"] == "direct", otherwise="link_up")
            after = direct["elapsed_ms"] / 1000 - round_trip
        return float(max(record["ts"] for record in data) - joined["ts"]), after
    finally:
        first.kill()
        second.kill()
