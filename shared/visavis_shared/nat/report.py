"""The report an agent makes of the NATs before it; it travels in OFFER, ANSWER and CANDIDATE."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from visavis_shared.nat.behaviour import Allocation, Filtering, Mapping, NatBehaviour

Port = Annotated[int, Field(ge=1, le=65535)]
PortPair = Annotated[tuple[Port, Port], Field(strict=False)]


class NatReport(BaseModel):
    """What an agent knows of the NATs before it; `None` means unknown, and `notes` says why.

    Both sides plan and explain from the same two reports.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    udp: bool | None = None
    """Whether any STUN server answered over UDP."""
    nat: bool | None = None
    """Whether the mapped address differs from the local one."""
    mapping: Mapping | None = Field(default=None, strict=False)
    filtering: Filtering | None = Field(default=None, strict=False)
    port_preserved: bool | None = None
    """Whether the external port equals the local one."""
    allocation: Allocation | None = Field(default=None, strict=False)
    """Which port a new mapping gets."""
    allocation_step: Annotated[int, Field(ge=-32768, le=32767)] | None = None
    """Ports from one allocation to the next, where they are sequential; negative when they descend."""
    foreign_rate: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    """Allocations a second that others behind the same NAT make, where ports are sequential."""
    last_port: Port | None = None
    """External port of the newest mapping when this report was made, where ports are sequential."""
    attempt: Annotated[int, Field(ge=1, le=16)] | None = None
    """Number of the attempt at meeting in this session that `last_port` was sampled for."""
    port_bracket: PortPair | None = None
    """External ports of the mappings made right before and right after the openers, where ports are sequential."""
    port_block: PortPair | None = None
    """Lowest and highest port that this subscriber's mappings get, where they keep to a block."""
    hairpinning: bool | None = None
    """Whether the own external address reaches the host from inside."""
    lifetime_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] | None = None
    """Seconds of silence that a mapping is known to survive."""
    nat_count: Annotated[int, Field(ge=0, le=16)] | None = None
    """NATs in the way, at least."""
    poisonable: bool | None = None
    """Whether a packet from outside that comes first changes the mapping towards its sender."""
    probing: bool | None = None
    """Whether this agent takes part in prediction and birthday probing; None, an older agent, counts as no."""
    notes: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=8, strict=False)] = ()
    """Reasons for what is unknown, at most 8 of at most 200 characters."""

    @model_validator(mode="after")
    def _ordered_block(self) -> Self:
        if self.port_block is not None and self.port_block[0] > self.port_block[1]:
            raise ValueError("port_block: the lowest port comes first")
        return self

    def behaviour(self) -> NatBehaviour | None:
        """Return the NAT to plan for, or None while the mapping behaviour is unknown.

        What else is unknown counts as the strictest: filtering by address and port, random allocation.
        """
        if self.udp is False:
            return NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT, udp=False)
        if self.mapping is None:
            return None
        return NatBehaviour(
            self.mapping,
            self.filtering or Filtering.ADDRESS_AND_PORT_DEPENDENT,
            allocation=self.allocation or Allocation.RANDOM,
            hairpinning=self.hairpinning or False,
        )
