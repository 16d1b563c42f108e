"""A site of the lab: its routers and clients, and what can happen to them while programs run."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.netns.lab.devices import open_tun
from tests.netns.lab.kinds import KINDS, Kind
from tests.netns.lab.links import Cable, Ends, KernelLink, Link
from tests.netns.lab.namespaces import Namespace, connect
from tests.netns.lab.networks import DEFAULT, GATEWAY, Network, Plan
from tests.netns.lab.workers import Worker
from visavis_shared.nat import NatBehaviour

_POOL_FIRST: Final = 101
"""Host number of the second external address of a router that has several."""
_MOVES_FIRST: Final = 201
"""Host number that a client or router has after its first change of address; up to the gateway's there are 53."""
_NAT_TABLE: Final = 100
"""Routing table that leads to the NAT's device."""
_MOVED_PORTS: Final = range(2_000, 12_000)
"""External ports of rebound mappings; none that a client gets from its kernel (32,768 and up) or the probe uses."""
_FLOW: Final = re.compile(r"src=(\S+) dst=\S+ sport=(\d+) dport=\d+")


class Client:
    """A host inside a site; `address6` is None in a site without IPv6."""

    def __init__(self, site: Site, namespace: Namespace, link: Link, network: Network, host: int) -> None:
        """`link` is its cable to the router, `network` the LAN and `host` its number there."""
        self.site = site
        self.namespace = namespace
        self.link = link
        self._network = network
        self._host = host
        self._next_hosts = itertools.count(_MOVES_FIRST + host - 1, 10)

    @property
    def address(self) -> str:
        return self._network.address(self._host)

    @property
    def address6(self) -> str | None:
        return self._network.address6(self._host)

    @property
    def public_address(self) -> str:
        """The IPv4 address by which the outside knows this host."""
        return self.site.public_address if self.site.kind.translates else self.address

    @property
    def public_addresses(self) -> list[str]:
        """All of them: a NAT may have a pool."""
        return self.site.public_addresses if self.site.kind.translates else [self.address]

    def change_address(self) -> None:
        """Have another address of the same LAN, of each family: the old one is gone at once.

        Raises ValueError after a handful of changes, when the LAN has no more.
        """
        self._host = _renumber(self.namespace, "eth0", self._network, self._host, next(self._next_hosts))


class Router:
    """A router between a segment outside and one inside, with a NAT or firewall of some kind."""

    def __init__(self, namespace: Namespace, kind: Kind, outside: Network, inside: Network, host: int = 1) -> None:
        """Furnish `namespace`, whose device `wan` is plugged in, as number `host` of the segment `outside`."""
        self.namespace = namespace
        self.kind = kind
        self.link: Link | None = None
        self._outside = outside
        self._inside = inside
        self._host = host
        self._next_hosts = itertools.count(_MOVES_FIRST)
        self._moved: dict[tuple[str, int], int] = {}
        self._rng = random.Random()
        furnish(namespace, outside, inside, host)
        namespace.nft(kind.ruleset() + kind.ruleset_v6())
        self._worker = self._start_nat() if kind.engine else None

    @property
    def addresses(self) -> list[str]:
        """External addresses, the first of which is the segment's route to what is inside."""
        pool = range(_POOL_FIRST, _POOL_FIRST + self.kind.address_count - 1)
        return [self._outside.address(host) for host in (self._host, *pool)]

    def _start_nat(self) -> Worker:
        """Have the kernel route what a program is to translate through the program's device."""
        namespace = self.namespace
        device = open_tun(namespace, "nat")
        with namespace.entered():
            # what it sends has this router's own address
            Path("/proc/sys/net/ipv4/conf/nat/accept_local").write_text("1")
            Path("/proc/sys/net/ipv6/conf/nat/disable_ipv6").write_text("1")
        # before the local table is asked, which would keep what comes to the external address; ARP has no protocol,
        # and so still finds the address there
        rules = [
            f"rule add pref 20 iif {side} ipproto {protocol} lookup {_NAT_TABLE}"
            for side in ("lan", "wan")
            for protocol in ("udp", "tcp", "icmp")
        ]
        namespace.configure(
            *(f"address add {address}/24 dev wan" for address in self.addresses[1:]),
            "link set nat up",
            f"route add default dev nat table {_NAT_TABLE}",
            f"rule add pref 10 iif lan to {self._inside.address(GATEWAY)} lookup local",
            *rules,
            "rule add pref 50 lookup local",
            "rule del pref 0",
        )
        assert self.kind.engine is not None
        description = {
            "settings": asdict(self.kind.engine),
            "inside": f"{self._inside.address(0)}/24",
            "external": self.addresses,
        }
        return Worker(namespace, "tests.netns.engine.nat", [device], json.dumps(description))

    def wait_until_ready(self) -> None:
        """Wait until the router forwards."""
        if self._worker is not None:
            self._worker.wait_until_ready()

    def counts(self) -> dict[str, int]:
        """Return what the NAT has done with packets: `engine.usernat.NatCounts`.

        Raises ValueError where the NAT is the kernel's.
        """
        if self._worker is None:
            raise ValueError(f"{self.namespace}: the kernel's NAT does not count")
        counts: dict[str, int] = self._worker.command("counts")
        return counts

    def flush(self) -> None:
        """Forget all mappings and filters."""
        if self._worker is not None:
            self._worker.command("flush")
        self.namespace.run("conntrack", "-F")
        for each in self.kind.dynamic:
            self.namespace.run("nft", "flush", *each)

    def rebind(self) -> None:
        """Forget all UDP mappings; the endpoints that had one get another external port."""
        if self._worker is not None:
            self._worker.command("rebind")
        elif self.kind.translates:
            self._move_ports()
        forget_udp(self.namespace)

    def _move_ports(self) -> None:
        flows = self.namespace.run("conntrack", "-L", "-f", "ipv4", "-p", "udp")
        endpoints = {(match[1], int(match[2])) for line in flows.splitlines() if (match := _FLOW.search(line))}
        inside = {endpoint for endpoint in endpoints if endpoint[0].startswith(f"{self._inside.prefix}.")}
        moving = sorted(self._moved.keys() | inside)
        ports = self._rng.sample([port for port in _MOVED_PORTS if port not in self._moved.values()], len(moving))
        self._moved = dict(zip(moving, ports, strict=True))
        if not self._moved:
            return
        rebound = ", ".join(f"{ip} . {port}" for ip, port in self._moved)
        moved = ", ".join(f"{ip} . {port} : {new}" for (ip, port), new in self._moved.items())
        lines = [
            "flush set ip site rebound",
            "flush map ip site moved",
            f"add element ip site moved {{ {moved} }}",
            f"add element ip site rebound {{ {rebound} }}",
            *(f"flush {' '.join(each)}" for each in self.kind.dynamic),
        ]
        if any(name == "endpoints" for *_, name in self.kind.dynamic):
            elements = ", ".join(f"{new} : {ip} . {port}" for (ip, port), new in self._moved.items())
            lines.append(f"add element ip site endpoints {{ {elements} }}")
        self.namespace.nft("\n".join(lines))

    def change_address(self) -> None:
        """Have other external addresses; all mappings are gone.

        Raises ValueError where it has no NAT, or after 53 changes.
        """
        if not self.kind.translates:
            raise ValueError(f"{self.namespace} has no NAT: change the address of its clients")
        self._host = _renumber(
            self.namespace, "wan", self._outside, self._host, next(self._next_hosts), families=("ipv4",)
        )
        if self._worker is None:
            # masquerading forgets what went by an address that is gone, but only in a work item of the kernel's, later
            forget_udp(self.namespace, families=("ipv4",))
        else:
            self._worker.command("move", external=self.addresses)


class Site:
    """A router of some kind, perhaps behind a carrier's, and its clients on one LAN."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        segments: Plan,
        namespace: Callable[[str], Namespace],
        *,
        cables: bool,
        behind: Site | None,
    ) -> None:
        """`namespace` makes the namespaces; with `cables` the links are processes that can impair."""
        self.name = name
        self.kind = kind
        self.clients: list[Client] = []
        self.behind = behind
        self._segments = segments
        self._namespace = namespace
        self._link: type[Cable | KernelLink] = Cable if cables else KernelLink
        self._routers: list[Router] = []
        self._homes = itertools.count(2)

    @property
    def behaviour(self) -> NatBehaviour:
        """What the site looks like from outside, the NATs in front of it included."""
        if self.behind is None:
            return self.kind.behaviour
        return self.kind.claim.behind(self.behind.outermost.kind.claim)

    @property
    def outermost(self) -> Router:
        """The router whose address the outside sees."""
        return self._routers[0] if self.behind is None else self.behind.outermost

    @property
    def public_address(self) -> str:
        """The outermost router's address, which is what the outside sees of a site that translates."""
        return self.outermost.addresses[0]

    @property
    def public_addresses(self) -> list[str]:
        """All its addresses, where it has a pool of them."""
        return self.outermost.addresses

    @property
    def router(self) -> Namespace:
        """The router that the clients are behind."""
        return self._routers[-1].namespace

    @property
    def uplink(self) -> Link:
        """The cable between the outermost router of the site itself and the internet, or the carrier it is behind."""
        link = self._routers[0].link
        assert link is not None
        return link

    def build(self, core: Namespace, uplink_device: str, client_count: int) -> None:
        """Make the site from the outside in: its own hop at the provider, its routers, its clients."""
        segments = self._segments
        stages = [(f"{self.name}-router", self.kind, segments.home)]
        if self.kind.carrier is not None:
            stages.insert(0, (f"{self.name}-carrier", KINDS[self.kind.carrier], segments.carrier))
        prefixes = [prefix for _, _, inside in stages for prefix in inside.routed]

        outer, segment = self._namespace(f"{self.name}-isp"), segments.wan
        connect(core, uplink_device, outer, "wan")
        core.configure(
            *segments.uplink.attach(uplink_device, GATEWAY),
            *segments.uplink.routes(1, *segments.wan.routed, *prefixes),
        )
        furnish(outer, segments.uplink, segment)
        for name, kind, inside in stages:
            router = self._add_router(outer, "inner", name, kind, (segment, inside, 1))
            outer.configure(*segment.routes(1, *prefixes))
            prefixes = [prefix for prefix in prefixes if prefix not in inside.routed]
            outer, segment = router, inside
        self._finish(client_count)

    def build_behind(self, carrier: Site, client_count: int) -> None:
        """Make the site as a further customer of another site's carrier.

        Raises ValueError where that site has none, or this one's addresses would need routes through it.
        """
        if carrier.kind.carrier is None or not self.kind.translates or self.kind.carrier is not None:
            raise ValueError(f"a site of kind {self.kind.name} cannot be behind one of kind {carrier.kind.name}")
        host = next(carrier._homes)
        segment = carrier._segments.carrier
        outer = carrier.outermost.namespace
        self._add_router(outer, f"home-{host}", f"{self.name}-router", self.kind, (segment, self._segments.home, host))
        self._finish(client_count)

    def _add_router(
        self, outer: Namespace, port: str, name: str, kind: Kind, place: tuple[Network, Network, int]
    ) -> Namespace:
        namespace = self._namespace(name)
        link = self._plug(outer, port, namespace, "wan")
        router = Router(namespace, kind, *place)
        router.link = link
        self._routers.append(router)
        return namespace

    def _finish(self, client_count: int) -> None:
        self.clients = [self._client(index) for index in range(client_count)]
        for router in self._routers:
            router.wait_until_ready()

    def _client(self, index: int) -> Client:
        namespace, home, host = self._namespace(f"{self.name}-{index}"), self._segments.home, index + 1
        link = self._plug(self.router, f"client-{index}", namespace, "eth0")
        namespace.configure(*home.attach("eth0", host), *home.routes(GATEWAY, *DEFAULT))
        return Client(self, namespace, link, home, host)

    def _plug(self, outer: Namespace, port: str, inner: Namespace, device: str) -> Link:
        """Lay a cable from the LAN side of a router to `device` of `inner`."""
        link = self._link(Ends(outer, port, inner, device))
        outer.configure(f"link set {port} master lan", f"link set {port} up")
        return link

    def flush(self) -> None:
        """Forget all mappings and filters of the site's routers."""
        for router in self._routers:
            router.flush()

    def rebind(self) -> None:
        """Forget all UDP mappings of the site's routers; the next ones have other external ports."""
        for router in self._routers:
            router.rebind()

    def counts(self) -> dict[str, int]:
        """Return what the router next to the clients has done with packets; see `Router.counts`."""
        return self._routers[-1].counts()


def furnish(router: Namespace, outside: Network, inside: Network, host: int = 1) -> None:
    """Make `router` number `host` of the segment outside and the gateway of the one inside."""
    router.configure(
        *outside.attach("wan", host),
        *outside.routes(GATEWAY, *DEFAULT),
        "link add lan type bridge",
        *inside.attach("lan", GATEWAY),
    )


def forget_udp(namespace: Namespace, *, families: Sequence[str] = ("ipv4", "ipv6")) -> None:
    """Have the kernel forget what it tracks of UDP."""
    for family in families:
        try:
            namespace.run("conntrack", "-D", "-f", family, "-p", "udp")
        except RuntimeError as error:
            if " 0 flow entries" not in str(error):
                raise


def _renumber(
    namespace: Namespace,
    device: str,
    network: Network,
    old: int,
    new: int,
    *,
    families: Sequence[str] = ("ipv4", "ipv6"),
) -> int:
    """Give `device` number `new` of its segment instead of `old`, and return it."""
    if new >= GATEWAY:
        raise ValueError(f"{namespace}: no address left in {network.address(0)}/24")
    pairs = []
    if "ipv4" in families:
        pairs.append((f"{network.address(old)}/24", f"{network.address(new)}/24"))
    if "ipv6" in families and network.prefix6:
        pairs.append((f"{network.address6(old)}/64", f"{network.address6(new)}/64 nodad"))
    for before, after in pairs:
        address, *flags = after.split()
        namespace.configure(
            f"address add {address} dev {device} {' '.join(flags)}", f"address del {before} dev {device}"
        )
    return new
