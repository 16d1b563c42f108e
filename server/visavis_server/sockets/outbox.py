"""One connection's bounded way out: frames collected within a turn of the loop, written at its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

OUTBOX_SIZE: Final = 1 << 20
"""Bytes that may wait for a client before the next message closes it: a member list of 5,000 fits, and so do the
answers to the most messages that one read can bring (256 KiB of KEEP_ALIVE: 0.7 MiB). A client that is merely on a
slow line has a second's worth of 8 Mbit/s here."""
OUTBOX_COUNT: Final = 16_384
"""Messages that may wait, for small ones cost more memory than their bytes: about 1 MiB of bookkeeping."""
FLUSH_SIZE: Final = 65 << 10
"""Bytes collected in one turn of the loop after which the kernel is offered them at once: only what it does not take
counts as unread. More than a relay connection begins with (64 KiB in 16 frames), which must not go out before the
answer to the upgrade where aiohttp writes that."""
WHOLE_SIZE: Final = 16 << 10
"""Bytes up to which what has been collected is copied into one piece: the kernel takes pieces, each at a cost."""
CLOSE_TIMEOUT: Final = 0.5
"""Seconds that a client has to answer a close frame. Short, so that a shutdown is done within two; whoever is slower
gets the frame all the same, for the kernel delivers what was written before the connection was cut."""


class Outbox:
    """The frames on their way to one client, and the end of its connection."""

    __slots__ = (
        "_count",
        "_deadline",
        "_loop",
        "_pending",
        "_pending_size",
        "deaf",
        "dirty",
        "gone",
        "ignored",
        "left",
        "open",
        "peer_id",
        "transport",
    )

    def __init__(self, peer_id: str, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.peer_id = peer_id
        self.transport = transport
        self.open = True
        """Whether messages still pass; false from the close frame on."""
        self.ignored = False
        """Whether nothing more is read of the client."""
        self.left = False
        """Whether the client has closed the connection itself and will not be back."""
        self.deaf = False
        """Whether the client has been given up because it does not read what it is sent."""
        self.dirty = False
        """Whether somebody will flush this outbox at the end of the turn."""
        self.gone = asyncio.Event()
        """Set when the connection has ended."""
        self._loop = loop
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._count = 0
        """Frames handed to the transport since it was last seen empty."""
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def unread(self) -> int:
        """Bytes that wait for the client, those outside the kernel."""
        return self.transport.get_write_buffer_size() + self._pending_size

    def put(self, frame: bytes) -> bool:
        """Take one frame; returns False, having taken nothing, when the bound is reached.

        A single message may be larger than the bound: it must find the outbox below it, not fit into it.
        """
        if self._count and self._is_full():
            return False
        self._pending.append(frame)
        self._pending_size += len(frame)
        if self._pending_size > FLUSH_SIZE:
            self.flush()
        return True

    def flush(self) -> None:
        """Write what has been collected; drop it where the connection is ending without anybody having noticed."""
        pending = self._pending
        if not pending:
            return
        # uvloop's transports raise once they are closed
        if not self.transport.is_closing():
            self._count += len(pending)
            if len(pending) == 1:
                self.transport.write(pending[0])
            elif self._pending_size < WHOLE_SIZE:
                self.transport.write(b"".join(pending))
            else:
                self.transport.writelines(pending)
        pending.clear()
        self._pending_size = 0
        if not self.transport.get_write_buffer_size():
            self._count = 0

    def retire(self, close_frame: bytes) -> None:
        """Send a close frame as the last one; the client has CLOSE_TIMEOUT to answer it."""
        self.open = False
        self._pending.append(close_frame)
        self.flush()
        self._deadline = self._loop.call_later(CLOSE_TIMEOUT, self.transport.abort)

    def hang_up(self) -> None:
        """End the sending side behind the close frame: for a client that broke the protocol and is not listened to."""
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def ignore(self) -> None:
        """Read nothing more of a client that floods, not even its close frame: the deadline ends it."""
        self.ignored = True
        self.pause_reading()

    def pause_reading(self) -> None:
        """Read nothing of the client for a while. Idempotent."""
        with contextlib.suppress(RuntimeError):  # it is closing already
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless the client is ignored. Idempotent."""
        if not self.ignored:
            with contextlib.suppress(RuntimeError):
                self.transport.resume_reading()

    def finish(self) -> None:
        """Close the connection once everything is written, or at the deadline that `retire` has set."""
        self.transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def on_lost(self) -> None:
        """Note that the connection has ended. Idempotent."""
        self.open = False
        self._pending.clear()
        self.gone.set()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_full(self) -> bool:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._count = 0
            return False
        return unread + self._pending_size >= OUTBOX_SIZE or self._count + len(self._pending) >= OUTBOX_COUNT
