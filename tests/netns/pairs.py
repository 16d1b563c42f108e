"""One cell of the NAT matrix: two sites, a server, two agents, and what came of it."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, replace
from typing import Final, Literal

from tests.netns.lab import KINDS, Client, Lab, Site
from tests.netns.programs import URL, Program, Record, agent, start
from visavis_shared.nat import plain_ice_links

SKEWS: Final = (0.0, 0.5, 2.0)
"""Seconds between the two starts: a synchronous start hides races."""
PATIENCE: Final = 20.0
"""Seconds for anything that should take a fraction of one: two cores run many cells at a time."""
NO_PATH_LIMIT: Final = 10.0
"""Seconds within which a pair that cannot link must say so."""
Variant = Literal["", "one-router", "ipv6", "same-lan"]
"""Two separate sites; both agents behind one router; with IPv6 beside; with the same private address on both sides."""
VARIANTS: Final[dict[Variant, tuple[str, ...]]] = {
    "one-router": ("port-restricted", "symmetric"),
    "ipv6": ("symmetric",),
    "same-lan": ("port-restricted",),
}
"""Kinds that are also tried in each variant."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A pair of kinds, and who starts how much later."""

    left: str
    right: str
    skew: float
    variant: Variant = ""

    @property
    def links(self) -> bool:
        """The oracle's word on whether a direct link must come about; a shared LAN and IPv6 need no NAT's consent."""
        by_host = self.variant in ("one-router", "ipv6")
        return by_host or plain_ice_links(KINDS[self.left].behaviour, KINDS[self.right].behaviour)

    @property
    def swapped(self) -> Cell:
        """The same pair in the other order of starting."""
        return replace(self, left=self.right, right=self.left)

    def __str__(self) -> str:
        where = f"{self.variant}-" if self.variant else ""
        return f"{where}{self.left}-{self.right}-{self.skew:g}s"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a cell."""

    kinds: tuple[str, str] | None
    """Candidate types of the selected pair as each side sees them; None where there was no link."""
    first_datagram_ms: float | None
    """From the OFFER to the first datagram that an application got, on either side."""
    reason: str | None
    """Why there was no link, in the program's words."""
    reason_after: float | None
    """Seconds from both being in the room to that."""
    exit_code: int | None
    """Of `visavis ping`, where no link was expected."""


def all_cells() -> list[Cell]:
    """Return every unordered pair of kinds with every skew, and the variants."""
    pairs = itertools.combinations_with_replacement(KINDS, 2)
    apart = [Cell(left, right, skew) for left, right in pairs for skew in SKEWS]
    variants = [
        Cell(kind, kind, skew, variant) for variant, kinds in VARIANTS.items() for kind in kinds for skew in SKEWS
    ]
    return apart + variants


class Matrix:
    """The sites of all cells: one of each kind on either side, so that a kind can meet itself."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._sites: dict[tuple[str, str, Variant], Site] = {}
        self._building = threading.Lock()

    def clients(self, cell: Cell) -> tuple[Client, Client]:
        """Return the hosts that a cell's agents run on, built if need be."""
        with self._building:
            left = self._site("l", cell.left, cell.variant)
            if cell.variant == "one-router":
                return left.clients[0], left.clients[1]
            return left.clients[0], self._site("r", cell.right, cell.variant).clients[0]

    def _site(self, side: str, kind: str, variant: Variant) -> Site:
        key = (side, kind, variant)
        if key not in self._sites:
            self._sites[key] = self._lab.site(
                "-".join(part for part in key if part),
                kind,
                clients=2 if variant == "one-router" else 1,
                ipv6=variant == "ipv6",
                lan=1 if variant == "same-lan" else None,
            )
        return self._sites[key]

    def run(self, cell: Cell) -> Outcome:
        """Play a cell.

        Raises AssertionError with both transcripts when what must happen does not.
        """
        left, right = self.clients(cell)
        first = agent(left, str(cell), "left")
        time.sleep(cell.skew)  # the skew is what the cell is about
        if cell.links:
            second = agent(right, str(cell), "right")
        else:
            second = start(right, "ping", "--server", URL, "--room", str(cell), "--name", "right")
        try:
            return _linked(first, second) if cell.links else _unlinked(first, second)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- left\n{first.transcript()}\n--- right\n{second.transcript()}") from None
        finally:
            for program in (first, second):
                program.kill()


def _linked(left: Program, right: Program) -> Outcome:
    """Wait until both sides are linked directly and have got the other's datagram."""
    ups = [program.wait_for("link_up", PATIENCE) for program in (left, right)]
    data = [program.wait_for("data", PATIENCE) for program in (left, right)]
    assert [record["text"] for record in data] == ["I am right", "I am left"]
    assert all(record["path"] == "direct" for record in ups)
    return Outcome(
        kinds=(ups[0]["kind"], ups[1]["kind"]),
        first_datagram_ms=(min(record["ts"] for record in data) - _offered_at(left, right)) * 1000,
        reason=None,
        reason_after=None,
        exit_code=None,
    )


def _offered_at(*programs: Program) -> float:
    """Return when the OFFER that led to the link was sent, by the offerer's own account."""
    for program in programs:
        up = program.first("link_up")
        roles = [record["role"] for record in program.records if record["event"] == "negotiating"]
        if up is not None and roles and roles[-1] == "offerer":
            return float(up["ts"]) - float(up["elapsed_ms"]) / 1000
    raise AssertionError("neither side says that it has offered")


def _unlinked(waiting: Program, pinging: Program) -> Outcome:
    """Wait until `visavis ping` has given up, and see that neither side has a link."""
    code = pinging.finish(PATIENCE)
    failure: Record | None = pinging.first("error")
    assert failure is not None, "no reason given"
    together = [program.wait_for("peer_joined", 1)["ts"] for program in (waiting, pinging)]
    assert waiting.first("link_up") is None
    assert pinging.first("link_up") is None
    return Outcome(
        kinds=None,
        first_datagram_ms=None,
        reason=str(failure["message"]),
        reason_after=failure["ts"] - max(together),
        exit_code=code,
    )
