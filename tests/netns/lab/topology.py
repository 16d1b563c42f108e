"""The shape of the lab.

    client(s) ── router ──[ carrier ]── isp ── core ── isp ──[ carrier ]── router ── client(s)
                                                │
                                            signaling   11.0.0.1 and 11.0.0.2

Three routed hops lie between the outer sides of any two sites, so an opener of TTL 4 dies on the way. Public addresses
come from 11.0.0.0/8: Python calls the documentation networks private, which would mislead code that asks.
"""

from __future__ import annotations

import itertools
import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

from tests.netns.lab.kinds import KINDS, Kind
from tests.netns.lab.namespaces import Namespace, connect, remove_leftovers

SIGNALING: Final = ("11.0.0.1", "11.0.0.2")
"""Addresses of the signaling host: STUN needs two."""
SITE_COUNT: Final = 200
"""Sites of one lab: each takes a number in the second octet."""


_LABS: Final = itertools.count(1)


class Client:
    """A host inside a site."""

    def __init__(self, site: Site, namespace: Namespace, address: str) -> None:
        self.site = site
        self.namespace = namespace
        self.address = address


class Site:
    """One router with its clients; `public_address` is what the outside sees of a site that translates."""

    def __init__(self, lab: Lab, number: int, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind
        self.public_address = f"11.{number}.0.1"
        self.namespaces: list[Namespace] = []
        self.clients: list[Client] = []
        self._number = number
        self._lab = lab

    def build(self, client_count: int) -> None:
        """Make the namespaces, from the outside in."""
        number, name, kind = self._number, self.name, self.kind
        isp = self._isp()
        outer, gateway = isp, f"11.{number}.0.254"
        wan = f"{self.public_address}/24"
        if kind.carrier is not None:
            carrier = self._router(f"{name}-carrier", KINDS[kind.carrier], outer, wan, gateway, "100.64.0.254/24")
            outer, gateway, wan = carrier, "100.64.0.254", "100.64.0.1/24"
        prefix = f"192.168.{number}" if kind.translates else f"11.{number}.1"
        self.router = self._router(name, kind, outer, wan, gateway, f"{prefix}.254/24")
        if not kind.translates:
            isp.configure(f"route add {prefix}.0/24 via {self.public_address}")
        self.clients = [self._client(index, f"{prefix}.{index + 1}", f"{prefix}.254") for index in range(client_count)]

    def _namespace(self, name: str) -> Namespace:
        namespace = self._lab.namespace(name)
        self.namespaces.append(namespace)
        return namespace

    def _isp(self) -> Namespace:
        """Make this site's first hop: to the core on one side, a bridge-less /24 to the site on the other."""
        number = self._number
        isp = self._namespace(f"{self.name}-isp")
        connect(self._lab.core, f"to-{number}", isp, "core")
        isp.configure(
            f"address add 11.254.{number}.2/30 dev core", "link set core up", f"route add default via 11.254.{number}.1"
        )
        self._lab.core.configure(
            f"address add 11.254.{number}.1/30 dev to-{number}",
            f"link set to-{number} up",
            f"route add 11.{number}.0.0/16 via 11.254.{number}.2",
        )
        return isp

    def _router(self, name: str, kind: Kind, outer: Namespace, wan: str, gateway: str, lan: str) -> Namespace:
        """Make a router of `kind` behind `outer`, whose address towards it is `gateway`."""
        router = self._namespace(f"{name}-router")
        towards_router = "site" if outer.name.endswith("-isp") else "home"
        connect(outer, towards_router, router, "wan")
        if towards_router == "site":
            outer.configure(f"address add {gateway}/24 dev site", "link set site up")
        else:
            outer.configure("link set home master lan", "link set home up")
        router.configure(
            f"address add {wan} dev wan",
            "link set wan up",
            f"route add default via {gateway}",
            "link add lan type bridge",
            f"address add {lan} dev lan",
            "link set lan up",
        )
        router.nft(kind.ruleset())
        return router

    def _client(self, index: int, address: str, gateway: str) -> Client:
        namespace = self._namespace(f"{self.name}-{index}")
        connect(self.router, f"c{index}", namespace, "eth0")
        self.router.configure(f"link set c{index} master lan", f"link set c{index} up")
        namespace.configure(
            f"address add {address}/24 dev eth0", "link set eth0 up", f"route add default via {gateway}"
        )
        return Client(self, namespace, address)

    def flush(self) -> None:
        """Forget all mappings and filters of the site's routers."""
        for router in self.namespaces:
            if not router.name.endswith("-router"):
                continue
            router.run("conntrack", "-F")
            for declaration, name in (("map", "endpoints"), ("set", "contacted")):
                if f"{declaration} {name}" in self.kind.declarations:
                    router.run("nft", "flush", declaration, "ip", "site", name)


class Lab:
    """The lab; use it as a context manager. SIGTERM removes it too."""

    def __init__(self) -> None:
        remove_leftovers()
        self.sites: list[Site] = []
        self._number = next(_LABS)
        self._former: Any = None
        self._open: list[Namespace] = []
        try:
            self.core = self.namespace("core")
            self.signaling = self.namespace("signaling")
            connect(self.core, "signaling", self.signaling, "eth0")
            self.core.configure("address add 11.0.0.254/24 dev signaling", "link set signaling up")
            first, second = SIGNALING
            self.signaling.configure(
                f"address add {first}/24 dev eth0",
                f"address add {second}/24 dev eth0",
                "link set eth0 up",
                "route add default via 11.0.0.254",
            )
        except BaseException:
            self.close()
            raise

    def namespace(self, name: str) -> Namespace:
        """Make a namespace that goes with this lab; its name is unique among all labs of this process."""
        namespace = Namespace(f"{self._number}-{name}")
        self._open.append(namespace)
        return namespace

    def __enter__(self) -> Self:
        self._former = signal.signal(signal.SIGTERM, self._terminated)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
        signal.signal(signal.SIGTERM, self._former)

    def _terminated(self, number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def site(self, name: str, kind: str, clients: int = 1) -> Site:
        """Add a site of the named kind with `clients` hosts on one LAN."""
        if len(self.sites) >= SITE_COUNT:
            raise ValueError(f"a lab has at most {SITE_COUNT} sites")
        site = Site(self, len(self.sites) + 1, name, KINDS[kind])
        self.sites.append(site)
        site.build(clients)
        return site

    def close(self) -> None:
        """Remove everything. Idempotent."""
        for namespace in self._open:
            namespace.close()
        self.sites.clear()
        self._open.clear()
