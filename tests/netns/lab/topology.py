"""The shape of the lab.

    client(s) ── router ──[ carrier ]── isp ── core ── isp ──[ carrier ]── router ── client(s)
                                                │
                                            signaling   11.0.0.1 and 11.0.0.2

Three routed hops lie between the outer sides of any two sites, so an opener of TTL 4 dies on the way.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Final, Self

from tests.netns.lab.kinds import KINDS, Kind
from tests.netns.lab.namespaces import Namespace, connect, names, remove, remove_leftovers
from tests.netns.lab.networks import DEFAULT, GATEWAY, SITE_COUNT, Network, Plan, plan

SIGNALING: Final = ("11.0.0.1", "11.0.0.2")
"""Addresses of the signaling host: STUN needs two."""
SIGNALING_V6: Final = ("2a0e::1", "2a0e::2")
"""Its IPv6 addresses."""

_BACKBONE: Final = Network("11.0.0", "2a0e")
_LABS: Final = itertools.count(1)


class Terminated(KeyboardInterrupt):
    """SIGTERM came; like Ctrl-C it ends pytest, where SystemExit would only fail the running test."""


class Client:
    """A host inside a site; `address6` is None in a site without IPv6."""

    def __init__(self, site: Site, namespace: Namespace, address: str, address6: str | None) -> None:
        self.site = site
        self.namespace = namespace
        self.address = address
        self.address6 = address6

    @property
    def public_address(self) -> str:
        """The IPv4 address by which the outside knows this host."""
        return self.site.public_address if self.site.kind.translates else self.address


class Site:
    """A router of some kind, perhaps behind a carrier's, and its clients on one LAN."""

    def __init__(self, name: str, kind: Kind, segments: Plan, namespace: Callable[[str], Namespace]) -> None:
        """`namespace` makes the namespaces."""
        self.name = name
        self.kind = kind
        self.clients: list[Client] = []
        self._segments = segments
        self._namespace = namespace
        self._routers: list[tuple[Namespace, Kind]] = []

    @property
    def public_address(self) -> str:
        """The outermost router's address, which is what the outside sees of a site that translates."""
        return self._segments.wan.address(1)

    @property
    def router(self) -> Namespace:
        """The router that the clients are behind."""
        return self._routers[-1][0]

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
        _furnish(outer, segments.uplink, segment)
        for name, kind, inside in stages:
            router = self._namespace(name)
            _plug(outer, "inner", router, "wan")
            _furnish(router, segment, inside)
            router.nft(kind.ruleset() + kind.ruleset_v6())
            outer.configure(*segment.routes(1, *prefixes))
            self._routers.append((router, kind))
            prefixes = [prefix for prefix in prefixes if prefix not in inside.routed]
            outer, segment = router, inside
        self.clients = [self._client(index) for index in range(client_count)]

    def _client(self, index: int) -> Client:
        namespace, home, host = self._namespace(f"{self.name}-{index}"), self._segments.home, index + 1
        _plug(self.router, f"client-{index}", namespace, "eth0")
        namespace.configure(*home.attach("eth0", host), *home.routes(GATEWAY, *DEFAULT))
        return Client(self, namespace, home.address(host), home.address6(host))

    def flush(self) -> None:
        """Forget all mappings and filters of the site's routers."""
        for router, kind in self._routers:
            router.run("conntrack", "-F")
            for each in kind.dynamic:
                router.run("nft", "flush", *each)


def _furnish(router: Namespace, outside: Network, inside: Network) -> None:
    """Make `router` number 1 of the segment outside and the gateway of the one inside."""
    router.configure(
        *outside.attach("wan", 1),
        *outside.routes(GATEWAY, *DEFAULT),
        "link add lan type bridge",
        *inside.attach("lan", GATEWAY),
    )


def _plug(router: Namespace, port: str, inner: Namespace, device: str) -> None:
    """Lay a cable from the LAN side of `router` to `device` of `inner`."""
    connect(router, port, inner, device)
    router.configure(f"link set {port} master lan", f"link set {port} up")


class Lab:
    """The lab, a context manager: what it makes is gone when the block ends, by Ctrl-C and SIGTERM too."""

    core: Namespace
    """The router that all sites and the signaling host hang off."""
    signaling: Namespace
    """The host with two public addresses of each family, `SIGNALING` and `SIGNALING_V6`."""

    def __init__(self) -> None:
        self.sites: list[Site] = []
        self._prefix = f"{next(_LABS)}-"
        self._namespaces: list[Namespace] = []
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Collect what dead labs have left, and build the core.

        Raises RuntimeError where the machine cannot do it.
        """
        with contextlib.ExitStack() as undo:
            undo.enter_context(_sigterm_raises())
            undo.callback(self.close)
            remove_leftovers()
            self._build()
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._cleanup.close()

    def _build(self) -> None:
        network = _BACKBONE
        self.core = self._namespace("core", ipv6=True)
        self.signaling = self._namespace("signaling", ipv6=True)
        connect(self.core, "signaling", self.signaling, "eth0")
        self.core.configure(*network.attach("signaling", GATEWAY))
        self.signaling.configure(
            *network.attach("eth0", 1), *network.attach("eth0", 2), *network.routes(GATEWAY, *DEFAULT)
        )

    def site(self, name: str, kind: str, clients: int = 1, *, ipv6: bool = False, lan: int | None = None) -> Site:
        """Add a site of the named kind with `clients` hosts on one LAN; also while programs run in others.

        With `ipv6` every host has a routed address too, behind a stateful firewall. `lan` is the number of the LAN,
        192.168.`lan`.0/24, by default one that no other site has; public sites have none.

        Raises ValueError for the 201st site.
        """
        number = len(self.sites) + 1
        if number > SITE_COUNT:
            raise ValueError(f"a lab has at most {SITE_COUNT} sites")
        chosen = KINDS[kind]
        segments = plan(number, lan=(number if lan is None else lan) if chosen.translates else None, ipv6=ipv6)
        site = Site(name, chosen, segments, lambda each: self._namespace(each, ipv6=ipv6))
        self.sites.append(site)
        site.build(self.core, f"site-{number}", clients)
        return site

    def _namespace(self, name: str, *, ipv6: bool) -> Namespace:
        namespace = Namespace(f"{self._prefix}{name}", ipv6=ipv6)
        self._namespaces.append(namespace)
        return namespace

    def close(self) -> None:
        """End what still runs in the lab and remove everything; signals wait. Idempotent."""
        with _signals_ignored():
            for namespace in self._namespaces:
                namespace.close()
            # one whose making was interrupted is in no list
            for name in names():
                if name.startswith(f"vv{os.getpid()}-{self._prefix}"):
                    remove(name)
        self._namespaces.clear()
        self.sites.clear()


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Have SIGTERM raise Terminated in the main thread; without effect in any other."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    with _handled(terminate, signal.SIGTERM):
        yield


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, also in child processes: a second Ctrl-C would kill the `ip` that cleans up."""
    with _handled(signal.SIG_IGN, signal.SIGTERM, signal.SIGINT):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None] | signal.Handlers, *numbers: int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, each in former:
            signal.signal(number, each)
