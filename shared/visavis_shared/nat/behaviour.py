"""What a NAT does, in the words of RFC 4787: mapping, filtering, port allocation, hairpinning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Mapping(StrEnum):
    """How a NAT chooses the external port of an internal endpoint (RFC 4787 section 4.1)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Filtering(StrEnum):
    """Which external endpoints a NAT or firewall lets in through a mapping (RFC 4787 section 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Allocation(StrEnum):
    """Which external port a new mapping gets (RFC 4787 section 4.2)."""

    PRESERVING = "preserving"
    """The internal port, as long as it is free."""
    SEQUENTIAL = "sequential"
    """The last one plus a constant step."""
    RANDOM = "random"
    BLOCK = "block"
    """Random within a block of ports that belongs to the subscriber (RFC 7422)."""


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """An ideal NAT or firewall; a public host is endpoint-independent in both."""

    mapping: Mapping
    filtering: Filtering
    udp: bool = True
    """False where UDP is dropped altogether."""
    allocation: Allocation = Allocation.RANDOM
    """Matters where the mapping is dependent; preserving there means that nothing can be predicted."""
    hairpinning: bool = False
    """Whether two hosts behind this NAT reach each other by its external address (RFC 4787 section 6)."""

    @property
    def predictable(self) -> bool:
        """Whether the port of the next mapping follows from the last ones."""
        return self.mapping is not Mapping.ENDPOINT_INDEPENDENT and self.allocation is Allocation.SEQUENTIAL

    def behind(self, outer: NatBehaviour) -> NatBehaviour:
        """Return what this NAT and `outer` in front of it look like from outside: the stricter of each.

        The outer NAT gives the ports, unless it preserves the inner one's.
        """
        return NatBehaviour(
            mapping=max(self.mapping, outer.mapping, key=_STRICTNESS.index),
            filtering=max(self.filtering, outer.filtering, key=_STRICTNESS.index),
            udp=self.udp and outer.udp,
            allocation=self.allocation if outer.allocation is Allocation.PRESERVING else outer.allocation,
            hairpinning=outer.hairpinning,
        )


_STRICTNESS: Final = ("endpoint-independent", "address-dependent", "address-and-port-dependent")
