"""The process of a cable: moves frames between two TAP devices, as its impairments say.

Usage: python -m tests.netns.engine.cable FD FD; the devices belong to the outer and the inner end.
"""

from __future__ import annotations

import fcntl
import random
import struct
import sys
from typing import Any, Final

from tests.netns.engine import pump
from tests.netns.engine.impairment import Direction, Impairment

_TUNSETCARRIER: Final = 0x400454E2  # linux/if_tun.h


class CableEngine:
    """Two devices and the two directions between them."""

    def __init__(self, outer: int, inner: int, rng: random.Random) -> None:
        self.devices = (outer, inner)
        self._directions = {"outward": Direction(rng), "inward": Direction(rng)}
        self._ways = {
            inner: (self._directions["outward"], outer),
            outer: (self._directions["inward"], inner),
        }

    def receive_packet(self, device: int, packet: bytes, now: float) -> None:
        direction, far = self._ways[device]
        if direction.receive_frame(packet, now):
            pump.send(far, packet)

    def next_timer(self) -> float | None:
        timers = [timer for direction, _ in self._ways.values() if (timer := direction.next_timer()) is not None]
        return min(timers, default=None)

    def handle_timer(self, now: float) -> None:
        for direction, far in self._ways.values():
            for frame in direction.handle_timer(now):
                pump.send(far, frame)

    def command(self, do: str, **arguments: Any) -> Any:
        match do:
            case "impair":
                self._directions[arguments["direction"]].impair(Impairment(**arguments["impairment"]))
            case "cut":
                self._carry(up=False)
            case "mend":
                self._carry(up=True)
            case "counts":
                return {name: direction.counts.as_dict() for name, direction in self._directions.items()}
            case _:
                raise ValueError(f"a cable cannot {do}")
        return None

    def _carry(self, *, up: bool) -> None:
        for direction, far in self._ways.values():
            if up:
                direction.mend()
            else:
                direction.cut()
            fcntl.ioctl(far, _TUNSETCARRIER, struct.pack("i", up))


if __name__ == "__main__":
    pump.run(CableEngine(int(sys.argv[1]), int(sys.argv[2]), random.Random()))
