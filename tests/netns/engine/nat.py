"""The process of a NAT: what a TUN device sends is translated and sent back.

Usage: python -m tests.netns.engine.nat FD JSON; the JSON object has `settings`, `inside` and `external`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from tests.netns.engine import pump
from tests.netns.engine.packets import UDP
from tests.netns.engine.settings import NatSettings
from tests.netns.engine.usernat import UserNat


class NatEngine:
    """One device and the NAT behind it."""

    def __init__(self, device: int, nat: UserNat) -> None:
        self.devices = (device,)
        self._nat = nat

    def receive_packet(self, device: int, packet: bytes, now: float) -> None:
        translated = self._nat.receive_packet(packet, now)
        if translated is not None:
            pump.send(device, translated)

    def next_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        """Never called: what expires is found when it is asked for."""

    def command(self, do: str, **arguments: Any) -> Any:
        match do:
            case "flush":
                self._nat.flush()
            case "rebind":
                self._nat.rebind()
            case "move":
                self._nat.move(arguments["external"])
            case "counts":
                return self._nat.counts.as_dict()
            case "mappings":
                return [[str(entry.internal), str(entry.external)] for entry in self._udp_mappings()]
            case _:
                raise ValueError(f"a NAT cannot {do}")
        return None

    def _udp_mappings(self) -> list[Any]:
        return [entry for entry in self._nat.mappings(time.monotonic()) if entry.protocol == UDP]


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    settings = NatSettings.from_dict(given["settings"])
    pump.run(NatEngine(int(sys.argv[1]), UserNat(settings, given["inside"], given["external"], random.Random())))
