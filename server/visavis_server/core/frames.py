"""The frames of a WebSocket server (RFC 6455 section 5), without I/O: bytes to messages and messages to bytes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from visavis_shared.closing import CloseCode

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
"""Opcodes (section 5.2)."""

Payload = bytes | bytearray
LARGE: Final = 8 << 10
"""Bytes of a payload that is worth the trouble of not copying it."""
EMPTY_COUNT: Final = 64
"""Empty fragments of a message: who streams sends none, and they are all that a message's size does not bound."""
CONTROL_SIZE: Final = 125
"""Bytes of a control frame's payload at most (section 5.5)."""

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08
"""Bit of the opcodes of control frames."""
_MASKED: Final = 0x80
_MASK_SIZE: Final = 4
_SHORTEST: Final = 2
"""Bytes of a header without extended length and mask."""
_MEDIUM: Final = struct.Struct("!BBH")
_LARGE: Final = struct.Struct("!BBQ")
_WHOLE: Final = frozenset({_FIN | TEXT, _FIN | BINARY})
"""First bytes of a message in one frame."""
_ALLOWED: Final = _WHOLE | {TEXT, BINARY, CONTINUATION, _FIN, _FIN | CLOSE, _FIN | PING, _FIN | PONG}
"""First bytes that a client may send: control frames are never fragmented (section 5.5)."""
_UNASSIGNED_CODES: Final = frozenset({1004, 1005, 1006, 1015})
"""Close codes below 1016 that must not stand in a frame (section 7.4.1)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a client's connection has to be closed."""

    code: int
    reason: str


class FrameReader:
    """Reads what one client sends."""

    __slots__ = (
        "_empty",
        "_missing",
        "_opcode",
        "_partial",
        "_size_limit",
        "_tail",
        "_unmask",
        "has_more",
        "violation",
    )

    def __init__(self, size_limit: int, unmask: Callable[[bytes, bytearray], None]) -> None:
        """`size_limit` bounds a message in bytes; `unmask` XORs a payload in place with a 4-byte mask (section 5.3)."""
        self._size_limit = size_limit
        self._unmask = unmask
        self._tail = b""
        """The beginning of a frame, shorter than the limit and a header; while `has_more` also frames before it."""
        self._missing = 0
        """How many bytes of the frame that the tail begins are not here yet; 0 while that is not known."""
        self.has_more = False
        """Whether `receive` has stopped at `most` frames and may find more in what it has."""
        self._opcode = CONTINUATION
        """Of the message whose fragments are coming in; CONTINUATION while there is none."""
        self._partial = bytearray()
        """Its payload so far, at most `size_limit`."""
        self._empty = 0
        """Its fragments without payload, the last one aside."""
        self.violation: Violation | None = None
        """Set once the client has broken the protocol; whatever follows is ignored."""

    def receive(self, data: bytes, most: int = sys.maxsize) -> list[tuple[int, Payload]]:
        """Take what the network brought and return the complete messages in its first `most` frames: (opcode, payload).

        Look at `violation` afterwards: messages before the offence are still returned. While `has_more`, call this
        again, with nothing. The opcode is TEXT, BINARY, CLOSE, PING or PONG; nobody has looked at a text's encoding. A
        payload that can be changed is the caller's own: a large one of BINARY.
        """
        messages: list[tuple[int, Payload]] = []
        self.has_more = False
        if self.violation is not None:  # whatever follows an offence is no frame that one could trust
            return messages
        position = 0
        if self._tail:
            if 0 < self._missing < len(data):
                # that frame alone: what follows is not copied for its sake
                position = self._missing
                messages = self.receive(data[:position], 1)
                most -= 1
                if self.violation is not None:
                    return messages
            else:  # it is not known yet how long that frame is, or it is still not whole
                data = self._tail + data
        end = len(data)
        self._missing = 0
        while end - position >= _SHORTEST:
            if not most:  # others wait for their turn
                self.has_more = True
                break
            most -= 1
            first = data[position]
            start, stop = self._locate(data, position, end)
            # not whole yet: how much is missing is known once the header is here, and saves copies then
            if stop > end or self.violation is not None:
                self._missing = stop - end if start <= end else 0
                break
            payload = bytearray(data[start:stop] if stop - start < LARGE else memoryview(data)[start:stop])
            self._unmask(data[start - _MASK_SIZE : start], payload)
            position = stop
            # nearly every message is one frame; a large binary one is handed over without a copy
            if first in _WHOLE and self._opcode == CONTINUATION:
                as_it_is = first & _OPCODE == BINARY and stop - start >= LARGE
                messages.append((first & _OPCODE, payload if as_it_is else bytes(payload)))
            else:
                self._on_other(first, payload, messages)
                if self.violation is not None:
                    break
        self._tail = data[position:]
        return messages

    def _locate(self, data: bytes, position: int, end: int) -> tuple[int, int]:
        """Return where the payload of the frame at `position` begins and ends; beyond `end` when that is not here yet.

        Sets `violation` when the header breaks a rule.
        """
        first, size = data[position], data[position + 1] - _MASKED
        start = position + 2 + _MASK_SIZE
        if first not in _ALLOWED or size < 0:
            self.violation = _describe_header(first)
        elif size <= CONTROL_SIZE:
            pass
        elif first & _CONTROL:
            self.violation = Violation(CloseCode.PROTOCOL_ERROR, "control frame too long")
        else:
            width = 2 if size == 126 else 8
            start += width
            if end < start - _MASK_SIZE:
                return start, end + 1
            size = int.from_bytes(data[position + 2 : position + 2 + width])
        # before the payload is here, so that nobody is made to buffer it
        if size + len(self._partial) > self._size_limit and not first & _CONTROL:
            self.violation = self.violation or Violation(
                CloseCode.TOO_BIG, f"message larger than {self._size_limit} bytes"
            )
        return start, start + size

    def _on_other(self, first: int, payload: bytearray, messages: list[tuple[int, Payload]]) -> None:
        """Handle a control frame or a fragment."""
        opcode, final = first & _OPCODE, first & _FIN
        if opcode & _CONTROL:
            if opcode == CLOSE:
                self.violation = _check_close(payload)
            if self.violation is None:
                messages.append((opcode, bytes(payload)))
        elif (opcode == CONTINUATION) != (self._opcode != CONTINUATION):
            self.violation = Violation(CloseCode.PROTOCOL_ERROR, "continuation of nothing, or a message inside another")
        else:
            self._opcode = self._opcode or opcode
            self._partial += payload
            if final:
                messages.append((self._opcode, bytes(self._partial)))
                self._opcode = CONTINUATION
                self._partial.clear()
                self._empty = 0
            elif not payload:
                self._empty += 1
                if self._empty > EMPTY_COUNT:
                    self.violation = Violation(
                        CloseCode.POLICY_VIOLATION, f"more than {EMPTY_COUNT} empty fragments in a message"
                    )


def close_code(payload: Payload) -> int | None:
    """Return the code in the payload of a close frame that FrameReader let through, None where there is none."""
    return int.from_bytes(payload[:2]) if payload else None


def frame(opcode: int, payload: Payload) -> bytes:
    """Return one frame as a server sends it: final, unmasked."""
    size = len(payload)
    if size <= CONTROL_SIZE:
        return bytes((_FIN | opcode, size)) + payload
    if size < 1 << 16:
        return _MEDIUM.pack(_FIN | opcode, 126, size) + payload
    return _LARGE.pack(_FIN | opcode, 127, size) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a close frame, an empty one without a code; a reason too long for it is cut."""
    if code is None:
        return frame(CLOSE, b"")
    text = reason.encode()[: CONTROL_SIZE - 2].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2) + text)


def _describe_header(first: int) -> Violation:
    """Say what is wrong with a frame that begins with `first`, or that its mask is missing."""
    opcode = first & _OPCODE
    if first & _RESERVED:
        reason = "reserved bits set"
    elif _FIN | opcode not in _ALLOWED:
        reason = f"unknown opcode {opcode}"
    elif first not in _ALLOWED:
        reason = "fragmented control frame"
    else:
        reason = "frame not masked"
    return Violation(CloseCode.PROTOCOL_ERROR, reason)


def _check_close(payload: bytearray) -> Violation | None:
    """Check the payload of a close frame (sections 5.5.1 and 7.4)."""
    if not payload:
        return None
    code = int.from_bytes(payload[:2])
    assigned = 1000 <= code <= 1014 and code not in _UNASSIGNED_CODES
    if len(payload) == 1 or not (assigned or 3000 <= code <= 4999):
        return Violation(CloseCode.PROTOCOL_ERROR, "invalid close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return Violation(CloseCode.INVALID_DATA, "close reason is not UTF-8")
    return None
