"""One cell of the NAT matrix: two sites, a server, two agents, and what came of it."""

from __future__ import annotations

import itertools
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import Final, Literal

from tests.netns.lab import KINDS, MATRIX_KINDS, Client, Lab, Site
from tests.netns.programs import Program, Record, Start, agent, start
from visavis_peer.events import RelayCause
from visavis_shared.nat import Method, expected_method

SKEWS: Final = (0.0, 0.5, 2.0)
"""Seconds between the two starts: a synchronous start hides races."""
PATIENCE: Final = 60.0
"""Seconds for anything that should take a fraction of one: two cores run many cells at a time."""
_FOUND: Final = re.compile(r"found a pair after \d+ ms and (\d+) probes")
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
    run: int = 0
    """Tells repetitions apart: each has a room of its own."""

    @property
    def method(self) -> Method:
        """The oracle's word on how a direct link comes about; a shared LAN and IPv6 need no NAT's consent."""
        if self.variant in ("one-router", "ipv6"):
            return Method.PLAIN_ICE
        return expected_method(KINDS[self.left].behaviour, KINDS[self.right].behaviour)

    @property
    def links(self) -> bool:
        """Whether a direct link must come about."""
        return self.method is not Method.RELAY

    @property
    def swapped(self) -> Cell:
        """The same pair in the other order of starting."""
        return replace(self, left=self.right, right=self.left)

    def __str__(self) -> str:
        where = f"{self.variant}-" if self.variant else ""
        return f"{where}{self.left}-{self.right}-{self.skew:g}s{f'-{self.run}' if self.run else ''}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a cell; times in milliseconds from the OFFER, on the side that was sooner."""

    kinds: tuple[str, str] | None
    """Candidate types of the direct path as each side sees them; None where there was none."""
    method: str | None
    """What has found the direct path beyond the connectivity checks, if they did not."""
    probes: int | None
    """Packets that the probing of both sides has sent until then; None where there was none."""
    linked_ms: float
    """Until the link was up, by whatever path."""
    direct_ms: float | None
    """Until the direct path was in use; None where there was none."""
    first_message_ms: float
    """Until an application had the first bytes of the other."""
    reason: str | None
    """Why the link stays on the relay, in the program's words."""


BEYOND: Final = (
    ("symmetric-sequential", "port-restricted"),
    ("symmetric-sequential", "symmetric-sequential"),
    ("symmetric-descending", "linux"),
    ("symmetric-block", "firewall"),
    ("address-dependent-strict", "port-restricted"),
    ("address-dependent-sequential", "symmetric"),
    ("address-dependent", "symmetric"),
    ("cgnat-sequential", "port-restricted"),
    ("cgnat-block", "symmetric"),
    ("pooled", "symmetric"),
)
"""Pairs of kinds whose NAT is a program, one of each way to a direct path."""


def all_cells() -> list[Cell]:
    """Return every unordered pair of the matrix' kinds with every skew, the variants, and the pairs beyond."""
    pairs = itertools.combinations_with_replacement(MATRIX_KINDS, 2)
    apart = [Cell(left, right, skew) for left, right in pairs for skew in SKEWS]
    apart += [Cell(left, right, SKEWS[1]) for left, right in BEYOND]
    variants = [
        Cell(kind, kind, skew, variant) for variant, kinds in VARIANTS.items() for kind in kinds for skew in SKEWS
    ]
    return apart + variants


class Matrix:
    """The sites of all cells: one of each kind on either side, so that a kind can meet itself."""

    def __init__(self, lab: Lab, *, cables: bool = False, prefix: str = "", start: Start = start) -> None:
        """With `cables` every link can be given a delay; `prefix` tells the sites of several of these apart."""
        self._lab = lab
        self._start = start
        self._prefix = prefix
        self._cables = cables
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
                "-".join(part for part in (self._prefix, *key) if part),
                kind,
                clients=2 if variant == "one-router" else 1,
                ipv6=variant == "ipv6",
                lan=1 if variant == "same-lan" else None,
                cables=self._cables,
            )
        return self._sites[key]

    def forget(self, cell: Cell) -> None:
        """Make the NATs of a cell forget their mappings, as minutes without traffic would."""
        for side, kind in (("l", cell.left), ("r", cell.right)):
            site = self._sites.get((side, kind, cell.variant))
            if site is not None:
                site.flush()

    def run(self, cell: Cell) -> Outcome:
        """Play a cell.

        Raises AssertionError with both transcripts when what must happen does not.
        """
        left, right = self.clients(cell)
        first = agent(left, str(cell), "left", "-v", start=self._start)
        time.sleep(cell.skew)  # the skew is what the cell is about
        second = agent(right, str(cell), "right", "-v", start=self._start)
        try:
            outcome = _outcome(first, second, direct=cell.links)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- left\n{first.transcript()}\n--- right\n{second.transcript()}") from None
        finally:
            for program in (first, second):
                program.kill()
        return replace(outcome, probes=_probes((first, second))) if cell.links else outcome


def _outcome(left: Program, right: Program, *, direct: bool) -> Outcome:
    """Wait until both sides have each other's message, and until the path is the one that it must be."""
    programs = (left, right)
    ups = [program.wait_for("link_up", PATIENCE) for program in programs]
    data = [program.wait_for("data", PATIENCE) for program in programs]
    assert [record["text"] for record in data] == ["I am right", "I am left"]
    wanted = _is_direct if direct else _is_explained
    paths = [program.wait_for("path", PATIENCE, wanted, otherwise="link_up") for program in programs]
    offered_at = _offered_at(*programs)

    def since(records: list[Record]) -> float:
        return float((min(record["ts"] for record in records) - offered_at) * 1000)

    if not direct:
        for program in programs:
            assert not any(map(_is_direct, program.records)), "a direct path where the oracle knows of none"
    return Outcome(
        kinds=(paths[0]["kind"], paths[1]["kind"]) if direct else None,
        method=paths[0].get("method") if direct else None,
        probes=None,
        linked_ms=since(ups),
        direct_ms=since(paths) if direct else None,
        first_message_ms=since(data),
        reason=None if direct else str(paths[0]["reason"]),
    )


def _probes(programs: tuple[Program, Program]) -> int | None:
    """Return what both sides, which have ended, say in their logs of the pair that probing has found."""
    counts = [int(count) for program in programs for count in _FOUND.findall(program.errors)]
    return sum(counts) if counts else None


def _is_direct(record: Record) -> bool:
    return record.get("path") == "direct"


def _is_explained(record: Record) -> bool:
    """Whether a relayed path says why, after the checks have failed."""
    return record.get("path") == "relay" and record["cause"] != RelayCause.NOT_YET


def _offered_at(*programs: Program) -> float:
    """Return when the OFFER that led to the link was sent: by the account of the side that saw it first."""
    ups = [program.wait_for("link_up", PATIENCE) for program in programs]
    return min(float(up["ts"]) - float(up["elapsed_ms"]) / 1000 for up in ups)
