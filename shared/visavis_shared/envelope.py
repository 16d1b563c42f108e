"""The envelope of a message, read without touching its payload.

The server routes by the envelope alone: OFFER, ANSWER and CANDIDATE payloads are checked for being JSON objects and
forwarded byte for byte. The parser is msgspec's because it leaves a member as raw bytes after checking its syntax;
what it does not check (UTF-8 in skipped text, integer range, nesting) is checked here.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, ClassVar, Final

import msgspec

from visavis_shared import limits
from visavis_shared.closing import CloseCode
from visavis_shared.errors import ErrorCode, RemoteProtocolError
from visavis_shared.messages import MessageType

_Timestamp = Annotated[int, msgspec.Meta(ge=-limits.TIMESTAMP_MAX - 1, le=limits.TIMESTAMP_MAX)]


class Envelope(msgspec.Struct, gc=False):
    """The members of a client's message that the server reads; absent and empty are the same."""

    type: str | None = None
    target_id: str | None = None
    room_id: str | None = None
    payload: msgspec.Raw = msgspec.Raw()
    """JSON text of the payload; empty when absent."""
    request_id: Annotated[str, msgspec.Meta(max_length=limits.REQUEST_ID_LENGTH)] | None = None
    peer_id: str | None = None
    timestamp: _Timestamp | None = None

    @property
    def payload_bytes(self) -> bytes:
        """The payload as JSON text, empty when absent."""
        return bytes(self.payload)


class _OnlyRequestId(msgspec.Struct, gc=False):
    request_id: msgspec.Raw = msgspec.Raw()


_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_REQUEST_ID: Final = msgspec.json.Decoder(_OnlyRequestId)
_KNOWN_TYPES: Final = frozenset(MessageType)
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEPS: Final = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
"""What each bracket does to the depth, as signed bytes."""
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{[}]"))


class NotUtf8(RemoteProtocolError):
    """A text frame that is not UTF-8: RFC 6455 section 8.1 wants its sender's connection failed."""

    close_code: ClassVar = CloseCode.INVALID_DATA


def decode_envelope(data: bytes) -> Envelope:
    """Read the envelope of one message (UTF-8 JSON text).

    Raises NotUtf8, or RemoteProtocolError (INVALID_MESSAGE) whose message is `invalid JSON` for bad syntax and for a
    member of the wrong type (named in `details`), and `unknown message type: …` where there is no known `type`.
    """
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise NotUtf8(ErrorCode.INVALID_MESSAGE, "invalid UTF-8", f"byte {error.start}") from None
    if data.strip() == b"null":
        raise _unknown_type("")
    try:
        envelope = _ENVELOPE.decode(data)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        field = path.removesuffix("`") or "message"
        raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "invalid JSON", f"{field}: {reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "invalid JSON", reason) from None
    if envelope.type not in _KNOWN_TYPES:
        raise _unknown_type(envelope.type or "")
    return envelope


def request_id_of(data: bytes) -> str | None:
    """Return the request_id of a message that `decode_envelope` refused, if it can still be read."""
    try:
        raw = bytes(_REQUEST_ID.decode(data).request_id)
        value = msgspec.json.decode(raw, type=str) if raw else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return value if value is not None and len(value) <= limits.REQUEST_ID_LENGTH else None


def check_opaque_payload(payload: bytes) -> None:
    """Check that a payload which is about to be forwarded unread is a JSON object nested at most 64 levels deep.

    `payload` is JSON text whose syntax `decode_envelope` has checked.

    Raises RemoteProtocolError (INVALID_MESSAGE).
    """
    if not payload.startswith(b"{"):
        reason = "required" if not payload else "must be an object"
        raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "payload is required", f"payload: {reason}")
    if _opens_often(payload) and _depth(payload) > limits.NESTING_DEPTH:
        raise RemoteProtocolError(ErrorCode.INVALID_MESSAGE, "invalid JSON", "payload: nested too deeply")


def _opens_often(text: bytes) -> bool:
    """Whether more brackets open than may be nested, those inside strings included: cheap, and nearly always False."""
    count = 0
    for bracket in (b"{", b"["):
        position = text.find(bracket)
        while position >= 0:
            count += 1
            if count > limits.NESTING_DEPTH:
                return True
            position = text.find(bracket, position + 1)
    return False


def _depth(text: bytes) -> int:
    """Return how deeply valid JSON text that is a container is nested."""
    steps = _STRING.sub(b"", text).translate(_STEPS, _NO_BRACKETS)
    return max(itertools.accumulate(memoryview(steps).cast("b")))


def _unknown_type(name: str) -> RemoteProtocolError:
    shown = name[:64]  # enough to recognise it; the sender's text is echoed JSON-escaped
    return RemoteProtocolError(ErrorCode.INVALID_MESSAGE, f"unknown message type: {shown}", "type")


def encode_text(text: str) -> bytes:
    """Return `text` as a JSON string, quotes included."""
    return msgspec.json.encode(text)
