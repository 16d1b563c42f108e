"""NAT behaviour in the words of RFC 4787, the report an agent makes of its own, and the oracle over two of them.

The oracle is the yardstick of the NAT matrix: it plays ICE's connectivity checks against two ideal NATs and says
whether any candidate pair becomes valid, so that a matrix cell can be wrong in only one of two places.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, assert_never

from pydantic import BaseModel, ConfigDict, Field


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


class NatReport(BaseModel):
    """What an agent knows of the NATs before it; `None` means unknown, and `notes` says why.

    It travels in OFFER and ANSWER, so that both sides can explain an outcome from the same facts.
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
    notes: Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=8, strict=False)] = ()
    """Reasons for what is unknown, at most 8 of at most 200 characters."""


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """An ideal NAT or firewall; a public host is endpoint-independent in both."""

    mapping: Mapping
    filtering: Filtering
    udp: bool = True
    """False where UDP is dropped altogether."""

    def behind(self, outer: NatBehaviour) -> NatBehaviour:
        """Return what this NAT and `outer` in front of it look like from outside: the stricter of each."""
        return NatBehaviour(
            mapping=max(self.mapping, outer.mapping, key=_STRICTNESS.index),
            filtering=max(self.filtering, outer.filtering, key=_STRICTNESS.index),
            udp=self.udp and outer.udp,
        )


_STRICTNESS: Final = ("endpoint-independent", "address-dependent", "address-and-port-dependent")
_ROUNDS: Final = 4  # a pair of ideal NATs is decided by the third exchange; one more proves that nothing moves


class _Address(NamedTuple):
    host: str
    port: str


_STUN: Final = _Address("S", "s")


class _Side:
    """One host behind one ideal NAT, with the mappings and filters that its packets have made so far."""

    def __init__(self, host: str, nat: NatBehaviour) -> None:
        self.host = host
        self.nat = nat
        self.sent_to: dict[_Address, set[_Address]] = {}
        self.known_remotes: set[_Address] = set()
        self.reflexive = self.send(_STUN)

    def send(self, destination: _Address) -> _Address:
        """Open the mapping towards `destination` and return its external address."""
        match self.nat.mapping:
            case Mapping.ENDPOINT_INDEPENDENT:
                port = "any"
            case Mapping.ADDRESS_DEPENDENT:
                port = f"to {destination.host}"
            case Mapping.ADDRESS_AND_PORT_DEPENDENT:
                port = f"to {destination.host} {destination.port}"
            case mapping:
                assert_never(mapping)
        external = _Address(self.host, port)
        self.sent_to.setdefault(external, set()).add(destination)
        return external

    def lets_in(self, source: _Address, external: _Address) -> bool:
        """Whether a packet from `source` to the mapping `external`, which is open, reaches the host."""
        contacted = self.sent_to[external]
        match self.nat.filtering:
            case Filtering.ENDPOINT_INDEPENDENT:
                return True
            case Filtering.ADDRESS_DEPENDENT:
                return any(address.host == source.host for address in contacted)
            case Filtering.ADDRESS_AND_PORT_DEPENDENT:
                return source in contacted
            case filtering:
                assert_never(filtering)


def plain_ice_links(a: NatBehaviour, b: NatBehaviour) -> bool:
    """Return whether ICE (RFC 8445) without relays links two hosts behind `a` and `b`.

    Both hosts are taken to be in different networks and to send openers before their checks. A pair is valid only
    when the response to a check comes from the address that the check was sent to (RFC 8445 section 7.2.5.2.1).
    """
    if not (a.udp and b.udp):
        return False
    left, right = _Side("A", a), _Side("B", b)
    left.known_remotes.add(right.reflexive)
    right.known_remotes.add(left.reflexive)
    for _ in range(_ROUNDS):
        for side, other in ((left, right), (right, left)):
            for remote in sorted(side.known_remotes):
                source = side.send(remote)
                if not other.lets_in(source, remote):
                    continue
                other.known_remotes.add(source)
                if other.send(source) == remote and side.lets_in(remote, source):
                    return True
    return False


def explain_no_path(local: NatReport, remote: NatReport | None) -> str:
    """Return one sentence on why two agents found no direct path, for the person who runs `local`."""
    remote = remote or NatReport()
    for whose, report in (("this side", local), ("the peer's side", remote)):
        if report.udp is False:
            return f"UDP seems blocked on {whose}: no STUN server answered"
    dependent = [
        whose
        for whose, report in (("this side's", local), ("the peer's", remote))
        if report.mapping not in (None, Mapping.ENDPOINT_INDEPENDENT)
    ]
    if len(dependent) == 2:
        return "both NATs map every destination to a port of its own, so neither side can tell the other where to send"
    if dependent:
        return (
            f"{dependent[0]} NAT maps every destination to a port of its own, "
            "and the other side's lets in only the ports it has sent to"
        )
    return "no check got through in either direction, although both NATs look punchable: a firewall may drop UDP"
