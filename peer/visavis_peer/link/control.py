"""What the two ends of a link tell each other beside the application's bytes: frames of the control stream.

    frame  = length (2 bytes, of what follows) ‖ kind (1 byte) ‖ content
    HELLO    1   length of certificate (2), certificate (DER), signature      first of all, from the offerer
    CREDIT   2   stream (8), limit (8)    the receiver of `stream` takes its bytes up to `limit`, counted from its start
    DONE     3   stream (8)               the application of the receiver has read `stream` to its end

Numbers are unsigned and big-endian. Every other stream begins with the header that names its kind (kinds.py). QUIC
datagrams (RFC 9221) begin with one byte of kind.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, assert_never

from visavis_shared.errors import VisavisError

FRAME_SIZE: Final = 4096
"""Bytes of one frame at most: HELLO with a certificate of 2 KiB fits."""
DATA: Final = 0
"""Datagram of the application."""
PING: Final = 1
"""Datagram with a token of 8 bytes that is to come back as PONG."""
PONG: Final = 2
TOKEN_SIZE: Final = 8
"""Bytes of the token of PING and PONG."""

_HELLO: Final = 1
_CREDIT: Final = 2
_DONE: Final = 3
_LENGTH: Final = struct.Struct("!H")
_CREDIT_BODY: Final = struct.Struct("!BQQ")
_DONE_BODY: Final = struct.Struct("!BQ")


class BadFrame(VisavisError):
    """The peer's control stream breaks these rules."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The offerer proves itself."""

    certificate: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Credit:
    """The receiver of a stream takes its bytes up to `limit`."""

    stream_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class Done:
    """The receiver's application has read the stream to its end."""

    stream_id: int


ControlFrame = Hello | Credit | Done


def encode(frame: ControlFrame) -> bytes:
    """Return `frame` with its length before it."""
    match frame:
        case Hello(certificate, signature):
            body = bytes((_HELLO,)) + _LENGTH.pack(len(certificate)) + certificate + signature
        case Credit(stream_id, limit):
            body = _CREDIT_BODY.pack(_CREDIT, stream_id, limit)
        case Done(stream_id):
            body = _DONE_BODY.pack(_DONE, stream_id)
        case _:
            assert_never(frame)
    return _LENGTH.pack(len(body)) + body


class ControlReader:
    """Cuts the bytes of the control stream into frames; keeps at most one that is not complete."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held_size(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._rest)

    def receive(self, data: bytes) -> list[ControlFrame]:
        """Return the frames that `data` completes; unknown kinds are left out.

        Raises BadFrame.
        """
        data = self._rest + data
        frames: list[ControlFrame] = []
        offset = 0
        while len(data) - offset >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, offset)
            if not 1 <= size <= FRAME_SIZE:
                raise BadFrame(f"a control frame of {size} bytes")
            end = offset + _LENGTH.size + size
            if end > len(data):
                break
            frame = _decode(data[offset + _LENGTH.size : end])
            if frame is not None:
                frames.append(frame)
            offset = end
        self._rest = data[offset:]
        return frames


def _decode(body: bytes) -> ControlFrame | None:
    try:
        match body[0]:
            case 1:
                (size,) = _LENGTH.unpack_from(body, 1)
                start = 1 + _LENGTH.size
                return Hello(body[start : start + size], body[start + size :])
            case 2:
                return Credit(*_CREDIT_BODY.unpack(body)[1:])
            case 3:
                return Done(*_DONE_BODY.unpack(body)[1:])
            case _:
                return None
    except struct.error:
        raise BadFrame(f"a malformed control frame of kind {body[0]}") from None
