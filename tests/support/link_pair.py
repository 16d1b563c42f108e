"""Two ends of a link in one process: a path between them that loses, delays and reorders as a test wants."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from visavis_peer.core.link.paths import Route
from visavis_peer.errors import AgentError
from visavis_peer.events import PathInfo
from visavis_peer.link.association import Association, LinkCallbacks
from visavis_peer.link.identity import Identity, Introduction
from visavis_peer.link.link import Link, StreamReader, StreamWriter
from visavis_peer.link.quic import SecureConnection

Ends = tuple[StreamReader, StreamWriter]


class Wire:
    """One direction of one path; an ICE session as far as a link can tell."""

    def __init__(
        self, route: Route, *, loss: float = 0.0, delay: float = 0.0, jitter: float = 0.0, seed: int = 7
    ) -> None:
        self.route = route
        self.loss = loss
        self.delay = delay
        self.jitter = jitter
        self.cut = False
        self.carried = 0
        self.suspected = 0
        self.to: Association | None = None
        self.carries = 1472 if route == "direct" else 65_535
        """Bytes of a datagram at most; larger ones are lost, and nobody is told."""
        self.path_datagram_size = self.carries
        """The same as far as this side knows: what is larger is refused."""
        self.room = 1 << 30
        """Bytes that it takes at a time, as the relay says."""
        self.sizes: list[int] = []
        """Of the datagrams that were sent."""
        self._random = random.Random(seed)

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.sizes += map(len, datagrams)
        datagrams = [each for each in datagrams if len(each) <= min(self.carries, self.path_datagram_size)]
        if not self.jitter and not self.loss:
            if not self.cut:
                self._later(loop, list(datagrams), self.delay)
            return
        for datagram in datagrams:
            if not self.cut and self._random.random() >= self.loss:
                self._later(loop, [datagram], self.delay + self._random.random() * self.jitter)

    async def find_datagram_size(self) -> int | None:
        """Ask over this wire and the other one back (DirectPath)."""
        await asyncio.sleep(2 * self.delay + self.jitter)
        return None if self.cut else max(size for size in (1472, 1392, 1200) if size <= self.carries)

    def suspect(self) -> None:
        self.suspected += 1

    def _later(self, loop: asyncio.AbstractEventLoop, datagrams: list[bytes], delay: float) -> None:
        self.carried += len(datagrams)
        if delay:
            loop.call_later(delay, self._arrive, datagrams)
        else:
            loop.call_soon(self._arrive, datagrams)

    def _arrive(self, datagrams: list[bytes]) -> None:
        if self.to is not None and not self.cut:
            self.to.receive(datagrams, self.route)


@dataclass
class End:
    """One end and what it has been told."""

    association: Association
    connection: SecureConnection
    direct: Wire
    relay: Wire
    up: asyncio.Event = field(default_factory=asyncio.Event)
    downs: list[AgentError] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    narrowed: list[int] = field(default_factory=list)
    silences: list[float | None] = field(default_factory=list)
    """None for each time that the link was suspended, the seconds of silence for each time that it was resumed."""

    def __post_init__(self) -> None:
        self.link = Link(self.association)
        """What an application has of it."""


def association_of(link: Link) -> Association:
    """Return what the agent has of a link: tests look there, and use what no application can."""
    return link._association  # noqa: SLF001 -- hidden from applications, and this is none


DIRECT = PathInfo(path="direct", kind="host-host", local="a", remote="b", rtt_ms=None)
RELAY = PathInfo(path="relay", kind="server", local="", remote="c", rtt_ms=None)


def introduce(offerer: Identity, answerer: Identity) -> Introduction:
    return Introduction(
        secrets.token_hex(16), offerer.fingerprint, answerer.fingerprint, secrets.token_hex(16), secrets.token_hex(16)
    )


def make_end(
    identity: Identity,
    introduction: Introduction,
    *,
    is_offerer: bool,
    direct: Wire,
    relay: Wire,
    sealed: bool = True,
    patience: float = 0.0,
    boot_time: Callable[[], float] | None = None,
) -> End:
    """Return an end; without `boot_time` its machine never sleeps."""
    boot_time = boot_time or asyncio.get_running_loop().time
    connection = SecureConnection(identity, introduction, is_offerer=is_offerer, patience=patience)
    end: End
    callbacks = LinkCallbacks(
        up=lambda: end.up.set(),
        path_changed=lambda: end.moves.append(end.link.path.path),
        down=lambda error: end.downs.append(error),
        relay=relay.send_datagrams,
        relay_room=lambda: relay.room,
        suspended=lambda: end.silences.append(None),
        resumed=lambda seconds: end.silences.append(seconds),
        narrow=lambda size: end.narrowed.append(size),
    )
    end = End(
        Association(
            "b" if is_offerer else "a",
            None,
            connection,
            callbacks,
            sealed=sealed,
            patience=patience,
            boot_time=boot_time,
        ),
        connection,
        direct,
        relay,
    )
    return end


class Pair:
    """Both ends; `direct` and `relay` are (offerer's wire, answerer's wire)."""

    def __init__(
        self,
        *,
        direct: tuple[Wire, Wire] | None = None,
        relay: tuple[Wire, Wire] | None = None,
        told_b: dict[str, str] | None = None,
        sealed: bool = True,
        patience: float = 0.0,
        boot_time: Callable[[], float] | None = None,
    ) -> None:
        """`told_b` are members of the introduction that the answerer was told otherwise."""
        self.identities = Identity(), Identity()
        self.introduction = introduction = introduce(*self.identities)
        direct = direct or (Wire("direct"), Wire("direct"))
        relay = relay or (Wire("relay"), Wire("relay"))
        self.a = make_end(
            self.identities[0],
            introduction,
            is_offerer=True,
            direct=direct[0],
            relay=relay[0],
            sealed=sealed,
            patience=patience,
            boot_time=boot_time,
        )
        told = replace(introduction, **(told_b or {}))
        self.b = make_end(
            self.identities[1],
            told,
            is_offerer=False,
            direct=direct[1],
            relay=relay[1],
            sealed=sealed,
            patience=patience,
            boot_time=boot_time,
        )
        for wire in (direct[0], relay[0]):
            wire.to = self.b.association
        for wire in (direct[1], relay[1]):
            wire.to = self.a.association

    @property
    def ends(self) -> tuple[End, End]:
        return self.a, self.b

    def start(self, *, direct: bool = True, relay: bool = False) -> None:
        for end in self.ends:
            if relay:
                end.association.set_relay(RELAY)
            if direct:
                end.association.use_direct(end.direct, DIRECT)
        self.a.association.start()

    async def up(self) -> None:
        await asyncio.gather(*(end.up.wait() for end in self.ends))

    def close(self) -> None:
        for end in self.ends:
            end.link.close("test over")


def wires(route: Route, delay: float = 0.02, loss: float = 0.0, jitter: float = 0.0) -> tuple[Wire, Wire]:
    """Return both directions of a path, the offerer's first; times in seconds of one way."""
    return Wire(route, delay=delay, loss=loss, jitter=jitter), Wire(
        route, delay=delay, loss=loss, jitter=jitter, seed=8
    )


@asynccontextmanager
async def linked(
    *,
    direct: bool = True,
    relay: bool = True,
    delay: float = 0.02,
    sealed: bool = True,
    patience: float = 0.0,
    boot_time: Callable[[], float] | None = None,
) -> AsyncIterator[Pair]:
    """Bring a pair up on those paths, and close it afterwards."""
    ways = wires("direct", delay), wires("relay", delay)
    pair = Pair(direct=ways[0], relay=ways[1], sealed=sealed, patience=patience, boot_time=boot_time)
    pair.start(direct=direct, relay=relay)
    await pair.up()
    yield pair
    pair.close()


def cut(pair: Pair, *routes: Route, mended: bool = False) -> None:
    """Let nothing through on those paths, or everything again."""
    for end in pair.ends:
        for route in routes:
            (end.direct if route == "direct" else end.relay).cut = not mended


def carried(pair: Pair, route: Route) -> int:
    """Return how many datagrams both ends have sent on a path."""
    return sum((end.direct if route == "direct" else end.relay).carried for end in pair.ends)


async def gone(end: End) -> type[AgentError]:
    """Wait until the link is gone at one end and return what was told of it, once."""
    await end.link.wait_closed()
    assert len(end.downs) == 1
    return type(end.downs[0])


def ends(pair: Pair, opener: str) -> tuple[End, End]:
    """Return the end that opens a stream, and the other one."""
    return pair.ends if opener == "offerer" else (pair.b, pair.a)


async def stream_of(source: End, target: End) -> tuple[Ends, Ends]:
    """Open a stream; return both its ends."""
    ours = await source.link.open_stream("test")
    return ours, await target.link.accept_stream("test")
