"""What a user-space NAT is told to be, in the words of RFC 4787."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from visavis_shared.nat import Allocation, Filtering, Mapping

PORTS_DEFAULT = (1024, 65535)


@dataclass(frozen=True, slots=True)
class NatSettings:
    """A NAT: any combination is possible."""

    mapping: Mapping
    filtering: Filtering
    allocation: Allocation = Allocation.PRESERVING
    """Which port a new mapping gets; where preserving cannot, because the port is taken, a random one."""
    step: int = 1
    """Sequential: from one allocation to the next; may be negative."""
    foreign_max: int = 0
    """Sequential: between two allocations, others behind the same NAT make up to so many (uniform)."""
    ports: tuple[int, int] = PORTS_DEFAULT
    """Lowest and highest external port."""
    block_size: int = 512
    """Block: ports that each subscriber has (RFC 7422)."""
    hairpinning: bool = False
    """Whether inside hosts reach each other by the external address (RFC 4787 section 6)."""
    lifetime: float = 300.0
    """Seconds that a mapping, and the filter's permission for a remote, outlives its last use (RFC 4787 REQ-5)."""
    inbound_refresh: bool = False
    """Whether what comes in is use, too, and not only what goes out (RFC 4787 REQ-6)."""
    pool_size: int = 1
    """External addresses."""
    paired: bool = True
    """Whether an inside host always has the same external address (RFC 4787 section 4.1, "Paired")."""
    mappings_per_host: int | None = None
    """Mappings that one inside host may have at a time (RFC 6888 REQ-4); None is as many as there are ports."""

    def __post_init__(self) -> None:
        low, high = self.ports
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"ports must be a range within 1-65535, not {low}-{high}")
        if self.step == 0:
            raise ValueError("step must not be 0")
        if self.pool_size < 1:
            raise ValueError(f"a NAT has at least one external address, not {self.pool_size}")
        if self.allocation is Allocation.BLOCK and not 1 <= self.block_size <= high - low + 1:
            raise ValueError(f"block_size must be within 1-{high - low + 1}, the port range, not {self.block_size}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what `dataclasses.asdict`, and JSON, have made of settings."""
        return cls(
            **{
                **values,
                "mapping": Mapping(values["mapping"]),
                "filtering": Filtering(values["filtering"]),
                "allocation": Allocation(values["allocation"]),
                "ports": (values["ports"][0], values["ports"][1]),
            }
        )
