"""Runs the handlers of one kind of streams: one task each, which end with the link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from visavis_peer.core.link import kinds
from visavis_peer.core.link.credits import STREAM_COUNT
from visavis_peer.errors import LinkClosed, StreamReset

if TYPE_CHECKING:
    from visavis_peer.link.association import Association
    from visavis_peer.link.reader import ReceivingPart
    from visavis_peer.link.streams import Stream, StreamTable
    from visavis_peer.link.writer import SendingPart

HANDLER_COUNT: Final = STREAM_COUNT
"""Handlers of one kind at a time: a handler may outlive its stream, and the peer opens the next one then."""
LAST_TIMEOUT: Final = 5.0
"""Seconds that handlers have, once the link is gone, to make something of what they have read."""

Handler = Callable[["ReceivingPart", "SendingPart"], Coroutine[Any, Any, None]]


async def serve(association: Association, kind: str, handler: Handler) -> None:
    """Run `handler` for each stream of `kind`, until the link is gone and all of them have ended.

    Raises what a handler raises, the end of a stream or link aside, and what Reception.offer raises.
    """
    association.streams.reception.offer(kind, served=True)
    try:
        async with asyncio.TaskGroup() as group:
            running: set[asyncio.Task[None]] = set()
            accepting = group.create_task(_accept(association, kind, handler, group, running))
            await association.wait_closed()
            accepting.cancel()
            if running:
                await asyncio.wait(running, timeout=LAST_TIMEOUT)
            for task in running:
                task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        association.streams.reception.withdraw(kind)


async def _accept(
    association: Association, kind: str, handler: Handler, group: asyncio.TaskGroup, running: set[asyncio.Task[None]]
) -> None:
    places = asyncio.Semaphore(HANDLER_COUNT)

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        places.release()

    while True:
        await places.acquire()
        try:
            stream = await association.streams.reception.accept(kind)
        except LinkClosed:
            return
        task = group.create_task(_handle(handler, stream, association.streams))
        running.add(task)
        task.add_done_callback(ended)


async def _handle(handler: Handler, stream: Stream, streams: StreamTable) -> None:
    """Run a handler, and leave nothing of its stream open, however it ends."""
    try:
        await handler(stream.reader, stream.writer)
    except (StreamReset, LinkClosed):
        stream.writer.reset()
        stream.reader.stop()
    except BaseException:
        streams.refuse(stream, kinds.ABANDONED)
        raise
    else:
        stream.writer.write_eof()
        stream.reader.stop()
