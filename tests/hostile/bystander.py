"""Somebody who has nothing to do with it all, and counts what comes in."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Bystander:
    """UDP sockets on one address of loopback, that never answer."""

    def __init__(self, host: str, sockets: list[socket.socket]) -> None:
        """Use `bystander`."""
        self.host = host
        self.ports = [each.getsockname()[1] for each in sockets]
        self.count = 0
        """Datagrams that have come in, as of the last `look`."""
        self._sockets = sockets

    def candidates(self, first: int = 0) -> list[str]:
        """Return candidates for every port, with foundations and priorities from number `first` on."""
        return [
            f"{first + index} 1 udp {2130706431 - first - index} {self.host} {port} typ host"
            for index, port in enumerate(self.ports)
        ]

    def look(self) -> int:
        """Return how many datagrams have come in by now."""
        for each in self._sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    each.recv(4096)
                    self.count += 1
        return self.count


@contextmanager
def bystander(host: str, count: int) -> Iterator[Bystander]:
    """Be at `host` with `count` sockets."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(count):
            each = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            each.setblocking(False)
            each.bind((host, 0))
            sockets.append(each)
        yield Bystander(host, sockets)
