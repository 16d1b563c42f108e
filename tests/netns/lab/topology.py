"""The shape of the lab.

    client(s) ── router ──[ carrier ]── isp ── core ── isp ──[ carrier ]── router ── client(s)
                                                │
                                            signaling   11.0.0.1 and 11.0.0.2

Three routed hops lie between the outer sides of any two sites, so an opener of TTL 4 dies on the way. The links of
clients and routers can be cut, and with `cables=True` impaired; a second router can be put behind a site's carrier.
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

from tests.netns.engine.impairment import PERFECT, Impairment
from tests.netns.lab.kinds import KINDS, Kind
from tests.netns.lab.links import DirectionName, Link
from tests.netns.lab.namespaces import Namespace, connect, names, remove, remove_leftovers
from tests.netns.lab.networks import DEFAULT, GATEWAY, SITE_COUNT, Network, plan
from tests.netns.lab.site import Client, Site, forget_udp

SIGNALING: Final = ("11.0.0.1", "11.0.0.2")
"""Addresses of the signaling host: STUN needs two."""
SIGNALING_V6: Final = ("2a0e::1", "2a0e::2")
"""Its IPv6 addresses."""

_BACKBONE: Final = Network("11.0.0", "2a0e")
_LABS: Final = itertools.count(1)


class Terminated(KeyboardInterrupt):
    """SIGTERM came; like Ctrl-C it ends pytest, where SystemExit would only fail the running test."""


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

    def site(
        self,
        name: str,
        kind: str | Kind,
        clients: int = 1,
        *,
        ipv6: bool = False,
        lan: int | None = None,
        cables: bool = False,
        behind: Site | None = None,
    ) -> Site:
        """Add a site of a kind (its name, or one made by `user_kind`) with `clients` hosts on one LAN.

        Also while programs run in others. With `ipv6` every host has a routed address too, behind a stateful firewall.
        `lan` is the number of the LAN, 192.168.`lan`.0/24, by default one that no other site has; public sites have
        none. With `cables` the site's links can be impaired. `behind` is a site with a carrier, whose customer this
        one becomes as well.

        Raises ValueError for the 201st site, and for one that cannot be where it is to be.
        """
        number = len(self.sites) + 1
        if number > SITE_COUNT:
            raise ValueError(f"a lab has at most {SITE_COUNT} sites")
        if behind is not None and ipv6:
            raise ValueError("a site behind another's carrier has no IPv6")
        chosen = KINDS[kind] if isinstance(kind, str) else kind
        segments = plan(number, lan=(number if lan is None else lan) if chosen.translates else None, ipv6=ipv6)
        site = Site(name, chosen, segments, lambda each: self._namespace(each, ipv6=ipv6), cables=cables, behind=behind)
        self.sites.append(site)
        if behind is None:
            site.build(self.core, f"site-{number}", clients)
        else:
            site.build_behind(behind, clients)
        return site

    def flush_nat(self, site: Site) -> None:
        """Have the NATs of `site` rebind: all UDP mappings are gone, and whoever had one gets another external port.

        TCP connections stay.
        """
        site.rebind()

    def change_address(self, place: Site | Client) -> None:
        """Give a host another address on its LAN, or a site another public one (a site that translates).

        Raises ValueError where there is none to give.
        """
        if isinstance(place, Client):
            place.change_address()
        else:
            place.outermost.change_address()

    def link_down(self, place: Site | Client) -> None:
        """Cut a host's cable, or a site's to the internet; the device at its inner end loses its carrier."""
        _link(place).cut()

    def link_up(self, place: Site | Client) -> None:
        """Mend what `link_down` has cut."""
        _link(place).mend()

    def impair(
        self, place: Site | Client, impairment: Impairment = PERFECT, direction: DirectionName | None = None
    ) -> None:
        """Treat what a host's cable, or a site's to the internet, carries from now on so; both directions by default.

        Raises NotImpairable where the site has been built without `cables`.
        """
        _link(place).impair(impairment, direction)

    def block_udp(self, site: Site) -> None:
        """Have the site's router drop UDP of both families, in both directions, until `unblock_udp`."""
        site.router.nft(
            "add table inet blocked\n"
            "flush table inet blocked\n"
            "add chain inet blocked no_udp { type filter hook forward priority filter; }\n"
            "add rule inet blocked no_udp meta l4proto udp drop\n"
        )

    def unblock_udp(self, site: Site) -> None:
        """Let UDP pass again; what the router remembers of it is gone."""
        site.router.nft("add table inet blocked\ndelete table inet blocked")
        forget_udp(site.router)

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


def _link(place: Site | Client) -> Link:
    return place.link if isinstance(place, Client) else place.uplink


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
