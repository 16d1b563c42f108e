"""What a stream is for: the header with which it begins names its kind, so that two uses of one link never meet.

    header = length (1 byte, 1 to 63) ‖ kind (so many of the characters a-z 0-9 . _ / -)

It goes out with the first bytes, costs no round trip, and is not counted by credit (credits.py). The length byte
is QUIC's variable-length integer in its shortest form as well (RFC 9000 section 16).
"""

from __future__ import annotations

import re
from typing import Final

from visavis_shared.errors import VisavisError

TEXT: Final = "visavis/text"
"""A text message in UTF-8, ended by the end of the stream; nothing comes back (`visavis agent`)."""
PIPE: Final = "visavis/pipe"
"""What one side of a pipe sends; nothing comes back (`visavis pipe`)."""

KIND_SIZE: Final = 63
"""Characters of a kind at most: what fits into a length of one byte, whichever way that is read."""
CODE_MAX: Final = (1 << 32) - 1
"""The greatest code of an application for the end of a stream: 32 bits, as WebTransport has them in a browser."""
NOT_OFFERED: Final = CODE_MAX + 1
"""The link's own code: this side offers no such kind."""
BAD_HEADER: Final = CODE_MAX + 2
"""The link's own code: the stream does not begin with a header, or its header did not come in time."""
ABANDONED: Final = CODE_MAX + 3
"""The link's own code: the program that served the stream has failed, or was stopped."""

_KIND: Final = re.compile(r"[a-z0-9._/-]{1,63}")


class BadHeader(VisavisError):
    """A stream of the peer does not begin with a header."""


def header(kind: str) -> bytes:
    """Return what a stream of this kind begins with.

    Raises ValueError for what cannot be a kind, TypeError for what is no text.
    """
    if _KIND.fullmatch(kind) is None:
        raise ValueError(
            f"the kind of a stream must be 1 to {KIND_SIZE} of the characters a-z 0-9 . _ / - and is {kind!r}"
        )
    return bytes((len(kind),)) + kind.encode()


class HeaderReader:
    """The beginning of one stream until its header is complete; keeps fewer bytes than that has at most."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = b""

    def receive(self, data: bytes) -> tuple[str, bytes] | None:
        """Return the kind and what follows the header, or None while that is not complete.

        Raises BadHeader.
        """
        data = self._begun + data if self._begun else data
        if not data:
            return None
        size = data[0]
        if not 1 <= size <= KIND_SIZE:
            raise BadHeader
        if len(data) <= size:
            self._begun = data
            return None
        kind = data[1 : 1 + size].decode("latin-1")
        if _KIND.fullmatch(kind) is None:
            raise BadHeader
        return kind, data[1 + size :]
