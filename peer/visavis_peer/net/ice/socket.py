"""One UDP socket of an ICE agent, and STUN transactions on our own timers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from aioice import stun
from aioice.ice import Connection, StunProtocol

from visavis_peer.core.counts import DATAGRAM_SIZE as DATAGRAM_SIZE
from visavis_peer.core.probes import looks_like_probe
from visavis_peer.net.ice.transport import BatchTransport, forbid_fragments
from visavis_shared.stun import Address, NotStun, looks_like_stun, parse

CHECK_SCHEDULE: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 1.9)
"""Seconds between the transmissions of a check: a lost one costs 100 ms (aioice: 500), the sum is one round of 5 s."""
TRIGGER_INTERVAL: Final = 0.02
"""Seconds between the transmissions that incoming checks trigger, so that a flood of them is not answered in kind."""
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


class Transaction:
    """One STUN request on our own schedule; offers aioice's StunProtocol what its own transactions do."""

    def __init__(
        self,
        send: Callable[[], None],
        schedule: Sequence[float],
        integrity_key: bytes | None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_send` is asked before each transmission; one that may not be is left out."""
        self.rtt: float | None = None
        """Seconds from the last transmission to the response."""
        self._send = send
        self._may_send = may_send
        self._schedule = schedule
        self._integrity_key = integrity_key
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[tuple[stun.Message, Address]] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._tries = 0

    def response_received(self, message: stun.Message, addr: Address) -> None:
        """Take a response; one that is not signed as the request was is ignored (RFC 8489 section 9.1.4)."""
        if self._future.done():
            return
        if self._integrity_key is not None and not message.check_message_integrity(self._integrity_key):
            return
        self.rtt = self._loop.time() - self._sent_at
        if message.message_class is stun.Class.RESPONSE:
            self._future.set_result((message, addr))
        else:
            self._future.set_exception(stun.TransactionFailed(message))

    def trigger(self) -> None:
        """Send again at once, unless that was just done; the schedule goes on as it was."""
        if not self._future.done() and self._loop.time() - self._sent_at >= TRIGGER_INTERVAL:
            self._transmit()

    async def run(self) -> tuple[stun.Message, Address]:
        """Send by the schedule and return the response and its source.

        Raises stun.TransactionFailed for an error response, stun.TransactionTimeout for none.
        """
        try:
            self._next()
            return await self._future
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _transmit(self) -> None:
        if self._may_send():
            self._sent_at = self._loop.time()
            self._send()

    def _next(self) -> None:
        if self._future.done():
            return
        if self._tries >= len(self._schedule):
            self._future.set_exception(stun.TransactionTimeout())
            return
        self._transmit()
        self._timer = self._loop.call_later(self._schedule[self._tries], self._next)
        self._tries += 1


class SocketOwner(Protocol):
    """What a socket asks of the ICE agent that owns it, besides what aioice does."""

    def datagrams_received(self, datagrams: list[bytes]) -> None:
        """Take datagrams of the peer that are no STUN messages."""


class IceSocket(StunProtocol):
    """One UDP socket: the one that asks STUN servers is the one that punches and carries the data."""

    transactions: dict[bytes, Any]

    def __init__(self, session: Connection, owner: SocketOwner, sock: socket.socket | None) -> None:
        """`sock` is None where there is none of ours: on a TURN server."""
        super().__init__(session)
        self._owner = owner
        self.sock = sock
        self.take_probe: Callable[[IceSocket, bytes, Address], None] | None = None
        """Takes what has the form of a probe (core.probes), from whatever address; None: nobody does."""
        self.trusted: dict[Address, None] = {}
        """Addresses whose data is let through, the one last confirmed last."""
        self.sizes: tuple[int, ...] = (DATAGRAM_SIZE, *PAYLOADS)
        """Bytes of UDP payload that are not known to be too many, descending, one at least; where fragments may be sent
        no more are tried."""

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
            self._owner.datagrams_received(content)

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
        try:
            message = parse(data)
        except NotStun:
            return
        if message.message_class in (stun.Class.RESPONSE, stun.Class.ERROR):
            transaction = self.transactions.get(message.transaction_id)
            if transaction is not None:
                transaction.response_received(message, source)
        elif message.message_class is stun.Class.REQUEST:
            self.receiver.request_received(message, source, self)

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
        schedule: Sequence[float] = CHECK_SCHEDULE,
        on_start: Callable[[Transaction], None] | None = None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> tuple[stun.Message, Address]:
        """Run a transaction on `schedule`; `retransmissions` is aioice's parameter and is not used."""
        if integrity_key is not None:
            request.add_message_integrity(integrity_key)
        transaction = Transaction(lambda: self.send_stun(request, addr), schedule, integrity_key, may_send)
        self.transactions[request.transaction_id] = transaction
        if on_start is not None:
            on_start(transaction)
        try:
            return await transaction.run()
        finally:
            del self.transactions[request.transaction_id]

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


async def open_socket(session: Connection, owner: SocketOwner, ip: str, ports: Sequence[int]) -> IceSocket:
    """Open a socket on `ip` and the first of `ports` that is free (0: any).

    Raises OSError with the last reason.
    """
    sock = _bound_socket(ip, ports)
    loop = asyncio.get_running_loop()
    protocol = IceSocket(session, owner, sock)
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
