"""Answers that are large: written piece by piece, as fast as the client reads, and not too many at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

PIECE_SIZE: Final = 1 << 16
"""Bytes of an answer that are handed to the system at a time; smaller ones are not large."""
COUNT_LIMIT: Final = 64
"""Large answers under way."""
SOURCE_LIMIT: Final = 8
"""Of these to one address (an IPv6 /64); this host itself is not counted."""
SIZE_LIMIT: Final = 1 << 26
"""Bytes of all that are under way: 64 MiB."""


class LargeAnswers:
    """How much is under way."""

    def __init__(self, timeout: float) -> None:
        """`timeout` is how many seconds a client has to read one."""
        self.timeout = timeout
        self._sources: Counter[str] = Counter()
        self._count = 0
        self._size = 0

    def admit(self, source: str, size: int) -> bool:
        """Take one more into account, unless there are too many; `release` has to follow."""
        if self._count >= COUNT_LIMIT or (self._size + size > SIZE_LIMIT and self._count):
            return False
        if source and self._sources[source] >= SOURCE_LIMIT:
            return False
        self._sources[source] += 1
        self._count += 1
        self._size += size
        return True

    def release(self, source: str, size: int) -> None:
        """One that was admitted has ended."""
        self._count -= 1
        self._size -= size
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]


class LargeAnswer(web.StreamResponse):
    """A document of which the connection holds one piece at a time; `release` is called when it has been written."""

    def __init__(self, body: bytes, headers: dict[str, str], answers: LargeAnswers, source: str, size: int) -> None:
        """`size` is what it counts for among `answers`, which have admitted it."""
        super().__init__(status=HTTPStatus.OK, headers=headers)
        self.content_type = "application/json"
        self.content_length = len(body)
        self._left = memoryview(body)
        self._answers: LargeAnswers | None = answers
        self._counted = (source, size)
        self.is_unread = False
        """Whether the client has not read it in time; it has been cut then."""
        self._timeout = answers.timeout
        self._transport: asyncio.Transport | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """See web.StreamResponse."""
        if request.method == hdrs.METH_HEAD:
            self._left = self._left[:0]
        self._transport = request.transport
        try:
            return await super().prepare(request)
        except BaseException:
            self.release()
            raise

    async def write_eof(self, data: bytes = b"") -> None:
        """See web.StreamResponse; raises ConnectionError where the client does not read in time."""
        try:
            async with asyncio.timeout(self._timeout):
                while self._left:
                    piece, self._left = self._left[:PIECE_SIZE], self._left[PIECE_SIZE:]
                    await self.write(piece)
                await super().write_eof(data)
        except TimeoutError:
            self.is_unread = True
            if self._transport is not None:
                self._transport.abort()
            raise ConnectionAbortedError("the client does not read its answer") from None
        finally:
            self.release()

    def release(self) -> None:
        """It is over, whatever has become of it. Idempotent."""
        if self._answers is not None:
            self._answers.release(*self._counted)
            self._answers = None
