"""The address plan: which segment has which prefixes, and the `ip` commands that come of it.

Public addresses come from 11.0.0.0/8 and 2a0e::/16: Python calls the documentation networks private, which would
mislead code that asks "is this public?". A site's number is the second group of all its public addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GATEWAY: Final = 254
"""Host number of the router of a segment, as seen from inside; the one behind it is number 1."""
SITE_COUNT: Final = 200
"""Sites of one lab: each takes a number in the second octet, of which 0 and 254 are the lab's own."""
DEFAULT: Final = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class Network:
    """A segment: a /24 of IPv4 and, unless `prefix6` is None, a /64 of IPv6."""

    prefix: str
    prefix6: str | None
    translated: bool = False
    """Nobody outside has a route to the IPv4 part."""

    def address(self, host: int) -> str:
        return f"{self.prefix}.{host}"

    def address6(self, host: int) -> str | None:
        return self.prefix6 and f"{self.prefix6}::{host}"

    @property
    def routed(self) -> list[str]:
        """The prefixes that the outside has routes to."""
        return [
            *([] if self.translated else [f"{self.address(0)}/24"]),
            *([f"{self.prefix6}::/64"] if self.prefix6 else []),
        ]

    def attach(self, device: str, host: int) -> list[str]:
        """Return the commands that make `device` the segment's `host`."""
        lines = [f"address add {self.address(host)}/24 dev {device}", f"link set {device} up"]
        if self.prefix6:
            lines.append(f"address add {self.address6(host)}/64 dev {device} nodad")
        return lines

    def routes(self, host: int, *destinations: str) -> list[str]:
        """Return the commands for routes through `host`, without those of a family that the segment has not."""
        gateways = [self.address6(host) if ":" in each else self.address(host) for each in destinations]
        return [
            f"route add {destination} via {gateway}"
            for destination, gateway in zip(destinations, gateways, strict=True)
            if gateway
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """The segments of one site, from the core to the clients."""

    uplink: Network
    wan: Network
    carrier: Network
    home: Network


def plan(number: int, *, lan: int | None, ipv6: bool) -> Plan:
    """Return the segments of site `number`; its clients are in 192.168.`lan`.0/24, or with None in a public network."""
    sixes = [f"2a0e:{number}:{group}" if ipv6 else None for group in (1, 2, 3)]
    return Plan(
        uplink=Network(f"11.254.{number}", f"2a0e:fe:{number}" if ipv6 else None),
        wan=Network(f"11.{number}.0", sixes[0]),
        carrier=Network("100.64.0", sixes[1], translated=True),
        home=Network(f"11.{number}.1", sixes[2]) if lan is None else Network(f"192.168.{lan}", sixes[2], True),
    )
