"""The loop of an engine process: devices, a timer, and commands as JSON lines on standard input.

Every command is answered by one line. End of input ends the process: its lab is gone.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import time
from typing import Any, Final, Protocol

_BATCH: Final = 64
"""Packets read from one device before the others have their turn: 0.5 ms of work."""
_QUEUE_COUNT: Final = 10_000
"""Packets taken before a command is obeyed: all that came before it, since a device queues no more."""
_PACKET_MAX: Final = 2048
"""Bytes: above what an MTU of 1,500 allows with an Ethernet header. Longer buffers cost time at every read."""
_LINE_MAX: Final = 65_536
_STDIN: Final = 0


class Engine(Protocol):
    """What the loop drives."""

    @property
    def devices(self) -> tuple[int, ...]:
        """Return the non-blocking descriptors of TUN or TAP devices."""

    def receive_packet(self, device: int, packet: bytes, now: float) -> None:
        """Take what a device has sent."""

    def next_timer(self) -> float | None:
        """Return when to call `handle_timer` (seconds, monotonic), or None."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    def command(self, do: str, **arguments: Any) -> Any:
        """Obey the lab; the answer goes back as JSON.

        Raises ValueError for what cannot be done; its text goes back.
        """


def run(engine: Engine) -> None:
    """Drive `engine` until standard input ends or a device is gone."""
    _answer("ready")
    pending = b""
    watched = [_STDIN, *engine.devices]
    while True:
        due_at = engine.next_timer()
        # not poll or epoll: they count in milliseconds
        timeout = None if due_at is None else max(0.0, due_at - time.monotonic())
        readable = select.select(watched, [], [], timeout)[0]
        if due_at is not None:
            engine.handle_timer(time.monotonic())
        obeying = _STDIN in readable
        for device in engine.devices:
            if (obeying or device in readable) and not _take(engine, device, _QUEUE_COUNT if obeying else _BATCH):
                return
        if obeying:
            received = os.read(_STDIN, _LINE_MAX)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                _obey(engine, json.loads(line))


def _take(engine: Engine, device: int, count: int) -> bool:
    """Take up to `count` packets that a device has waiting; False when its namespace, and so the device, is gone."""
    for _ in range(count):
        try:
            packet = os.read(device, _PACKET_MAX)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno == errno.EBADFD:
                return False
            raise
        engine.receive_packet(device, packet, time.monotonic())
    return True


def send(device: int, packet: bytes) -> bool:
    """Hand a packet to a device; False when it is administratively down."""
    try:
        os.write(device, packet)
    except OSError:
        return False
    return True


def _obey(engine: Engine, message: dict[str, Any]) -> None:
    try:
        _answer(engine.command(**message))
    except ValueError as error:
        _answer(None, str(error))


def _answer(result: Any, error: str | None = None) -> None:
    sys.stdout.write(json.dumps({"result": result, "error": error}) + "\n")
    sys.stdout.flush()
