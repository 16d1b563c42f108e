"""The log: lines for people or JSON for programs, and client addresses shown, hashed, or left out.

No line has a token, a secret, a password or a payload; only the audit log names rooms.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal

from visavis_shared.outlets import STATUS, StatusHandler, lost_lines

ShowAddress = Callable[[str], str]
"""Returns what stands in the log for a client address; empty for nothing."""
TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_KEY_SIZE: Final = 32
_HASH_SIZE: Final = 4
"""Bytes: two of 10,000 clients share a hash with a probability of 1 %."""


def fields(**values: object) -> dict[str, Any]:
    """Return the `extra` of a log call: what stands in a line of JSON beside the message."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and the fields of the call."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII: no character of a client reaches a terminal or breaks a line
        return json.dumps(line, default=str)


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Write the log of this process to standard error."""
    handler = StatusHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])

    def lost(count: int) -> str:
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, lost_lines(count), None, None)
        return handler.format(record)

    STATUS.tell = lost


def show_addresses(how: Literal["plain", "hashed", "none"], key: bytes | None = None) -> ShowAddress:
    """Return what shows addresses; with the same `key` hashes can be compared, without one within this call only."""
    match how:
        case "plain":
            return str
        case "none":
            return lambda _: ""
        case "hashed":
            # what blake2b takes as a key is bounded
            secret = secrets.token_bytes(_KEY_SIZE) if key is None else hashlib.sha256(key).digest()
            return lambda address: (
                "#" + hashlib.blake2b(address.encode(), key=secret, digest_size=_HASH_SIZE).hexdigest()
            )
