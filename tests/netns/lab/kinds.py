"""The kinds of site: what each claims to be, and the rules of its router that make it so.

A router's interfaces are `wan` and `lan`. Its NAT is the kernel's, by nftables rules, or a program (tests/netns/engine)
where the kernel's cannot be what is claimed. The nat prerouting chain exists even where it is empty: without it the
kernel does not translate the packets that come back. IPv6, where a site has it, is never translated: the same router
is then a stateful firewall. The kernel's maps are keyed by the client's own port, so the two clients of a cone NAT
must not use the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.netns.engine.settings import NatSettings
from visavis_shared.nat import Allocation, Filtering, Mapping, NatBehaviour

_DROP_NEW: Final = "iifname wan ct state new drop"
_DROP_UDP: Final = "meta l4proto udp drop"
_LEARN: Final = "oifname wan meta l4proto udp update @endpoints { udp sport timeout 300s : ip saddr . udp sport }"
_TO_HOST: Final = "iifname wan fib daddr type local meta l4proto udp dnat ip to udp dport map @endpoints"
_MOVED: Final = (
    "set rebound { type ipv4_addr . inet_service; size 65536; }\n"
    "map moved { type ipv4_addr . inet_service : inet_service; size 65536; }"
)
"""Client endpoints that have been rebound, and the external port that each has got instead of its own."""
_MASQUERADE_MOVED: Final = "oifname wan ip saddr . udp sport @rebound masquerade to : ip saddr . udp sport map @moved"
_UNTRANSLATED: Final = "iifname lan oifname wan drop; iifname wan oifname lan drop"
"""The program's packets come and go by its own device; what it does not translate stays out."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of site."""

    name: str
    claim: NatBehaviour
    translates: bool = True
    """False: the site's clients have public addresses."""
    poisonable: bool = False
    """A packet from outside that comes first makes the mapping towards its sender another one."""
    carrier: str | None = None
    """Name of the kind of a second NAT in front of this one."""
    engine: NatSettings | None = None
    """The program that translates; None where the kernel does."""
    prerouting: str = ""
    postrouting: str = "oifname wan masquerade"
    forward: str = _DROP_NEW
    input: str = _DROP_NEW
    declarations: str = ""

    def ruleset(self) -> str:
        """Return the router's nftables rules."""
        if self.engine is not None:
            return f"table ip site {{\n{_chain('forward', 'filter', 'filter', _UNTRANSLATED)}}}\n"
        chains = [("forward", "filter", "filter", self.forward), ("input", "filter", "filter", self.input)]
        if self.translates:
            chains.append(("prerouting", "nat", "dstnat", self.prerouting))
            chains.append(("postrouting", "nat", "srcnat", f"{_MASQUERADE_MOVED}; {self.postrouting}"))
        parts = [_chain(*chain) for chain in chains]
        return f"table ip site {{\n{_MOVED if self.translates else ''}\n{self.declarations}\n{''.join(parts)}}}\n"

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

    @property
    def address_count(self) -> int:
        """External addresses of the router."""
        return self.engine.pool_size if self.engine else 1


def _chain(hook: str, kind: str, priority: str, rules: str) -> str:
    lines = "".join(f"{rule.strip()}\n" for rule in rules.split(";"))
    return f"chain {hook} {{\ntype {kind} hook {hook} priority {priority};\n{lines}}}\n"


def user_kind(name: str, settings: NatSettings, *, carrier: str | None = None) -> Kind:
    """Return a kind whose NAT is a program with `settings`: any combination of RFC 4787 behaviour.

    `carrier` is the name of the kind of a second NAT in front.
    """
    claim = NatBehaviour(
        settings.mapping,
        settings.filtering,
        allocation=settings.allocation,
        hairpinning=settings.hairpinning,
    )
    return Kind(name, claim, carrier=carrier, engine=settings)


def _claim(
    mapping: Mapping, filtering: Filtering, allocation: Allocation = Allocation.PRESERVING, *, udp: bool = True
) -> NatBehaviour:
    return NatBehaviour(mapping, filtering, udp, allocation)


_EIM, _ADM, _APDM = Mapping
_EIF, _ADF, _APDF = Filtering
_ENDPOINTS: Final = "map endpoints { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 65536; }"
_CONTACTED: Final = (
    "set contacted { type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout 300s; size 65536; }"
)

_KERNEL_KINDS: Final = (
    Kind("public", _claim(_EIM, _EIF), translates=False, forward="", input=""),
    Kind("firewall", _claim(_EIM, _APDF), translates=False),
    Kind(
        "full-cone",
        _claim(_EIM, _EIF),
        declarations=_ENDPOINTS,
        prerouting=_TO_HOST,
        postrouting=f"{_LEARN}; oifname wan masquerade",
        forward="iifname wan ct status dnat accept; iifname wan ct state new drop",
    ),
    Kind(
        "address-restricted",
        _claim(_EIM, _ADF),
        declarations=f"{_ENDPOINTS}\n{_CONTACTED}",
        prerouting=_TO_HOST,
        postrouting=f"{_LEARN}; oifname wan masquerade",
        forward=(
            "iifname lan meta l4proto udp update @contacted { ip saddr . udp sport . ip daddr }; "
            "iifname wan meta l4proto udp ip daddr . udp dport . ip saddr @contacted accept; "
            "iifname wan ct state new drop"
        ),
    ),
    Kind("port-restricted", _claim(_EIM, _APDF)),
    Kind("symmetric", _claim(_APDM, _APDF, Allocation.RANDOM), postrouting="oifname wan masquerade fully-random"),
    Kind("linux", _claim(_EIM, _APDF), forward="iifname wan ct state established,related accept; iifname wan drop"),
    Kind("linux-open", _claim(_EIM, _APDF), poisonable=True, input=""),
    Kind("cgnat", _claim(_EIM, _APDF), carrier="port-restricted"),
    Kind("udp-blocked", _claim(_EIM, _APDF, udp=False), forward=f"{_DROP_UDP}; {_DROP_NEW}"),
)

_USER_KINDS: Final = (
    user_kind("symmetric-sequential", NatSettings(_APDM, _APDF, Allocation.SEQUENTIAL)),
    user_kind("symmetric-descending", NatSettings(_APDM, _APDF, Allocation.SEQUENTIAL, step=-2)),
    user_kind("symmetric-busy", NatSettings(_APDM, _APDF, Allocation.SEQUENTIAL, foreign_max=4)),
    user_kind("symmetric-block", NatSettings(_APDM, _APDF, Allocation.BLOCK)),
    user_kind("symmetric-open", NatSettings(_APDM, _EIF, Allocation.RANDOM)),
    user_kind("address-dependent", NatSettings(_ADM, _ADF, Allocation.RANDOM)),
    user_kind("address-dependent-strict", NatSettings(_ADM, _APDF, Allocation.RANDOM)),
    user_kind("address-dependent-sequential", NatSettings(_ADM, _APDF, Allocation.SEQUENTIAL)),
    user_kind("port-block", NatSettings(_EIM, _APDF, Allocation.BLOCK)),
    user_kind("pooled", NatSettings(_EIM, _ADF, Allocation.RANDOM, pool_size=4, paired=False)),
    user_kind("hairpin", NatSettings(_EIM, _EIF, hairpinning=True)),
    Kind("cgnat-hairpin", _claim(_EIM, _APDF), carrier="hairpin"),
    Kind("cgnat-sequential", _claim(_EIM, _APDF), carrier="symmetric-sequential"),
    user_kind("cgnat-block", NatSettings(_EIM, _EIF), carrier="port-block"),
)

KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in (*_KERNEL_KINDS, *_USER_KINDS)}
"""Every kind by name."""
MATRIX_KINDS: Final = tuple(kind.name for kind in _KERNEL_KINDS)
"""Those that the NAT matrix pairs with one another."""
