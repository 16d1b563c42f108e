"""From STUN answers to a report on the NAT: RFC 5780 sections 4.3 and 4.4 as pure functions over observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from visavis_peer.core.nat.allocation import PortSample, allocation_of
from visavis_shared.nat import Filtering, Mapping, NatReport
from visavis_shared.stun import Address

NOBODY_ASKED: Final = "there was no STUN server to ask"
"""The note of a report that nobody could say anything to."""
ONE_ADDRESS: Final = "mapping: the same towards two ports, but no second STUN address answered"
"""The note of a mapping that is presumed to be endpoint-independent: a server with one address is the normal case."""


@dataclass(frozen=True, slots=True)
class StunAnswer:
    """One Binding success response on a socket."""

    server: Address
    """The address that was asked."""
    mapped: Address
    """The socket's address as that server saw it."""


@dataclass(frozen=True, slots=True)
class FilteringProbe:
    """Which CHANGE-REQUEST answers came in on a socket that had sent to the server's first address only.

    None: could not be asked for.
    """

    other_address: bool | None
    """From another address and another port."""
    other_port: bool | None
    """From the same address and another port."""
    mapped: Address | None = None
    """The socket's mapped address towards the server's first address."""
    mapped_after: Address | None = None
    """The same towards an address whose answer had been kept out before, so that it was the first to send."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What goes beyond mapping and filtering; a member that was not measured is None or empty."""

    samples: Sequence[PortSample] = ()
    """New mappings of several sockets, in the order in which they were made."""
    hairpin: bool | None = None
    """Whether a datagram from a second socket to the first one's mapped address came in."""
    silences: Sequence[tuple[float, bool]] | None = None
    """Seconds without a packet on a mapping, and whether it still let an answer in (RFC 5780 section 4.6)."""
    gateway_external: str | None = None
    """The external address that the gateway tells (PCP, NAT-PMP, UPnP-IGD)."""
    gateway_note: str | None = None
    """Why the gateway gives no port, where it has said or shown."""
    probing: bool | None = None
    """Whether this agent takes part in prediction and birthday probing."""


def mapping_of(answers: Sequence[StunAnswer]) -> tuple[Mapping | None, str]:
    """Return the mapping behaviour that `answers` of one socket prove, or None, and the reason in both cases."""
    if len({answer.server for answer in answers}) < 2:
        return None, "mapping: fewer than two STUN server addresses or ports answered"
    mapped = {answer.mapped for answer in answers}
    if len(mapped) == 1:
        if len({answer.server[0] for answer in answers}) == 1:
            return None, ONE_ADDRESS
        return Mapping.ENDPOINT_INDEPENDENT, "the same towards every server"
    by_host: dict[str, set[Address]] = {}
    for answer in answers:
        by_host.setdefault(answer.server[0], set()).add(answer.mapped)
    if any(len(seen) > 1 for seen in by_host.values()):
        return Mapping.ADDRESS_AND_PORT_DEPENDENT, "differs between two ports of one server"
    asked_twice = any(sum(answer.server[0] == host for answer in answers) > 1 for host in by_host)
    if asked_twice:
        return Mapping.ADDRESS_DEPENDENT, "differs between addresses, not between ports"
    return (
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
        "differs between two servers; no second port answered, so at least by address",
    )


def filtering_of(probe: FilteringProbe | None) -> tuple[Filtering | None, str]:
    """Return the filtering behaviour that `probe` proves, or None, and the reason in both cases."""
    if probe is None:
        return None, "filtering: no STUN server that can answer from another port"
    if probe.other_address:
        return Filtering.ENDPOINT_INDEPENDENT, "an answer from another address came in"
    if probe.other_address is None:
        if probe.other_port is False:
            return Filtering.ADDRESS_AND_PORT_DEPENDENT, "an answer from another port was kept out"
        return None, "filtering: the STUN server has only one address to answer from"
    if probe.other_port is None:
        return None, "filtering: not asked for an answer from another port"
    if probe.other_port:
        return Filtering.ADDRESS_DEPENDENT, "an answer from another port came in, from another address not"
    return Filtering.ADDRESS_AND_PORT_DEPENDENT, "answers from another address or port were kept out"


def hairpinning_of(survey: Survey) -> tuple[bool | None, str]:
    """Return whether the NAT hairpins (RFC 5780 section 4.5), and the reason."""
    if survey.hairpin is None:
        return None, "hairpinning: not measured"
    return survey.hairpin, "measured by a datagram to the own mapped address"


def lifetime_of(survey: Survey) -> tuple[float | None, str]:
    """Return the longest silence in seconds that a mapping survived and no shorter one killed, and the reason."""
    if survey.silences is None:
        return None, "lifetime: not measured, it takes minutes (visavis doctor --lifetime)"
    if not survey.silences:
        return None, "lifetime: the STUN server knows no RESPONSE-PORT, or the external address changes"
    shortest_death = min((silence for silence, alive in survey.silences if not alive), default=float("inf"))
    survived = [silence for silence, alive in survey.silences if alive and silence < shortest_death]
    if not survived:
        return None, f"lifetime: below {shortest_death:g} s, the shortest silence that was tried"
    return max(survived), "the longest silence that a mapping survived"


def nat_count_of(local: Address | None, mapped: Address, gateway_external: str | None) -> tuple[int | None, str]:
    """Return how many NATs are in the way at least, and the reason."""
    if local is not None and mapped[0] == local[0]:
        return 0, "the mapped address is the local one"
    if gateway_external is None:
        return None, "number of NATs: no gateway tells its external address"
    if gateway_external == mapped[0]:
        return 1, "the gateway's external address is the mapped one"
    return 2, "the gateway's external address is not the mapped one: another NAT is beyond it"


def poisonable_of(answers: Sequence[StunAnswer], probe: FilteringProbe | None) -> tuple[bool | None, str]:
    """Return whether a packet that comes first changes the mapping towards its sender, and the reason."""
    if probe is None:
        return None, "poisonable: no STUN server that can send first"
    if len({answer.server for answer in answers}) < 2:
        return None, "poisonable: fewer than two STUN server addresses or ports to compare"
    if len({answer.mapped for answer in answers}) > 1:
        return None, "poisonable: the mapping differs from server to server anyway"
    if probe.other_address or (probe.other_address is None and probe.other_port):
        return False, "what comes first is let in"
    if probe.mapped is None or probe.mapped_after is None:
        return None, "poisonable: the STUN server that sent first does not answer"
    return probe.mapped_after != probe.mapped, "compared with the mapping towards a server that had not sent before"


def nat_report(
    local: Address | None,
    answers: Sequence[StunAnswer],
    probe: FilteringProbe | None,
    *,
    complete: bool,
    asked: bool = True,
    probed: bool = True,
    survey: Survey | None = None,
) -> NatReport:
    """Sum up what one socket bound to `local` has seen.

    `complete` when every server has answered or had its time, `asked` when there was any, `probed` when the filtering
    probe is over. Without a `survey` the report leaves out what only a survey can tell, and says nothing of it.
    """
    # nothing has come back: UDP is blocked only where everybody had time to answer, and there was anybody
    if not answers:
        note = "no STUN server answered" if complete else "no STUN server has answered yet"
        return NatReport(
            udp=False if complete and asked else None,
            probing=None if survey is None else survey.probing,
            notes=(note if asked else NOBODY_ASKED, *_gateway_note(survey)),
        )
    mapping, mapping_note = mapping_of(answers)
    filtering, filtering_note = filtering_of(probe)
    # a finding that is still to come is not one that could not be made
    if not complete:
        mapping_note = "mapping: not measured yet"
    if not probed:
        filtering_note = "filtering: not measured yet"
    mapped = answers[0].mapped
    report = NatReport(
        udp=True,
        nat=None if local is None else mapped[0] != local[0],
        mapping=mapping,
        filtering=filtering,
        port_preserved=None if local is None else mapped[1] == local[1],
        notes=_unknown((mapping, mapping_note), (filtering, filtering_note)),
    )
    # the first report goes out as soon as mapping and filtering are known; it must not call the rest unknown
    if survey is None:
        return report
    allocation, allocation_note = allocation_of(survey.samples)
    hairpinning, hairpinning_note = hairpinning_of(survey)
    lifetime, lifetime_note = lifetime_of(survey)
    poisonable, poisonable_note = poisonable_of(answers, probe)
    nat_count, nat_count_note = nat_count_of(local, mapped, survey.gateway_external)
    # without a NAT there is nothing to know of these
    unknown: tuple[tuple[object, str], ...] = (
        (allocation, allocation_note),
        (hairpinning, hairpinning_note),
        (lifetime, lifetime_note),
        (nat_count, nat_count_note),
        (poisonable, poisonable_note),
    )
    return report.model_copy(
        update={
            "allocation": allocation.kind if allocation else None,
            "allocation_step": allocation.step if allocation else None,
            "foreign_rate": allocation.foreign_rate if allocation else None,
            "last_port": allocation.last_port if allocation else None,
            "port_block": allocation.block if allocation else None,
            "hairpinning": hairpinning,
            "lifetime_s": lifetime,
            "nat_count": nat_count,
            "poisonable": poisonable,
            "probing": survey.probing,
            "notes": report.notes + (() if report.nat is False else _unknown(*unknown)) + _gateway_note(survey),
        }
    )


def _gateway_note(survey: Survey | None) -> tuple[str, ...]:
    return () if survey is None or survey.gateway_note is None else (survey.gateway_note,)


def _unknown(*findings: tuple[object, str]) -> tuple[str, ...]:
    """Return the reasons of what is None."""
    return tuple(note for value, note in findings if value is None)
