"""One end of a stream between two agents."""

from __future__ import annotations

import argparse
from typing import Final

from scripts.benches.ends.loops import run
from scripts.benches.ends.meter import BLOCK, Meter, arguments_of_end

from visavis_peer import Agent, AgentSettings, Link
from visavis_shared.loops import relax_collector

ROOM: Final = "bench"
_READY: Final = b"r"
"""Goes there and back before the transfer: both ends are on the path that is measured."""


async def transfer(arguments: argparse.Namespace) -> None:
    """Meet the other end and play the role."""
    settings = AgentSettings(
        server=arguments.address,
        room=ROOM,
        name=arguments.role,
        relay=arguments.relay,
        interfaces=tuple(arguments.interface),
    )
    meter = Meter(arguments.profile)
    async with Agent(settings) as agent:
        events = agent.events()
        link = await anext(agent.links())
        wanted = "relay" if arguments.relay == "only" else "direct"
        while link.path.path != wanted:
            await anext(events)
        if arguments.role == "send":
            await _send(link, arguments.size, meter)
        else:
            await _receive(link, arguments.size, meter)
            await link.wait_closed()


async def _send(link: Link, size: int, meter: Meter) -> None:
    reader, writer = await link.open_stream("bench/1")
    writer.write(_READY)
    await reader.readexactly(len(_READY))
    meter.start()
    for _ in range(size // len(BLOCK)):
        writer.write(BLOCK)
        await writer.drain()
    writer.write_eof()
    await writer.wait_closed()
    meter.stop()


async def _receive(link: Link, size: int, meter: Meter) -> None:
    reader, writer = await link.accept_stream("bench/1")
    writer.write(await reader.readexactly(len(_READY)))
    received = len(await reader.read(len(BLOCK)))
    meter.start()
    async for data in reader:
        received += len(data)
    meter.stop()
    writer.write_eof()
    assert received == size, received


if __name__ == "__main__":
    parsed = arguments_of_end(__doc__)
    relax_collector()  # as the commands do
    run(transfer(parsed), parsed.loop)
