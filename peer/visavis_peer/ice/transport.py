"""UDP in batches: many datagrams for one wake-up of the loop, and on Linux many for one system call.

asyncio's own datagram transport takes one datagram a turn of the loop, each into a buffer of 256 KiB of its own. This
one reads until there is nothing left, takes what the kernel has joined (UDP_GRO) and gives it what it shall split
(UDP_SEGMENT); on the wire they are ordinary datagrams. Where a loop cannot watch sockets (Windows), asyncio's is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

READ_COUNT: Final = 32
"""Reads for one wake-up at most, up to 2 MiB with joined datagrams: then timers and others have their turn."""
BUFFER_SIZE: Final = 1 << 16
"""Bytes of one read: the largest UDP payload, and the most that the kernel joins."""
SEGMENT_COUNT: Final = 50
"""Datagrams of one write: 50 of 1,200 bytes fit into the 64 KiB of a UDP payload; the kernel allows 64."""
SEND_QUEUE: Final = 256 << 10
"""Bytes that wait while the kernel takes no more; what comes on top is dropped, as a full device would."""
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
"""Of <linux/udp.h>; Python has no names for them before 3.14."""
_MTU_DISCOVER: Final = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
"""IP_MTU_DISCOVER and IPV6_MTU_DISCOVER of <linux/in.h> and <linux/in6.h>."""
_PMTUDISC_DO: Final = 2
"""Set DF, and refuse what a router of the path has said to be too large: then the link takes the relay."""
_SEGMENT_SIZE: Final = struct.Struct("=H")
_GRO_SIZE: Final = struct.Struct("=i")
_ANCILLARY_SIZE: Final = 64
_NOT_SUPPORTED: Final = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})

Address = tuple[Any, ...]


class BatchProtocol(Protocol):
    """What takes the datagrams: an asyncio.DatagramProtocol that takes several at once, too."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""

    def datagrams_received(self, datagrams: list[bytes], addr: Address) -> None:
        """Take datagrams of one source."""

    def datagram_refused(self, size: int) -> None:
        """A datagram of `size` bytes is larger than the path takes, and lost."""


def forbid_fragments(sock: socket.socket) -> bool:
    """Send datagrams whole or not at all, as QUIC must (RFC 9000 section 14); return whether that can be had: Linux."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(*_MTU_DISCOVER[sock.family], _PMTUDISC_DO)
    except OSError:
        return False
    return True


class BatchTransport(asyncio.DatagramTransport):
    """A bound UDP socket on a loop that can watch it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: BatchProtocol) -> None:
        super().__init__()
        self._loop = loop
        self._sock = sock
        self._protocol = protocol
        self._closing = False
        self._buffer = bytearray(BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._segments = hasattr(socket, "CMSG_LEN")
        """Whether the kernel splits for us, as far as is known."""
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self._waiting_size = 0
        with contextlib.suppress(OSError):
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        protocol.connection_made(self)
        # raises NotImplementedError where it cannot be done
        loop.add_reader(sock.fileno(), self._read)

    # --- asyncio.DatagramTransport ------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the socket, or its name."""
        match name:
            case "socket":
                return self._sock
            case "sockname":
                return self._sock.getsockname()
            case _:
                return default

    def is_closing(self) -> bool:
        """Whether the socket is closed, or about to be."""
        return self._closing

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send one datagram to a socket address."""
        self.send_many([bytes(data)], addr)

    def close(self) -> None:
        """Close the socket; what waits is dropped. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._waiting.clear()
        self._sock.close()
        self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Do as `close`."""
        self.close()

    # --- in batches ---------------------------------------------------------------------------------------------------

    def send_many(self, datagrams: Sequence[bytes], addr: Address) -> None:
        """Send datagrams to one address; those that the network refuses are lost, as any may be."""
        if self._closing:
            return
        start, count = 0, len(datagrams)
        while start < count:
            taken = 0 if self._waiting else self._send(datagrams[start : self._run(datagrams, start)], addr)
            if not taken:
                self._queue(datagrams[start:], addr)
                return
            start += taken

    def _run(self, datagrams: Sequence[bytes], start: int) -> int:
        """Return where a run ends that one write can take: equal sizes, the last one may be shorter."""
        size = len(datagrams[start])
        if not self._segments or not size:
            return start + 1
        limit = start + min(SEGMENT_COUNT, max(1, (BUFFER_SIZE - 64) // size))
        sizes = list(map(len, datagrams[start:limit]))
        if sizes.count(size) == len(sizes):
            return start + len(sizes)
        equal = next(index for index, each in enumerate(sizes) if each != size)
        return start + equal + (0 < sizes[equal] < size)

    def _send(self, datagrams: Sequence[bytes], addr: Address) -> int:
        """Give the kernel a run; return how many it has taken, or lost: 0 when it takes none now."""
        try:
            if len(datagrams) == 1:
                self._sock.sendto(datagrams[0], addr)
            else:
                size = _SEGMENT_SIZE.pack(len(datagrams[0]))
                self._sock.sendmsg(datagrams, [(_SOL_UDP, _UDP_SEGMENT, size)], 0, addr)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if len(datagrams) > 1 and error.errno in _NOT_SUPPORTED:
                self._segments = False
                return self._send(datagrams[:1], addr)
            if error.errno == errno.EMSGSIZE:
                self._protocol.datagram_refused(len(datagrams[0]))
        return len(datagrams)

    def _queue(self, datagrams: Sequence[bytes], addr: Address) -> None:
        if not self._waiting:
            self._loop.add_writer(self._sock.fileno(), self._write)
        for datagram in datagrams:
            if self._waiting_size + len(datagram) > SEND_QUEUE:
                return
            self._waiting.append((datagram, addr))
            self._waiting_size += len(datagram)

    def _write(self) -> None:
        while self._waiting:
            datagram, addr = self._waiting[0]
            if not self._send([datagram], addr):
                return
            self._waiting.popleft()
            self._waiting_size -= len(datagram)
        self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        """Hand over everything that has come in, a batch for each source."""
        source: Address | None = None
        batch: list[bytes] = []
        for _ in range(READ_COUNT):
            try:
                size, ancillary, _, addr = self._sock.recvmsg_into((self._buffer,), _ANCILLARY_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # an ICMP error for something that was sent
            if addr != source:
                if batch:
                    self._protocol.datagrams_received(batch, source or ())
                    if self._closing:
                        return
                source, batch = addr, []
            data = bytes(self._view[:size])
            step = _segment_size(ancillary) or size
            if step >= size:
                batch.append(data)
            else:
                batch += [data[start : start + step] for start in range(0, size, step)]
        if batch and source is not None:
            self._protocol.datagrams_received(batch, source)


def _segment_size(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the size of the datagrams that the kernel has joined, 0 if it has not."""
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            return int(_GRO_SIZE.unpack_from(data)[0])
    return 0
