"""One UDP socket of an ICE session, and the shell's own STUN transactions on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from aioice import stun

from visavis_peer.core.counts import DATAGRAM_SIZE as DATAGRAM_SIZE
from visavis_peer.core.ice import Candidate
from visavis_peer.core.ice.transactions import Transaction
from visavis_peer.core.nat.probes import looks_like_probe
from visavis_peer.ice.transport import BatchTransport, forbid_fragments
from visavis_shared.stun import Address, NotStun, looks_like_stun, parse

TRUSTED_SIZE: Final = 64
"""Remote addresses per socket that have passed an authenticated check: a NAT that rebinds makes new ones."""
SOCKET_BUFFER: Final = 4 << 20
"""Bytes of SO_RCVBUF and SO_SNDBUF: a window of a link while the loop is busy; the kernel may grant less."""
PAYLOADS: Final = (978, 548, 268)
"""Bytes of UDP payload below DATAGRAM_SIZE: RFC 1191's plateaus of 1,006, 576 and 296 bytes, less 28 of headers."""
HEADER_SIZES: Final = {4: 28, 6: 48}
"""Bytes of the IP and UDP headers, by IP version."""
MTUS: Final = (9000, 1500, 1420)
"""Bytes of an IP packet that are worth a question: jumbo frames, as in a cloud's network, which cost nothing where this
machine's interface has none; Ethernet's; and what WireGuard or PPPoE leave of it. More is not tried."""
STUN_LAST: Final = 3
"""The last value that the first byte of a STUN message can have (RFC 7983 section 7)."""
OPENER: Final = b"\x00\x11\x00\x00\x21\x12\xa4\x42" + bytes(12)
"""A STUN Binding indication (RFC 8489 section 5): whoever gets it ignores it."""


_ID: Final = slice(8, 20)
"""Where a STUN message has its transaction id (RFC 8489 section 5)."""
_numbers: Final = itertools.count()


class Exchange:
    """One STUN request of the shell's own and its response, on the loop's timers."""

    def __init__(self, send: Callable[[], None], transaction: Transaction, key: bytes | None) -> None:
        """`send` sends the request; `key` signs it, and its response has to be signed likewise."""
        self._send = send
        self._transaction = transaction
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[stun.Message] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    def response_received(self, data: bytes) -> None:
        """Take a response; one that is not signed as the request was is ignored (RFC 8489 section 9.1.4)."""
        try:
            message = parse(data)
        except NotStun:
            return
        if self._future.done() or (self._key is not None and not message.check_message_integrity(self._key)):
            return
        if message.message_class is stun.Class.RESPONSE:
            self._future.set_result(message)
        elif message.message_class is stun.Class.ERROR:
            self._future.set_exception(stun.TransactionFailed(message))

    async def run(self) -> stun.Message:
        """Send by the schedule and return the response.

        Raises stun.TransactionFailed for an error response, stun.TransactionTimeout for none.
        """
        try:
            self._on_timer()
            return await self._future
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _on_timer(self) -> None:
        if self._future.done():
            return
        # the loop may wake a little early
        match self._transaction.handle_timer(max(self._loop.time(), self._transaction.due_at)):
            case "send":
                self._send()
                self._timer = self._loop.call_at(self._transaction.due_at, self._on_timer)
            case "timeout":
                self._future.set_exception(stun.TransactionTimeout())


class SocketOwner(Protocol):
    """What a socket asks of the session that owns it."""

    @property
    def receiver(self) -> Callable[[list[bytes]], None]:
        """What takes the datagrams of the peer that are no STUN messages."""

    def stun_received(self, sock: IceSocket, data: bytes, source: Address) -> None:
        """Take a STUN message that is no response to the socket's own requests."""

    def socket_lost(self, sock: IceSocket) -> None:
        """A socket is closed, by whomever."""


class IceSocket(asyncio.DatagramProtocol):
    """One UDP socket: the one that asks STUN servers is the one that punches and carries the data."""

    local_candidate: Candidate
    """Its own: a host candidate, or a relayed one."""
    transport: asyncio.DatagramTransport

    def __init__(self, owner: SocketOwner, sock: socket.socket | None) -> None:
        """`sock` is None where there is none of ours: on a TURN server."""
        self.number = next(_numbers)
        """By which the agent knows it (core.ice)."""
        self.sock = sock
        self.deliver = owner.receiver
        """Takes the datagrams of the peer that are no STUN messages."""
        self.take_probe: Callable[[IceSocket, bytes, Address], None] | None = None
        """Takes what has the form of a probe (core.probes), from whatever address; None: nobody does."""
        self.trusted: dict[Address, None] = {}
        """Addresses whose data is let through, the one last confirmed last."""
        self.sizes: tuple[int, ...] = (DATAGRAM_SIZE, *PAYLOADS)
        """Bytes of UDP payload that are not known to be too many, descending, one at least; where fragments may be sent
        no more are tried."""
        self.exchanges: dict[bytes, Exchange] = {}
        """The shell's own requests that await a response, by transaction id."""
        self._owner = owner
        self._closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if not self._closed.done():
            self._closed.set_result(None)
            self._owner.socket_lost(self)

    async def close(self) -> None:
        """Close it. Idempotent."""
        self.transport.close()
        await self._closed

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Take what asyncio's transport brings."""
        assert isinstance(data, bytes)
        self.datagrams_received([data], addr)

    def datagrams_received(self, datagrams: list[bytes], addr: tuple[Any, ...]) -> None:
        """Tell STUN from data by the first byte, and STUN first; nothing a stranger sends raises."""
        source = (str(addr[0]).partition("%")[0], int(addr[1]))
        content = [data for data in datagrams if data and data[0] > STUN_LAST]
        if len(content) < len(datagrams):
            for data in datagrams:
                if looks_like_stun(data):
                    self._stun_received(data, source)
        if content and self.take_probe is not None:
            content = [data for data in content if not self._is_probe(data, source)]
        if content and source in self.trusted:
            self.deliver(content)

    def _is_probe(self, data: bytes, source: Address) -> bool:
        if self.take_probe is None or not looks_like_probe(data):
            return False
        self.take_probe(self, data, source)
        return True

    def send_datagrams(self, datagrams: Sequence[bytes], addr: Address) -> None:
        """Send datagrams to one address, in as few system calls as the machine allows."""
        if isinstance(self.transport, BatchTransport):
            self.transport.send_many(datagrams, addr)
        else:
            for datagram in datagrams:
                self.transport.sendto(datagram, addr)

    def _stun_received(self, data: bytes, source: Address) -> None:
        exchange = self.exchanges.get(data[_ID])
        if exchange is not None:
            exchange.response_received(data)
        else:
            self._owner.stun_received(self, data, source)

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        schedule: Sequence[float],
        password: str | None = None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> stun.Message:
        """Ask on `schedule` (core.ice.transactions) and return the response; `may_send` is asked before each packet.

        With a `password` both are signed. Raises stun.TransactionFailed for an error response, stun.TransactionTimeout
        for none.
        """
        key = None if password is None else password.encode()
        if key is not None:
            request.add_message_integrity(key)
        data = bytes(request)

        def send() -> None:
            if may_send():
                self.transport.sendto(data, addr)

        now = asyncio.get_running_loop().time()
        exchange = Exchange(send, Transaction(request.transaction_id, data, schedule, now), key)
        self.exchanges[request.transaction_id] = exchange
        try:
            return await exchange.run()
        finally:
            del self.exchanges[request.transaction_id]

    def send_opener(self, addr: Address, ttl: int, data: bytes = OPENER) -> None:
        """Send one datagram that opens the way back and dies after `ttl` hops (1 to 255)."""
        if self.sock is None or self.transport.is_closing():
            return
        level, option = socket.IPPROTO_IP, socket.IP_TTL
        if self.sock.family == socket.AF_INET6:
            level, option = socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS
        with contextlib.suppress(OSError):  # no route: the checks will tell
            usual = self.sock.getsockopt(level, option)
            self.sock.setsockopt(level, option, ttl)
            try:
                self.sock.sendto(data, addr)
            finally:
                self.sock.setsockopt(level, option, usual)

    def trust(self, addr: Address) -> None:
        """Let data from `addr` through: it has passed an authenticated check. The oldest address makes way."""
        self.trusted.pop(addr, None)
        self.trusted[addr] = None
        if len(self.trusted) > TRUSTED_SIZE:
            del self.trusted[next(iter(self.trusted))]

    @property
    def datagram_size(self) -> int:
        """Bytes of UDP payload at most that are not known to be too many."""
        return self.sizes[0]

    def datagram_refused(self, size: int) -> None:
        """Note that the network takes no datagram of so many bytes."""
        self.sizes = tuple(each for each in self.sizes if each < size) or PAYLOADS[-1:]


async def open_socket(owner: SocketOwner, ip: str, ports: Sequence[int]) -> IceSocket:
    """Open a socket on `ip` and the first of `ports` that is free (0: any).

    Raises OSError with the last reason.
    """
    sock = _bound_socket(ip, ports)
    loop = asyncio.get_running_loop()
    protocol = IceSocket(owner, sock)
    if forbid_fragments(sock):
        header = HEADER_SIZES[ip_version(ip)]
        protocol.sizes = (*(mtu - header for mtu in MTUS), *protocol.sizes)
    try:
        BatchTransport(loop, sock, protocol)
    except NotImplementedError:
        await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
    return protocol


def ip_version(ip: str) -> int:
    """Return 4 or 6 for a numeric address."""
    return 6 if ":" in ip else 4


def _bound_socket(ip: str, ports: Sequence[int]) -> socket.socket:
    """Return a UDP socket bound to `ip` and the first of `ports` that is free.

    Raises OSError with the last reason.
    """
    family = socket.AF_INET6 if ip_version(ip) == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        last: OSError | None = None
        for port in ports:
            try:
                sock.bind((ip, port))
            except OSError as error:
                last = error
            else:
                return sock
        raise last or OSError("no port to bind to")
    except OSError:
        sock.close()
        raise
