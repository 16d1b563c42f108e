"""The way by the signaling server: a WebSocket of its own that carries UDP payloads between this agent and its peers.

A message is a peer's id (8 bytes) and any number of payloads, each with its length before it (2 bytes, big-endian).
The server looks at the id only (docs/protocol.md, "Relay"). It passes where nothing but HTTPS does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from visavis_peer.core.signaling.proxies import Proxy
from visavis_peer.signaling.http import CONNECT_TIMEOUT, describe, open_http
from visavis_peer.signaling.urls import token_headers
from visavis_shared.endpoints import format_address
from visavis_shared.ids import PEER_ID_BYTES, printable
from visavis_shared.stun import Address
from visavis_shared.tasks import end, own

logger = logging.getLogger(__name__)

QUEUE_SIZE: Final = 512 << 10
"""Bytes that wait for the connection before links have to wait: 0.4 s at 10 Mbit/s."""
QUEUE_MAX: Final = QUEUE_SIZE + (256 << 10)
"""Bytes that wait at most: there is that much for what is sent without asking, as is the notice of a link's end."""
HEARTBEAT: Final = 10.0
"""Seconds between pings; a connection that is silent for half of it longer is taken for gone."""
RECEIVE_SIZE: Final = 128 << 10
"""Bytes of a message from the server at most; ours forwards 64 KiB."""
SEND_SIZE: Final = 64 << 10
"""Bytes of a message to the server at most, fewer if it takes fewer: a batch of datagrams pays a message's cost once.
Half as much again or twice as much makes no clear difference (measured)."""
RETRY_MAX: Final = 5.0
"""Seconds between attempts at most: a link may depend on it."""
FLUSH_TIMEOUT: Final = 0.5
"""Seconds for what is queued, and the server's answer, when the connection is closed: most of a queue at 10 Mbit/s."""
_LENGTH: Final = struct.Struct("!H")


class RelayClient:
    """Keeps a connection to the relay for as long as it is open; payloads are lost while there is none."""

    def __init__(
        self,
        url: str,
        token: str,
        message_size: int,
        on_receive: Callable[[str, list[bytes]], None],
        on_state: Callable[[], None],
        proxy: Proxy | None = None,
        may_ask: Callable[[Address], bool] = lambda _: True,
    ) -> None:
        """`url` is the relay's WebSocket URL; `message_size` is how many bytes of a message the server takes.

        `on_receive` gets peer id and payloads, `on_state` hears that `connected` has changed; `proxy` leads there.
        `may_ask` says to which of the addresses of its name this agent connects.
        """
        self._may_ask = may_ask
        self._url = url
        self._proxy = proxy
        self.remote = ""
        """Transport address of the server, or its name and the proxy's, known once connected."""
        self.connected = False
        self._token = token
        self._batch_size = min(message_size, SEND_SIZE) - PEER_ID_BYTES
        """Bytes of one message's payloads with their lengths."""
        self._on_receive = on_receive
        self._on_state = on_state
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self.queue_size = 0
        """Bytes that wait to be sent, without their lengths; at most QUEUE_MAX."""
        self._waiters: dict[Callable[[], None], None] = {}
        """To be told that there is room, who has waited longest first; one a link."""
        self._wake = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._writer: asyncio.Task[None] | None = None
        self._runner = own(self._run())

    @property
    def ended(self) -> bool:
        """Whether the relay is not asked any more: it does not want this client, or `close` was called."""
        return self._runner.done()

    def room(self, waiter: Callable[[], None]) -> int:
        """Return how many bytes may be sent now, about; with 0, `waiter` is called once when it is worth asking again.

        TCP loses nothing, so a link that waits instead of losing what does not fit keeps its congestion window.
        """
        left = QUEUE_SIZE - self.queue_size
        if left < SEND_SIZE:
            self._waiters[waiter] = None
            return 0
        return left

    def send(self, peer_id: str, datagrams: Sequence[bytes]) -> None:
        """Send UDP payloads to a peer with whom OFFER and ANSWER have been exchanged; what does not fit is dropped."""
        if not self.connected:
            return
        try:
            head = bytes.fromhex(peer_id)
        except ValueError:
            return  # a server of another kind has given this peer its id
        if len(head) != PEER_ID_BYTES:
            return
        for datagram in datagrams:
            if self.queue_size + len(datagram) > QUEUE_MAX:
                break
            self._queue.append((head, datagram))
            self.queue_size += len(datagram)
        self._wake.set()

    async def close(self) -> None:
        """Send what is queued, as far as the connection takes it within FLUSH_TIMEOUT, and close. Idempotent."""
        if self._socket is not None:
            # before the reader is cancelled: with it aiohttp would give up the connection, and what waits in its buffer
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_TIMEOUT):
                    await self._finish(self._socket)
        if not self._runner.done():
            self._runner.cancel()
            await asyncio.wait([self._runner])

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                async with open_http(self._proxy, may_ask=self._may_ask) as session:
                    async with asyncio.timeout(CONNECT_TIMEOUT):
                        socket = await session.ws_connect(
                            self._url,
                            headers=token_headers(self._url, self._token),
                            heartbeat=HEARTBEAT,
                            max_msg_size=RECEIVE_SIZE,
                            compress=0,
                        )
                    attempt = 0
                    await self._serve(socket)
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 401:
                    logger.info("the relay no longer knows this agent")
                    return  # a new token comes with the next signaling connection
                logger.info("the relay answered HTTP %d", error.status)
            except TimeoutError:
                logger.info("no connection to the relay: it did not answer within %.0f s", CONNECT_TIMEOUT)
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                logger.info("no connection to the relay: %s", describe(error))
            except ValueError as error:
                logger.info("the relay cannot be asked for: %s", printable(str(error)))
                return  # its token is none that stands in a header
            attempt += 1
            await asyncio.sleep(min(RETRY_MAX, 0.1 * 2**attempt) * random.uniform(0.5, 1.0))

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.remote = self._where(socket.get_extra_info("peername"))
        self.connected = True
        self._on_state()
        self._socket, self._writer = socket, own(self._write(socket))
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    self._receive(message.data)
                elif message.type is aiohttp.WSMsgType.TEXT:
                    _log_refusal(message.data)
        finally:
            self.connected = False
            self._on_state()
            self._socket = None
            await end(self._writer)
            self._queue.clear()
            self.queue_size = 0
            self._offer_room()
            await socket.close()

    async def _finish(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send what the links have said last, each to its own peer, and take leave of the server."""
        if self._writer is not None:
            await end(self._writer)
        while self._queue and not socket.closed:
            await self._write_batch(socket)
        await socket.close()

    def _where(self, address: Any) -> str:
        """Return what stands at the other end; behind a proxy only its name is known."""
        if self._proxy is not None:
            return f"{urlsplit(self._url).netloc.rpartition('@')[2]} through {self._proxy}"
        return format_address(address[:2]) if address else ""

    def _receive(self, message: bytes) -> None:
        datagrams = []
        offset = PEER_ID_BYTES
        while offset + _LENGTH.size <= len(message):
            (size,) = _LENGTH.unpack_from(message, offset)
            offset += _LENGTH.size
            datagrams.append(message[offset : offset + size])
            offset += size
        if datagrams:
            self._on_receive(message[:PEER_ID_BYTES].hex(), datagrams)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            while self._queue:
                await self._write_batch(socket)
                self._offer_room()
            self._wake.clear()
            await self._wake.wait()

    def _offer_room(self) -> None:
        """Tell the link that has waited longest of room for it, and all when there is room for all."""
        while self._waiters and self.queue_size <= QUEUE_SIZE // 2:
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            waiter()
            if self._queue:
                break  # it fills the queue at the end of this turn

    async def _write_batch(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send one message: the next peer's payloads as far as they stand together."""
        head = self._queue[0][0]
        parts = [head]
        size = 0
        while self._queue and self._queue[0][0] == head:
            datagram = self._queue[0][1]
            size += _LENGTH.size + len(datagram)
            if size > self._batch_size and len(parts) > 1:
                break
            self._queue.popleft()
            self.queue_size -= len(datagram)
            parts += (_LENGTH.pack(len(datagram)), datagram)
        try:
            await socket.send_bytes(b"".join(parts))
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            logger.debug("the relay's connection is gone: %s", error)


def _log_refusal(text: str) -> None:
    try:
        payload = json.loads(text)["payload"]
        logger.info(
            "the relay refuses: %s (%s)", printable(str(payload["message"])), printable(str(payload["details"]))
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        logger.debug("the relay said something else")
