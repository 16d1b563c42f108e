"""Cells of the matrix by the hundred, several at a time, each on NATs that know nothing of the one before."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from statistics import median
from typing import Final, TextIO

from tests.netns.forked import start_forked
from tests.netns.lab import Lab
from tests.netns.pairs import Cell, Matrix, Outcome
from tests.netns.programs import start_server
from visavis_shared.nat import Method

SOON: Final = 3000
"""Milliseconds from the OFFER that a direct path may take at the most."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What came of the runs of one pair of kinds."""

    left: str
    right: str
    runs: int
    times: tuple[float, ...]
    """Milliseconds from the OFFER to the direct path in use, of the runs that had one."""
    probes: tuple[int, ...]
    """Packets of the probing beyond connectivity checks, of the runs that had some."""

    @property
    def method(self) -> Method:
        """The oracle's word."""
        return Cell(self.left, self.right, 0.0).method

    def __str__(self) -> str:
        said = f"{self.left} x {self.right}, {self.method}: {len(self.times)} of {self.runs} direct"
        if self.times:
            said += f", {_spread(self.times, self.runs)} from the OFFER"
        if self.probes:
            said += f"; packets: median {median(self.probes):.0f}, maximum {max(self.probes)}"
        return said


class Player:
    """Plays cells in one lab with a server in it, so many at a time, each on sites of its own."""

    def __init__(self, lab: Lab, concurrent: int, failures: TextIO = sys.stderr) -> None:
        """What a cell that goes wrong has printed goes to `failures`; its first line to standard error, too."""
        start_server(lab)
        self._pool = ThreadPoolExecutor(concurrent)
        self._matrices: queue.SimpleQueue[Matrix] = queue.SimpleQueue()
        for number in range(concurrent):
            self._matrices.put(Matrix(lab, prefix=f"{number}", start=start_forked))
        self._failures = failures
        self._writing = threading.Lock()

    def play(self, cells: Iterable[Cell]) -> list[Outcome | None]:
        """Return what came of each; None where it is not what the oracle says."""
        return list(self._pool.map(self._play, cells))

    def _play(self, cell: Cell) -> Outcome | None:
        matrix = self._matrices.get()
        try:
            return matrix.run(cell)
        except AssertionError as error:
            with self._writing:
                first, _, rest = str(error).partition("\n")
                print(f"{cell}: {first}", file=sys.stderr, flush=True)
                if self._failures is not sys.stderr:
                    print(f"=== {cell}: {first}\n{rest}", file=self._failures, flush=True)
            return None
        finally:
            matrix.forget(cell)
            self._matrices.put(matrix)


def play(cells: Sequence[Cell], concurrent: int) -> list[Outcome | None]:
    """Return what came of each cell; None where it is not what the oracle says."""
    with Lab() as lab:
        return Player(lab, concurrent).play(cells)


def repeat(player: Player, left: str, right: str, runs: int, skew: float) -> Pair:
    """Play a pair again and again, half of the runs in each order of starting."""
    cells = [Cell(left, right, skew, run=number) for number in range(1, runs + 1)]
    cells[1::2] = [cell.swapped for cell in cells[1::2]]
    outcomes = [outcome for outcome in player.play(cells) if outcome is not None]
    times = tuple(round(outcome.direct_ms, 1) for outcome in outcomes if outcome.direct_ms is not None)
    probes = tuple(outcome.probes for outcome in outcomes if outcome.probes is not None)
    return Pair(left, right, runs, times, probes)


def repeat_one(left: str, right: str, runs: int, skew: float, concurrent: int) -> None:
    """Print what came of one pair."""
    with Lab() as lab:
        print(repeat(Player(lab, concurrent), left, right, runs, skew))


def repeat_all(kinds: Sequence[str], runs: int, skew: float, concurrent: int, record: Path | None) -> None:
    """Play every pair that is not the relay's, and print a table.

    With `record`, what is in that file already is not played again, each pair is added to it when it is done, and what
    failing runs have printed goes to a file beside it.
    """
    done = [_read(line) for line in record.read_text().splitlines()] if record is not None and record.exists() else []
    known = {frozenset((pair.left, pair.right)) for pair in done}
    pairs = [(left, right) for left, right in combinations_with_replacement(kinds, 2) if Cell(left, right, skew).links]
    missing = [pair for pair in pairs if frozenset(pair) not in known]
    if missing:
        failures = sys.stderr if record is None else record.with_suffix(".failures").open("a")
        with Lab() as lab:
            player = Player(lab, concurrent, failures)
            for left, right in missing:
                pair = repeat(player, left, right, runs, skew)
                done.append(pair)
                print(pair, file=sys.stderr, flush=True)
                if record is not None:
                    with record.open("a") as file:
                        file.write(json.dumps(asdict(pair)) + "\n")
    wanted = set(map(frozenset, pairs))
    _print_table(kinds, [pair for pair in done if frozenset((pair.left, pair.right)) in wanted])


def _read(line: str) -> Pair:
    pair = Pair(**json.loads(line))
    return replace(pair, times=tuple(pair.times), probes=tuple(pair.probes))


def _print_table(kinds: Sequence[str], pairs: Sequence[Pair]) -> None:
    by_kinds = {frozenset((pair.left, pair.right)): pair for pair in pairs}
    print("| | " + " | ".join(kinds) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for row, left in enumerate(kinds):
        shown = []
        for column, right in enumerate(kinds):
            pair = by_kinds.get(frozenset((left, right)))
            if column < row:
                shown.append("")
            elif pair is None:
                shown.append("relay" if not Cell(left, right, 0.0).links else "?")
            else:
                shown.append(f"{len(pair.times)} {median(pair.times):.0f}" if pair.times else "0")
        print(f"| {left} | " + " | ".join(shown) + " |")
    print()
    for method in Method:
        of_method = [pair for pair in pairs if pair.method is method]
        if not of_method:
            continue
        worst = min(of_method, key=lambda pair: len(pair.times) / pair.runs)
        times = [ms for pair in of_method for ms in pair.times]
        runs = sum(pair.runs for pair in of_method)
        print(
            f"- {method}: {len(of_method)} pairs, {len(times)} of {runs} runs direct, the worst pair "
            f"{len(worst.times)} of {worst.runs} ({worst.left} x {worst.right}); {_spread(times, runs)}"
        )


def _spread(times: Sequence[float], runs: int) -> str:
    """Say how many of `runs` took how long; `times` are those of the ones that succeeded, in milliseconds."""
    ordered = sorted(times)
    within = sum(ms <= SOON for ms in times) / runs
    return (
        f"{within:.1%} within {SOON // 1000} s, median {median(times):.0f} ms, "
        f"95 % {ordered[len(times) * 95 // 100 - 1]:.0f} ms, maximum {ordered[-1]:.0f} ms"
    )
