"""What can be expected of links to peers behind the usual kinds of NAT, from one side's report."""

from __future__ import annotations

from typing import Final

from visavis_peer.core.nat.observations import NOBODY_ASKED, ONE_ADDRESS
from visavis_shared.nat import Allocation, Filtering, Mapping, Method, NatBehaviour, NatReport, expected_method

_DEPENDENT: Final = Mapping.ADDRESS_AND_PORT_DEPENDENT
_BY_PORT: Final = Filtering.ADDRESS_AND_PORT_DEPENDENT

PARTNERS: Final[dict[str, NatBehaviour]] = {
    "a public address": NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ENDPOINT_INDEPENDENT),
    "a home router or firewall": NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, _BY_PORT),
    "a NAT with sequential ports": NatBehaviour(_DEPENDENT, _BY_PORT, allocation=Allocation.SEQUENTIAL),
    "a NAT with random ports": NatBehaviour(_DEPENDENT, _BY_PORT, allocation=Allocation.RANDOM),
    "a network without UDP": NatBehaviour(_DEPENDENT, _BY_PORT, udp=False),
}
"""The usual kinds, by what they are called in a sentence."""

IN_WORDS: Final[dict[Method, str]] = {
    Method.PLAIN_ICE: "direct, by connectivity checks",
    Method.PORT_MAPPING: "direct, by a port that a gateway maps",
    Method.PREDICTION: "direct, by port prediction",
    Method.BIRTHDAY: "direct, by birthday probing: half the time within 0.5 s",
    Method.RELAY: "through the relay",
}


def forecast(report: NatReport) -> dict[str, Method] | None:
    """Return how links to each of PARTNERS can be expected to come about; None while the NAT is not known.

    Where there is no NAT the mapping is that of none; what one server address has seen to be the same is presumed to be
    the same towards all.
    """
    if report.mapping is None and (report.nat is False or ONE_ADDRESS in report.notes):
        report = report.model_copy(update={"mapping": Mapping.ENDPOINT_INDEPENDENT})
    behaviour = report.behaviour()
    if behaviour is None:
        return None
    return {name: _method(report, behaviour, partner) for name, partner in PARTNERS.items()}


def _method(report: NatReport, behaviour: NatBehaviour, partner: NatBehaviour) -> Method:
    method = expected_method(behaviour, partner)
    probes = method in (Method.PREDICTION, Method.BIRTHDAY)
    return Method.RELAY if probes and not report.probing else method


def conclusion(report: NatReport, *, inside: bool = False, unreachable: bool = False) -> str:
    """Return in one sentence how good this side's network is for direct links.

    `inside` tells that the STUN server has seen an address that is of use within its network only; `unreachable` that
    there is no way to the signaling server.
    """
    if report.udp is False:
        return "UDP does not get out of this network: every link goes through the relay, where the server offers one"
    if NOBODY_ASKED in report.notes:
        cause = "the signaling server cannot be reached, so that " if unreachable else ""
        return f"nothing is known about this network: {cause}there was no STUN server to ask (--stun HOST names one)"
    if report.nat is False and inside:
        return (
            "the server is in this machine's own network, so only links within that are known to be direct; "
            "to find out about others, ask a STUN server outside (--stun HOST)"
        )
    expected = forecast(report)
    if expected is None:
        return "too little is known of the NAT to say what can be expected"
    relayed = [name for name, method in expected.items() if method is Method.RELAY and PARTNERS[name].udp]
    good = "direct links to every peer whose network lets UDP through"
    if relayed:
        good = f"direct links to most peers; through the relay to those behind {' or '.join(relayed)}"
    presumed = report.mapping is None and report.nat is not False
    return f"as far as one server address can tell, {good}" if presumed else good
