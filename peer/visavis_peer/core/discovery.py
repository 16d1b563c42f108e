"""From STUN answers to a report on the NAT: RFC 5780 sections 4.3 and 4.4 as pure functions over observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visavis_shared.nat import Filtering, Mapping, NatReport
from visavis_shared.stun import Address


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


def mapping_of(answers: Sequence[StunAnswer]) -> tuple[Mapping | None, str]:
    """Return the mapping behaviour that `answers` of one socket prove, or None, and the reason in both cases."""
    if len({answer.server for answer in answers}) < 2:
        return None, "mapping: fewer than two STUN server addresses or ports answered"
    mapped = {answer.mapped for answer in answers}
    if len(mapped) == 1:
        if len({answer.server[0] for answer in answers}) == 1:
            return None, "mapping: the same towards two ports, but no second STUN address answered"
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


def nat_report(
    local: Address | None,
    answers: Sequence[StunAnswer],
    probe: FilteringProbe | None,
    *,
    complete: bool,
    probed: bool = True,
) -> NatReport:
    """Sum up what one socket bound to `local` has seen.

    `complete` when every server has answered or had its time, `probed` when the filtering probe is over.
    """
    if not answers:
        note = "no STUN server answered" if complete else "no STUN server has answered yet"
        return NatReport(udp=False if complete else None, notes=(note,))
    mapping, mapping_note = mapping_of(answers)
    filtering, filtering_note = filtering_of(probe)
    if not complete:
        mapping_note = "mapping: not measured yet"
    if not probed:
        filtering_note = "filtering: not measured yet"
    notes = [note for value, note in ((mapping, mapping_note), (filtering, filtering_note)) if value is None]
    mapped = answers[0].mapped
    return NatReport(
        udp=True,
        nat=None if local is None else mapped[0] != local[0],
        mapping=mapping,
        filtering=filtering,
        port_preserved=None if local is None else mapped[1] == local[1],
        notes=tuple(notes),
    )
