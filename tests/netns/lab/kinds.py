"""The kinds of site: what each claims to be, and the rules of its router that make it so.

A router's interfaces are `wan` and `lan`. The nat prerouting chain exists even where it is empty: without it the kernel
does not translate the packets that come back. IPv6, where a site has it, is never translated: the same router is then a
stateful firewall. The kernel's maps are keyed by the client's own port, so the two clients of a cone NAT must not use
the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visavis_shared.nat import Filtering, Mapping, NatBehaviour

_DROP_NEW: Final = "iifname wan ct state new drop"
_DROP_UDP: Final = "meta l4proto udp drop"
_LEARN: Final = "oifname wan meta l4proto udp update @endpoints { udp sport timeout 300s : ip saddr . udp sport }"
_TO_HOST: Final = "iifname wan meta l4proto udp dnat ip to udp dport map @endpoints"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of site."""

    name: str
    claim: NatBehaviour
    translates: bool = True
    """False: the site's clients have public addresses."""
    port_preserved: bool = True
    poisonable: bool = False
    """A packet from outside that comes first makes the mapping towards its sender another one."""
    carrier: str | None = None
    """Name of the kind of a second NAT in front of this one."""
    prerouting: str = ""
    postrouting: str = "oifname wan masquerade"
    forward: str = _DROP_NEW
    input: str = _DROP_NEW
    declarations: str = ""

    def ruleset(self) -> str:
        """Return the router's nftables rules."""
        chains = [("forward", "filter", "filter", self.forward), ("input", "filter", "filter", self.input)]
        if self.translates:
            chains.append(("prerouting", "nat", "dstnat", self.prerouting))
            chains.append(("postrouting", "nat", "srcnat", self.postrouting))
        parts = [_chain(*chain) for chain in chains]
        return f"table ip site {{\n{self.declarations}\n{''.join(parts)}}}\n"

    def ruleset_v6(self) -> str:
        """Return the router's rules for IPv6; neighbour discovery is not tracked, hence never new."""
        rules = [_DROP_NEW] if self.forward else []
        if not self.claim.udp:
            rules.append(_DROP_UDP)
        chains = [_chain(hook, "filter", "filter", "; ".join(rules)) for hook in ("forward", "input")]
        return f"table ip6 site {{\n{''.join(chains)}}}\n"

    @property
    def dynamic(self) -> list[tuple[str, ...]]:
        """What the rules remember besides the kernel's connections, each as nft names it: type, family, table, name."""
        words = [line.split() for line in self.declarations.splitlines()]
        return [(each[0], "ip", "site", each[1]) for each in words]

    @property
    def behaviour(self) -> NatBehaviour:
        """What the site looks like from outside, its carrier included."""
        return self.claim if self.carrier is None else self.claim.behind(KINDS[self.carrier].claim)


def _chain(hook: str, kind: str, priority: str, rules: str) -> str:
    lines = "".join(f"{rule.strip()}\n" for rule in rules.split(";"))
    return f"chain {hook} {{\ntype {kind} hook {hook} priority {priority};\n{lines}}}\n"


def _claim(mapping: str, filtering: str, *, udp: bool = True) -> NatBehaviour:
    return NatBehaviour(Mapping(mapping), Filtering(filtering), udp)


_EI, _AD, _APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"
_ENDPOINTS: Final = "map endpoints { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 65536; }"
_CONTACTED: Final = (
    "set contacted { type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout 300s; size 65536; }"
)

KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("public", _claim(_EI, _EI), translates=False, forward="", input=""),
        Kind("firewall", _claim(_EI, _APD), translates=False),
        Kind(
            "full-cone",
            _claim(_EI, _EI),
            declarations=_ENDPOINTS,
            prerouting=_TO_HOST,
            postrouting=f"{_LEARN}; oifname wan masquerade",
            forward="iifname wan ct status dnat accept; iifname wan ct state new drop",
        ),
        Kind(
            "address-restricted",
            _claim(_EI, _AD),
            declarations=f"{_ENDPOINTS}\n{_CONTACTED}",
            prerouting=_TO_HOST,
            postrouting=f"{_LEARN}; oifname wan masquerade",
            forward=(
                "iifname lan meta l4proto udp update @contacted { ip saddr . udp sport . ip daddr }; "
                "iifname wan meta l4proto udp ip daddr . udp dport . ip saddr @contacted accept; "
                "iifname wan ct state new drop"
            ),
        ),
        Kind("port-restricted", _claim(_EI, _APD)),
        Kind("symmetric", _claim(_APD, _APD), port_preserved=False, postrouting="oifname wan masquerade fully-random"),
        Kind("linux", _claim(_EI, _APD), forward="iifname wan ct state established,related accept; iifname wan drop"),
        Kind("linux-open", _claim(_EI, _APD), poisonable=True, input=""),
        Kind("cgnat", _claim(_EI, _APD), carrier="port-restricted"),
        Kind("udp-blocked", _claim(_EI, _APD, udp=False), forward=f"{_DROP_UDP}; {_DROP_NEW}"),
    )
}
"""Every kind by name."""
