"""Why two agents found no direct path, in words."""

from __future__ import annotations

from visavis_shared.nat.behaviour import Mapping
from visavis_shared.nat.report import NatReport


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
        return "both NATs use a different port for every destination, so neither side can tell the other where to send"
    if dependent:
        return (
            f"{dependent[0]} NAT uses a different port for every destination, "
            "and the other side's lets in only packets from ports it has sent to"
        )
    return "no check got through in either direction, although both NATs look punchable: a firewall may drop UDP"
