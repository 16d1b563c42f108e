"""From the listening socket to HTTP: connections are counted, told whose they are, and handed over.

A connection costs nothing but its descriptor until it has sent something. A look at its first bytes then tells what an
L4 proxy says of it (PROXY protocol), which comes before TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from visavis_server.core.access import proxy_header
from visavis_server.core.access.buckets import counted_source
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.door import Door
from visavis_server.core.access.forwarding import IpNetwork, is_trusted, parse_address
from visavis_server.core.access.proxy_header import MalformedHeader
from visavis_server.core.quiet import Quiet
from visavis_server.setup.logs import fields
from visavis_shared.stun import Address

logger = logging.getLogger(__name__)

ACCEPT_COUNT: Final = 64
"""Connections that are accepted before others have their turn: some 2 ms."""
PAUSE: Final = 0.1
"""Seconds without accepting after the system has had no descriptor or memory for one more."""
AGAIN_INTERVAL: Final = 0.05
"""Seconds until another look at a connection that has sent the beginning of a PROXY header."""
_FIRST_BYTES: Final = 16
"""Bytes that tell a PROXY header from everything else."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Visitor:
    """One TCP connection."""

    __slots__ = ("client", "is_named", "is_trusted", "sock", "transport", "waiting")

    def __init__(self, sock: socket.socket, client: Address, *, is_trusted: bool) -> None:
        self.sock = sock
        self.client = client
        """Address and port of the other end, or of the client that a PROXY header names."""
        self.is_trusted = is_trusted
        """Whether the other end is one of the operator's proxies."""
        self.is_named = False
        """Whether a PROXY header has named the client."""
        self.transport: asyncio.BaseTransport | None = None
        """What carries it once it has sent something."""
        self.waiting: asyncio.TimerHandle | None = None
        """When another look at it is due, or the end of waiting for a PROXY header."""


class Acceptor:
    """Accepts the connections of one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        door: Door[Visitor],
        admit: Callable[[Visitor], asyncio.Protocol],
        *,
        proxies: Sequence[IpNetwork],
        proxy_protocol: bool,
        tls: Mapping[str, Any],
        on_refused: Callable[[Visitor, Cause], None],
    ) -> None:
        """`admit` makes the protocol of a connection; `tls` are the options of the loop that make it a TLS one."""
        self._listener = listener
        self._listener.setblocking(False)
        self._door = door
        self._admit = admit
        self._proxies = proxies
        self._proxy_protocol = proxy_protocol
        self._tls = tls
        self._on_refused = on_refused
        self._loop = asyncio.get_running_loop()
        self._looked_at: set[Visitor] = set()
        """Those that have sent nothing yet, or not enough."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Hand-overs under way, TLS handshakes among them; the door bounds them."""
        self._paused: asyncio.TimerHandle | None = None
        self._quiet = Quiet()
        self._accepting = False

    def start(self) -> None:
        """Accept connections from now on."""
        self._accepting = True
        self._loop.add_reader(self._listener, self._on_readable)

    def stop(self) -> None:
        """Accept no more, but everything that the system has accepted already; idempotent."""
        if not self._accepting:
            return
        self._accept(self._door.capacity.total)
        self._accepting = False
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def close(self) -> None:
        """Stop, and let go of those that have sent nothing yet. Idempotent."""
        self.stop()
        for visitor in list(self._looked_at):
            self.drop(visitor)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def drop(self, visitor: Visitor) -> None:
        """Cut a connection. Idempotent."""
        self._door.leave(visitor)
        if isinstance(visitor.transport, asyncio.WriteTransport):
            visitor.transport.abort()
        elif visitor in self._looked_at:
            self._look_no_more(visitor)
            visitor.sock.close()

    # --- accepting ----------------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        self._accept(ACCEPT_COUNT)

    def _accept(self, count: int) -> None:
        for _ in range(count):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._door.refusals[Cause.DESCRIPTORS] += 1
                    self._pause()
                    return
                continue  # a client that has gone already (ECONNABORTED)
            sock.setblocking(False)
            self._welcome(sock, address)

    def _pause(self) -> None:
        """Wait for a moment: the socket stays readable, and accepting would fail again at once."""
        self._loop.remove_reader(self._listener)
        self._paused = self._loop.call_later(PAUSE, self._loop.add_reader, self._listener, self._on_readable)

    def _welcome(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        client = parse_address(str(address[0]))
        trusted = client is not None and is_trusted(client, self._proxies)
        visitor = Visitor(sock, (str(client or address[0]), int(address[1])), is_trusted=trusted)
        source = "" if client is None or trusted else counted_source(str(client))
        cause, evicted = self._door.arrive(visitor, source, self._loop.time())
        if evicted is not None and isinstance(evicted.transport, asyncio.WriteTransport):
            evicted.transport.abort()
        if cause is not None:
            self._refuse(visitor, cause)
            sock.close()
            return
        self._looked_at.add(visitor)
        self._loop.add_reader(sock, self._look, visitor)
        if trusted and self._proxy_protocol:
            visitor.waiting = self._loop.call_later(proxy_header.HEADER_TIMEOUT, self._on_no_header, visitor)

    # --- first bytes --------------------------------------------------------------------------------------------------

    def _look(self, visitor: Visitor) -> None:
        """Look at what a connection has sent, without taking more of it than a PROXY header."""
        due = visitor.is_trusted and self._proxy_protocol
        try:
            data = visitor.sock.recv(proxy_header.HEADER_SIZE if due else _FIRST_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # it is gone
            self.drop(visitor)
        elif due:
            self._read_header(visitor, data)
        elif proxy_header.is_header(data):
            self._on_unexpected_header(visitor)
        elif proxy_header.may_begin(data):
            self._look_again(visitor)
        else:
            self._hand_over(visitor)

    def _look_again(self, visitor: Visitor) -> None:
        """Look again in a moment: the socket is readable already."""
        self._loop.remove_reader(visitor.sock)
        self._loop.call_later(AGAIN_INTERVAL, self._watch, visitor)

    def _watch(self, visitor: Visitor) -> None:
        if visitor in self._looked_at:
            self._loop.add_reader(visitor.sock, self._look, visitor)

    def _read_header(self, visitor: Visitor, data: bytes) -> None:
        try:
            header = proxy_header.parse(data)
        except MalformedHeader as error:
            self._on_bad_header(visitor, str(error))
            return
        if header is None:
            self._look_again(visitor)
            return
        visitor.sock.recv(header.size)
        if header.client is not None:
            visitor.client, visitor.is_named = header.client, True
            cause = self._door.name(visitor, counted_source(header.client[0]))
            if cause is not None:
                self._refuse(visitor, cause)
                self.drop(visitor)
                return
        self._hand_over(visitor)

    def _on_no_header(self, visitor: Visitor) -> None:
        if visitor in self._looked_at:
            self._on_bad_header(visitor, f"no PROXY header came within {proxy_header.HEADER_TIMEOUT:g} s")

    def _on_bad_header(self, visitor: Visitor, reason: str) -> None:
        self._door.refusals[Cause.PROXY_HEADER] += 1
        if self._quiet.speak("bad", self._loop.time()) is not None:
            about = fields(event="proxy_header", cause="malformed")
            logger.warning("a connection of a trusted proxy is cut (--proxy-protocol): %s", reason, extra=about)
        self.drop(visitor)

    def _on_unexpected_header(self, visitor: Visitor) -> None:
        self._door.refusals[Cause.PROXY_HEADER] += 1
        if self._quiet.speak("unexpected", self._loop.time()) is not None:
            text = "a connection begins with a PROXY header and is cut: for a proxy that sends it set --trusted-proxy"
            about = fields(event="proxy_header", cause="unexpected")
            logger.warning("%s to its address and --proxy-protocol on", text, extra=about)
        self.drop(visitor)

    def _look_no_more(self, visitor: Visitor) -> None:
        self._looked_at.discard(visitor)
        self._loop.remove_reader(visitor.sock)
        if visitor.waiting is not None:
            visitor.waiting.cancel()
            visitor.waiting = None

    # --- handing over -------------------------------------------------------------------------------------------------

    def _hand_over(self, visitor: Visitor) -> None:
        self._look_no_more(visitor)
        task = self._loop.create_task(self._connect(visitor))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, visitor: Visitor) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._admit(visitor), visitor.sock, **self._tls)
        except (OSError, asyncio.CancelledError) as error:  # no TLS, or gone, or the server ends
            logger.debug("a connection has ended before its first request: %s", error)
            self._door.leave(visitor)
            visitor.sock.close()

    def _refuse(self, visitor: Visitor, cause: Cause) -> None:
        """Say in HTTP, where that is possible, that there is no place; the socket is to be closed then."""
        if not self._tls:
            of_address = cause is Cause.ADDRESS_CONNECTIONS
            status = HTTPStatus.TOO_MANY_REQUESTS if of_address else HTTPStatus.SERVICE_UNAVAILABLE
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nRetry-After: 30\r\nContent-Length: 0\r\n"
            with contextlib.suppress(OSError):
                visitor.sock.send(f"{head}Connection: close\r\n\r\n".encode())
                # what has come must be read, or closing would take the answer away again (RFC 9112 section 9.6)
                visitor.sock.recv(1 << 16)
        self._on_refused(visitor, cause)
