"""How often a predicted window holds the port of an opener, by the traffic of others behind the same NAT.

Prints the share of successes and the mean window of `tests.support.prediction_trial`: no packets, no clock.
"""

from __future__ import annotations

import argparse
import random
from typing import Final

from tests.support.prediction_trial import Trial, play

RATES: Final = (0, 1, 10, 50, 100, 200, 400, 800)
"""Foreign allocations a second."""
DELAYS: Final = (0.05, 0.3, 1.0)
"""Seconds from the last sample to the openers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    print("| foreign/s | delay, s | extrapolated | window | rate unknown | bracketed | window |")
    print("|---|---|---|---|---|---|---|")
    for delay in DELAYS:
        for rate in RATES:
            cells = []
            for trial in (
                Trial(rate, delay),
                Trial(rate, delay, rate_known=False),
                Trial(rate, delay, bracketed=True),
            ):
                results = [play(trial, rng) for _ in range(arguments.rounds)]
                hits = sum(hit for hit, _ in results) / len(results)
                cells.append((f"{hits:.1%}", f"{sum(size for _, size in results) / len(results):.0f}"))
            (hit, size), (unknown, _), (bracketed, narrow) = cells
            print(f"| {rate} | {delay:g} | {hit} | {size} | {unknown} | {bracketed} | {narrow} |")


if __name__ == "__main__":
    main()
