"""A TCP proxy on loopback that swallows what a client sends from some byte on, and then cuts the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CuttingProxy:
    """Passes everything on until it is told to cut the next or present connection."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.swallowed = 0
        """Bytes of clients that were not passed on since `swallow_after`."""
        self.server_notices = True
        """Whether a cut reaches the server, too."""
        self._budget: int | None = None
        """Bytes of the client that are still passed on; None: any number."""
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def swallow_after(self, size: int) -> None:
        """Pass on `size` more bytes of the client, and no more."""
        self._budget, self.swallowed = size, 0

    def cut(self) -> None:
        """Reset the connections there are; new ones are whole."""
        self._budget = None
        for client, server in self._pairs:
            client.transport.abort()
            if self.server_notices:
                server.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        self._pairs.append((writer, to_server))
        for source, sink, counted in ((reader, to_server, True), (from_server, writer, False)):
            task = asyncio.create_task(self._pass_on(source, sink, counted=counted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        try:
            while data := await source.read(1 << 16):
                passed = data
                if counted and self._budget is not None:
                    passed = data[: self._budget]
                    self._budget -= len(passed)
                    self.swallowed += len(data) - len(passed)
                sink.write(passed)
        except OSError:
            return

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def cutting_proxy(target: int) -> AsyncIterator[CuttingProxy]:
    """Run a proxy to port `target` of loopback."""
    proxy = CuttingProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
