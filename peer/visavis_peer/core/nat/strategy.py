"""From two NAT reports to a plan: who opens mappings, who probes what, how fast and for how long.

A pure function, so that both sides come to the same plan without a word: each calls it with the same two reports, its
own first. Plain ICE runs in any case; a plan says what runs beside it from the first moment. docs/nat.md tells why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from visavis_peer.core.counts import PROBE_BUDGET
from visavis_peer.core.nat.allocation import FIRST_PORT, LAST_PORT, PortSample
from visavis_peer.core.nat.prediction import PortSequence, between, meeting_offset, meeting_size, window
from visavis_shared.nat import (
    Allocation,
    Mapping,
    Method,
    NatBehaviour,
    NatReport,
    Side,
    expected_method,
    verdict,
)

RATE: Final = 490
"""Packets a second of the probing side: with what a late timer makes up for, no second sees more than 500, which
firewalls do not take for a scan."""
OPENER_SOCKETS: Final = 256
"""Mappings on the side with random ports: 174 probes find one half the time, and select() and CGN quotas bear them."""
OPENER_TTLS: Final = (4, 6, 64)
"""Hops of the openers by round: past two NATs but short of the peer's, then farther, then no limit (hyperdht: 5)."""
PREDICTED_OPENERS: Final = 3
"""Mappings where ports can be predicted: two of them may be lost."""
DURATION: Final = 5.0
"""Seconds of a round: the budget takes 4.2, and an answer has 0.8 left; the connectivity checks take as long."""
MEETING_DURATION: Final = 1.0
"""Seconds of one attempt at meeting: what the first passes over all mappings do not find, later ones do not."""
MEETING_ATTEMPTS: Final = 4
"""Attempts at meeting in a round: as many as fit into it; each is a new draw against the traffic of others."""
SAMPLE_AGE: Final = 0.3
"""Seconds that a port sample is taken to be old when the peer acts on it: a slow signaling round trip."""
_BLOCK_SHARE: Final = 32  # one mapping in so many ports: 147 probes find one 99 times in 100, however wide the block
_BLOCK_SOCKETS: Final = 16  # at least, so that a lost opener is no matter


class Role(StrEnum):
    """What a side does besides its connectivity checks."""

    NONE = "none"
    OPEN = "open"
    """Opens mappings by low-TTL openers from sockets of their own, and waits for probes."""
    PROBE = "probe"
    """Sends probes from the one socket that the openers were sent to."""
    MEET = "meet"
    """Opens mappings in sequence, all of them aimed at one port of the peer, which does the same."""


@dataclass(frozen=True, slots=True)
class KnownPort:
    """The port of the peer's server-reflexive candidate."""


@dataclass(frozen=True, slots=True)
class Ports:
    """These ports of the peer, the likeliest first; at most 256."""

    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PortRange:
    """Every port from `low` to `high` in random order, as far as the budget goes."""

    low: int
    high: int


Targets = KnownPort | Ports | PortRange


@dataclass(frozen=True, slots=True)
class Situation:
    """What both sides know of the pair besides the reports."""

    same_public_address: bool = False
    """Both have the same mapped IPv4 address."""
    families: frozenset[int] = frozenset({4})
    """IP versions in which both sides have candidates: of 4 and 6."""
    local_mapped: bool = False
    """A gateway has mapped a port for this side (PCP, NAT-PMP, UPnP-IGD)."""
    remote_mapped: bool = False
    round: int = 0
    """Failed rounds before this one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one side does; data, to be carried out by `core.birthday`."""

    method: Method
    role: Role
    reason: str
    """One sentence for the person who runs this side."""
    sockets: int = 0
    """Sockets that send. A prober's single one is that of its server-reflexive candidate, unless its port is bracketed:
    that one, and all others, are new."""
    targets: Targets | None = None
    """None with a role: the peer has yet to tell the ports it got; plan again with its next report."""
    bracket: bool = False
    """From sockets of their own, make one mapping towards a STUN server right before the first packet and one after as
    many packets as `sockets`; tell both ports (`port_bracket`) in a new report: the peer aims in between."""
    meeting_port: int | None = None
    """The own port that the peer aims at: allocate until a mapping has it."""
    ttl: int | None = None
    """Hops of openers, 1 to 255; None: the system's default."""
    rate: int = 0
    """Packets a second."""
    budget: int = 0
    """Packets in all."""
    duration: float = 0.0
    """Seconds after which it is over."""
    attempts: int = 1
    """How often in a round. For each further attempt sample again, tell `last_port` in a new report, wait for the
    peer's, plan again, and use new sockets."""


def opener_ttl(failures: int) -> int:
    """Return the hops of the openers after so many failed rounds."""
    return OPENER_TTLS[min(failures, len(OPENER_TTLS) - 1)]


def plan(local: NatReport, remote: NatReport, controlling: bool, situation: Situation = Situation()) -> Plan:
    """Return what this side does; `controlling` is its ICE role, which the two sides never share."""
    settled = _settled(local, remote, situation)
    if settled is not None:
        return settled
    mine, theirs = local.behaviour(), remote.behaviour()
    assert mine is not None
    assert theirs is not None
    first, second = (mine, theirs) if controlling else (theirs, mine)
    found = verdict(first, second)
    if found.prober is Side.BOTH:
        return _meeting(local, remote, found.method, situation)
    if (found.prober is Side.LOCAL) == controlling:
        return _probing(local, remote, mine, theirs, found.method)
    return _opening(local, remote, mine, theirs, found.method, situation)


def _settled(local: NatReport, remote: NatReport, situation: Situation) -> Plan | None:
    """Return the plan where no probing has a part in it."""
    # first what no NAT behaviour can change: without UDP on either side nothing but the relay is left
    if local.udp is False or remote.udp is False:
        whose = "this side" if local.udp is False else "the peer's side"
        return _idle(Method.RELAY, f"UDP seems blocked on {whose}: no STUN server answered")
    # nor do packets go from one family to the other
    if not situation.families:
        return _idle(Method.RELAY, "one side has only IPv4 addresses and the other only IPv6")
    # once: where IPv6 was of no use in the first round, later ones try what IPv4 allows
    if 6 in situation.families and (situation.round == 0 or 4 not in situation.families):
        return _idle(Method.PLAIN_ICE, "both sides have IPv6, where firewalls open by checks alone")
    mine, theirs = local.behaviour(), remote.behaviour()
    # both sides plan by the same two reports: with one unknown neither may assume what the other does not
    if mine is None or theirs is None:
        whose = "this side's" if mine is None else "the peer's"
        return _idle(Method.PLAIN_ICE, f"the mapping behaviour of {whose} NAT is not known")
    # what is sent to the common address comes back only through a NAT that hairpins, whatever port is guessed
    if situation.same_public_address and not (local.hairpinning and remote.hairpinning):
        return _idle(Method.PLAIN_ICE, "both sides have the same public address: only local addresses can be direct")
    method = expected_method(mine, theirs, local_mapped=situation.local_mapped, remote_mapped=situation.remote_mapped)
    match method:
        case Method.PLAIN_ICE:
            return _idle(method, "connectivity checks suffice for these NATs")
        case Method.PORT_MAPPING:
            return _idle(method, "a gateway has mapped a port, and checks to it get in")
        case Method.RELAY:
            return _idle(method, _no_way(mine, theirs))
        case Method.PREDICTION | Method.BIRTHDAY:
            # it takes two; one side may have been told not to (--probing never), or be too old to know how
            if local.probing and remote.probing:
                return None
            whose = "this side" if not local.probing else "the peer"
            return _idle(Method.RELAY, f"these NATs need {method} probing, and {whose} takes no part in it")
        case _:
            assert_never(method)


def _idle(method: Method, reason: str) -> Plan:
    return Plan(method, Role.NONE, reason)


def _no_way(mine: NatBehaviour, theirs: NatBehaviour) -> str:
    if mine.predictable == theirs.predictable:
        return (
            "both NATs give every destination another random port: to meet by chance "
            "would take some 50,000 mappings on either side"
        )
    whose, other = ("this side's", "the peer's") if theirs.predictable else ("the peer's", "this side's")
    return (
        f"{whose} NAT gives every destination a random port, and {other} another one to every port that is tried: "
        "a guess would have to be right on both sides at once"
    )


def _probing(local: NatReport, remote: NatReport, mine: NatBehaviour, theirs: NatBehaviour, method: Method) -> Plan:
    targets = _ports_of(remote) if theirs.predictable else _range_of(remote)
    return Plan(
        method,
        Role.PROBE,
        _reason(method, opener="the peer's", prober="this side", block=remote.port_block),
        sockets=1,
        targets=targets,
        bracket=_source_is_predicted(mine) and local.port_bracket is None,
        rate=RATE,
        budget=PROBE_BUDGET,
        duration=DURATION,
    )


def _opening(
    local: NatReport, remote: NatReport, mine: NatBehaviour, theirs: NatBehaviour, method: Method, situation: Situation
) -> Plan:
    return Plan(
        method,
        Role.OPEN,
        _reason(method, opener="this side's", prober="the peer", block=local.port_block),
        sockets=PREDICTED_OPENERS if mine.predictable else _openers(local),
        targets=_ports_of(remote) if _source_is_predicted(theirs) else KnownPort(),
        bracket=mine.predictable and local.port_bracket is None,
        ttl=opener_ttl(situation.round),
        rate=RATE,
        budget=PROBE_BUDGET,
        duration=DURATION,
    )


def _meeting(local: NatReport, remote: NatReport, method: Method, situation: Situation) -> Plan:
    port = _meeting_port(remote)
    return Plan(
        method,
        Role.MEET,
        "both NATs give out ports in sequence: each side aims at the other's next ones",
        sockets=meeting_size(local.foreign_rate, SAMPLE_AGE),
        targets=None if port is None else Ports((port,)),
        meeting_port=_meeting_port(local),
        ttl=opener_ttl(situation.round),
        rate=RATE,
        budget=PROBE_BUDGET // MEETING_ATTEMPTS,
        duration=MEETING_DURATION,
        attempts=MEETING_ATTEMPTS,
    )


def _reason(method: Method, *, opener: str, prober: str, block: tuple[int, int] | None) -> str:
    if method is Method.PREDICTION:
        return f"{opener} NAT gives out ports in sequence: {prober} probes the next ones"
    where = "random ports" if block is None else f"random ports of {block[0]} to {block[1]}"
    return f"{opener} NAT gives out {where}: many mappings there, and {prober} probes until it hits one"


def _source_is_predicted(prober: NatBehaviour) -> bool:
    """Whether a prober's one port towards the opener is not that of its candidate, but follows from its samples."""
    return prober.predictable and prober.mapping is Mapping.ADDRESS_DEPENDENT


def _sequence_of(report: NatReport) -> PortSequence | None:
    if report.last_port is None or not report.allocation_step:
        return None
    return PortSequence(PortSample(0, report.last_port, 0.0), report.allocation_step, report.foreign_rate)


def _ports_of(report: NatReport) -> Ports | None:
    """Return where a side with sequential ports can be, from its bracket or else from its last sample."""
    if report.port_bracket is not None and report.allocation_step:
        return Ports(between(*report.port_bracket, report.allocation_step))
    sequence = _sequence_of(report)
    return None if sequence is None else Ports(window(sequence, SAMPLE_AGE, PREDICTED_OPENERS))


def _meeting_port(report: NatReport) -> int | None:
    sequence = _sequence_of(report)
    return None if sequence is None else sequence.port(meeting_offset(meeting_size(report.foreign_rate, SAMPLE_AGE)))


def _range_of(report: NatReport) -> PortRange:
    if report.allocation is Allocation.BLOCK and report.port_block is not None:
        return PortRange(*report.port_block)
    return PortRange(FIRST_PORT, LAST_PORT)


def _openers(report: NatReport) -> int:
    targets = _range_of(report)
    return max(_BLOCK_SOCKETS, min(OPENER_SOCKETS, (targets.high - targets.low + 1) // _BLOCK_SHARE))
