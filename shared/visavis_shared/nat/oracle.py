"""The oracle over two NATs: which way a direct path can come about, if any.

It is the yardstick of the NAT matrix: it plays ICE's connectivity checks, and the probing beyond them, against two
ideal NATs, so that a matrix cell can be wrong in only one of two places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from visavis_shared.nat.behaviour import Filtering, Mapping, NatBehaviour


class Method(StrEnum):
    """How two hosts come to a direct path, from the cheapest to none at all."""

    PLAIN_ICE = "plain_ice"
    """Connectivity checks between host and server-reflexive candidates (RFC 8445) suffice."""
    PORT_MAPPING = "port_mapping"
    """The same, once a gateway has mapped a port (PCP, NAT-PMP, UPnP-IGD)."""
    PREDICTION = "prediction"
    """Ports are allocated in sequence: probes go to the next ones."""
    BIRTHDAY = "birthday"
    """Ports are random: many mappings on one side, many probes from the other."""
    RELAY = "relay"
    """No direct path can be expected."""


class Side(StrEnum):
    """Which of the two sends the probes."""

    LOCAL = "local"
    REMOTE = "remote"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle says of a pair."""

    method: Method
    prober: Side | None = None
    """With prediction and birthday: who probes; the other side opens mappings. Both: each aims at the other's next."""


_ROUNDS: Final = 4  # a pair of ideal NATs is decided by the third exchange; one more proves that nothing moves


class _Address(NamedTuple):
    host: str
    port: str


_CHEAPEST_FIRST: Final = tuple(Method)
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


def verdict(local: NatBehaviour, remote: NatBehaviour) -> Verdict:
    """Return the cheapest method that links two hosts in different networks, and who probes in it.

    A first datagram gets in when its sender can aim at a mapping (the port is known, follows from the last ones, or
    is hit by many probes) whose filter admits it. The answer must then lead to a pair of addresses that stays.
    Where either side could probe at the same cost, `local` does.
    """
    if not (local.udp and remote.udp):
        return Verdict(Method.RELAY)
    if plain_ice_links(local, remote):
        return Verdict(Method.PLAIN_ICE)
    if local.predictable and remote.predictable:
        return Verdict(Method.PREDICTION, Side.BOTH)
    ways = [
        (Method.PREDICTION if target.predictable else Method.BIRTHDAY, side)
        for side, prober, target in ((Side.LOCAL, local, remote), (Side.REMOTE, remote, local))
        if _reaches(prober=prober, target=target)
    ]
    return Verdict(*min(ways, key=lambda way: _CHEAPEST_FIRST.index(way[0]))) if ways else Verdict(Method.RELAY)


def expected_method(
    local: NatBehaviour,
    remote: NatBehaviour,
    *,
    local_mapped: bool = False,
    remote_mapped: bool = False,
    one_outer_nat: bool = False,
) -> Method:
    """Return how two hosts come to a direct path over IPv4; symmetric in the two sides.

    `local_mapped` and `remote_mapped` when a gateway has mapped a port for that side; `one_outer_nat` when both are
    behind the same NAT, but not in the same network, and so need its hairpinning.
    """
    if one_outer_nat and not (local.hairpinning and remote.hairpinning):
        return Method.RELAY
    method = verdict(local, remote).method
    if method is not Method.PLAIN_ICE and (local_mapped or remote_mapped):
        opened = (_mapped(local) if local_mapped else local, _mapped(remote) if remote_mapped else remote)
        if plain_ice_links(*opened):
            return Method.PORT_MAPPING
    return method


def _mapped(nat: NatBehaviour) -> NatBehaviour:
    return replace(nat, mapping=Mapping.ENDPOINT_INDEPENDENT, filtering=Filtering.ENDPOINT_INDEPENDENT)


def _reaches(*, prober: NatBehaviour, target: NatBehaviour) -> bool:
    """Whether probes from one socket behind `prober` find mappings that a host behind `target` has opened."""
    if target.mapping is Mapping.ENDPOINT_INDEPENDENT:
        return False  # nothing to find: where its known port does not help, plain ICE has failed already
    source_stays = prober.mapping is not Mapping.ADDRESS_AND_PORT_DEPENDENT
    source_known = prober.mapping is Mapping.ENDPOINT_INDEPENDENT or (source_stays and prober.predictable)
    if source_known:
        return (
            True  # the target has sent to that very source: its filter is open, and its answer leaves by the same port
        )
    if target.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT:
        return False
    if target.mapping is Mapping.ADDRESS_DEPENDENT:
        return True  # one port for all of the prober's
    return source_stays and prober.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT
