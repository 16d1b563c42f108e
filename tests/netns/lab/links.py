"""The cables of the lab: a pair of virtual Ethernet devices, or a process that can impair what it carries.

The outer end is the one nearer to the internet; it is a port of a bridge, the inner one has the addresses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, Protocol

from tests.netns.engine.impairment import PERFECT, Impairment
from tests.netns.lab.devices import open_tap
from tests.netns.lab.namespaces import Namespace, connect
from tests.netns.lab.workers import Worker

DirectionName = Literal["outward", "inward"]
"""Towards the internet, or away from it."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a cable is plugged in: namespace and device at each end."""

    outer: Namespace
    outer_device: str
    inner: Namespace
    inner_device: str


class Link(Protocol):
    """A cable."""

    def cut(self) -> None:
        """Pull the plug: nothing passes, and the inner end has lost its carrier. Idempotent."""

    def mend(self) -> None:
        """Put it back. Idempotent."""

    def impair(self, impairment: Impairment = PERFECT, direction: DirectionName | None = None) -> None:
        """Treat what comes from now on so, in one direction or both.

        Raises NotImpairable where the site has been built without user-space cables.
        """

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the fate of the frames so far by direction: `engine.impairment.DirectionCounts`.

        Raises NotImpairable as `impair`.
        """


class NotImpairable(RuntimeError):
    """The kernel's own cables are perfect, or cut."""

    def __init__(self, ends: Ends) -> None:
        super().__init__(f"{ends.inner}: build the site with cables=True to impair its links or count their frames")


class KernelLink:
    """A veth pair: costs nothing, and can only be cut."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        connect(ends.outer, ends.outer_device, ends.inner, ends.inner_device)

    def cut(self) -> None:
        self._ends.outer.configure(f"link set {self._ends.outer_device} down")

    def mend(self) -> None:
        self._ends.outer.configure(f"link set {self._ends.outer_device} up")

    def impair(self, impairment: Impairment = PERFECT, direction: DirectionName | None = None) -> None:
        raise NotImpairable(self._ends)

    def counts(self) -> dict[str, dict[str, int]]:
        raise NotImpairable(self._ends)


class Cable:
    """Two TAP devices and the process between them."""

    def __init__(self, ends: Ends) -> None:
        devices = [open_tap(ends.outer, ends.outer_device), open_tap(ends.inner, ends.inner_device)]
        self._worker = Worker(ends.outer, "tests.netns.engine.cable", devices)

    def cut(self) -> None:
        self._worker.command("cut")

    def mend(self) -> None:
        self._worker.command("mend")

    def impair(self, impairment: Impairment = PERFECT, direction: DirectionName | None = None) -> None:
        directions = [direction] if direction else ["outward", "inward"]
        for each in directions:
            self._worker.command("impair", direction=each, impairment=asdict(impairment))

    def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = self._worker.command("counts")
        return counts
