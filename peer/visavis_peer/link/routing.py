"""The paths of one link: which there are, which of them its datagrams take, and how large these may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from visavis_peer.core.link.paths import PathChoice, Route
from visavis_peer.events import PathInfo, RelayCause
from visavis_peer.link import quic
from visavis_peer.link.quic import SecureConnection
from visavis_shared.tasks import own

NO_PATH: Final = PathInfo("relay", "none", "", "", None, "no path has been found yet", cause=RelayCause.NOT_YET)


class DirectPath(Protocol):
    """What a link needs of an ICE session."""

    @property
    def path_datagram_size(self) -> int:
        """Bytes of UDP payload that the selected pair carries unfragmented, as far as this machine knows."""

    async def find_datagram_size(self) -> int | None:
        """Ask the peer and return how many bytes of UDP payload the selected pair carries; None: nothing came back."""

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send UDP payloads on the selected pair."""

    def suspect(self) -> None:
        """Ask for consent at once."""


class Routing:
    """What `Association` knows of its paths."""

    def __init__(
        self,
        connection: SecureConnection,
        relay: Callable[[Sequence[bytes]], None],
        relay_room: Callable[[], int],
        moved: Callable[[], None],
        narrow: Callable[[int], None],
    ) -> None:
        """The callbacks are those of `LinkCallbacks`; `moved` is told that the main path is another one, or none."""
        self.direct: DirectPath | None = None
        """The ICE session that carries the link, or will as soon as its size is known."""
        self._connection = connection
        self._relay = relay
        self._relay_room = relay_room
        self._moved = moved
        self._narrow = narrow
        self._loop = asyncio.get_running_loop()
        self._choice = PathChoice()
        self._direct_info: PathInfo | None = None
        self._relay_info: PathInfo | None = None
        self._sizing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether there is a path."""
        return self._choice.main is not None

    @property
    def info(self) -> PathInfo | None:
        """The main path, as users are told; None while there is none."""
        main = self._choice.main
        return self._direct_info if main == "direct" else self._relay_info if main == "relay" else None

    @property
    def room(self) -> int:
        """Bytes that the main path takes now; with 0, the link is told when the relay has room again."""
        return self._relay_room() if self._choice.main == "relay" else quic.UNLIMITED

    def use_direct(self, path: DirectPath, info: PathInfo) -> None:
        """Carry the link on `path`: from now on, or once it is known which of today's datagrams it carries."""
        in_use = path is self.direct and self._choice.direct
        self.direct, self._direct_info = path, info
        self._connection.roomy = False
        self._connection.may_grow = path.path_datagram_size > quic.DATAGRAM_SIZE
        if in_use or not self._is_large:
            self._open_direct()
            return
        self._choice.set_direct(usable=False, now=self._loop.time())
        self._find_size(path)

    def lose_direct(self, path: DirectPath) -> None:
        """Carry nothing on `path` any longer, if it is the one in use."""
        if path is self.direct:
            self.direct = self._direct_info = None
            self.close()
            self._choice.set_direct(usable=False, now=self._loop.time())
            self._moved()

    def set_relay(self, info: PathInfo | None) -> None:
        """Say whether the server's relay carries datagrams to this peer, and how users are told."""
        self._relay_info = info
        usable = info is not None
        # of no consequence once the handshake has begun
        self._connection.roomy = usable and self.direct is None
        if usable != self._choice.relay or self._choice.main == "relay":
            self._choice.relay = usable
            self._moved()

    def on_received(self, route: Route, now: float) -> None:
        """Count a datagram that came in."""
        self._choice.on_received(route, now)

    def send(self, datagrams: list[bytes], now: float) -> None:
        """Send UDP payloads on the path in use; on both while the direct one is in doubt."""
        connection = self._connection
        for route in self._choice.routes(
            now,
            connection.rtt,
            answer_due=connection.in_flight > 0,
            probes=connection.probes,
            confirmed=connection.confirmed,
        ):
            if route == "relay":
                self._relay(datagrams)
            elif self.direct is not None:
                self.direct.send_datagrams(datagrams)
                self._heed_refusals(self.direct.path_datagram_size)
        if self._choice.doubted and self.direct is not None:
            self.direct.suspect()
            # a router may drop what is too large and say nothing (RFC 8899 section 4.3)
            if self._is_large and self._sizing is None:
                self._find_size(self.direct)

    def close(self) -> None:
        """Ask nothing any longer. Idempotent."""
        if self._sizing is not None:
            self._sizing.cancel()
            self._sizing = None

    @property
    def _is_large(self) -> bool:
        return self._connection.datagram_size > quic.DATAGRAM_SIZE

    def _open_direct(self) -> None:
        self._choice.set_direct(usable=True, now=self._loop.time())
        self._moved()

    def _find_size(self, path: DirectPath) -> None:
        """Find out what `path` carries; then it is used, if it was not before."""
        self.close()
        self._sizing = own(self._size(path), bears=(OSError,))

    async def _size(self, path: DirectPath) -> None:
        size = await path.find_datagram_size()
        self._sizing = None
        if not self._choice.direct:
            self._connection.shrink(size or quic.DATAGRAM_SIZE)
            self._open_direct()
        elif size is not None:
            self._connection.shrink(size)

    def _heed_refusals(self, size: int) -> None:
        """Make do with what this machine's network takes, or leave the path where that is too little."""
        if size < self._connection.datagram_size:
            self._connection.shrink(max(size, quic.DATAGRAM_SIZE))
        if size < quic.DATAGRAM_SIZE and not self._choice.narrow:
            self._choice.narrow = True
            self._narrow(size)
            self._moved()
