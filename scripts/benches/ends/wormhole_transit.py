"""One end of a transfer by magic-wormhole's transit, as its `send` and `receive` use it but for files and their hashes.

Runs in an environment that has magic-wormhole, and imports nothing of the project but the meter.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
from typing import Any, Final

from scripts.benches.ends.meter import Meter, arguments_of_end

transit: Any = importlib.import_module("wormhole.transit")
basic: Any = importlib.import_module("twisted.protocols.basic")
defer: Any = importlib.import_module("twisted.internet.defer")
closed: Any = importlib.import_module("twisted.internet.error").ConnectionClosed
task: Any = importlib.import_module("twisted.internet.task")

KEY: Final = bytes(range(32))
"""What the two sides of a wormhole would have agreed on."""


class Source:
    """A file of zeros."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        count = min(size, self._left)
        self._left -= count
        return bytes(count)


class Sink:
    """A file that only counts."""

    def __init__(self, meter: Meter) -> None:
        self.size = 0
        self._meter = meter

    def write(self, data: bytes) -> None:
        """Count."""
        if not self.size:
            self._meter.start()
        self.size += len(data)


async def send(reactor: Any, arguments: argparse.Namespace) -> None:
    """Send everything and wait for the receiver's word."""
    meter = Meter(arguments.profile)
    end = transit.TransitSender("", no_listen=True, reactor=reactor)
    await end.get_connection_hints()
    end.add_connection_hints(json.loads(arguments.address))
    end.set_transit_key(KEY)
    connection = await end.connect()
    meter.start()
    await basic.FileSender().beginFileTransfer(Source(arguments.size), connection)
    await connection.receive_record()
    meter.stop()
    connection.close()


async def receive(reactor: Any, arguments: argparse.Namespace) -> None:
    """Wait for the sender and take everything."""
    end = transit.TransitReceiver("", reactor=reactor)
    hints = await end.get_connection_hints()
    hints[0]["hostname"] = arguments.host
    end.set_transit_key(KEY)
    print(json.dumps(hints[:1]), flush=True)
    connection = await end.connect()
    meter = Meter(arguments.profile)
    received = Sink(meter)
    await connection.writeToFile(received, arguments.size)
    meter.stop()
    assert received.size == arguments.size, received.size
    connection.send_record(b"done")
    with contextlib.suppress(closed):
        await connection.receive_record()  # the sender hangs up


def _play(reactor: Any, arguments: argparse.Namespace) -> Any:
    return defer.ensureDeferred((send if arguments.role == "send" else receive)(reactor, arguments))


if __name__ == "__main__":
    task.react(_play, (arguments_of_end(__doc__),))
