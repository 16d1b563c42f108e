"""Where the commands print: one JSON object per line, or sentences for a person."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

from visavis_peer.errors import OutputClosed, OutputFailed
from visavis_shared.descriptors import print_status, write_text

if TYPE_CHECKING:
    from visavis_peer.core.events import Event

SCHEMA_VERSION: Final = 1
"""The `v` of every JSON line: raised when a member changes its meaning."""


class Printer:
    """Prints to `stream`, each line at once, for there may be a reader at the other end of a pipe.

    Standard output is what somebody wants to have; anything else is dispensable: what cannot be printed there is not.
    """

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stream = stream or sys.stdout

    def event(self, event: Event) -> None:
        """Print an event of the agent."""
        from visavis_peer import output  # its library of types is large, and who has an event has it already

        if self.as_json:
            self.json(output.NAMES[type(event)], **output.members(event))
        else:
            self.line(output.sentence(event))

    def json(self, event: str, **members: object) -> None:
        """Print one JSON line; characters beyond ASCII are escaped."""
        record = {"v": SCHEMA_VERSION, "ts": round(time.time(), 6), "event": event, **members}
        self.line(json.dumps(record, separators=(",", ":")))

    def line(self, text: str) -> None:
        """Print one line, characters that the stream cannot encode escaped.

        Raises OutputClosed when standard output's reader has gone, OutputFailed when it takes no more.
        """
        try:
            write_text(self._stream, f"{text}\n", dispensable=self._stream is not sys.stdout)
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise OutputFailed(error) from None


class StatusHandler(logging.Handler):
    """Logs to standard error, if that takes it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            print_status(self.format(record))
        except Exception:  # noqa: BLE001 -- a faulty record is no reason to end
            self.handleError(record)
