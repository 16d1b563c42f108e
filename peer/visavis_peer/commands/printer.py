"""Where the commands print: one JSON object per line, or sentences for a person."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

from visavis_peer.errors import OutputClosed, OutputFailed
from visavis_shared.outlets import STATUS, encoded, lost_lines, outlet_of

if TYPE_CHECKING:
    from visavis_peer.commands.lines import Line
    from visavis_peer.events import Event

SCHEMA_VERSION: Final = 1
"""The `v` of every JSON line: raised when a member changes its meaning."""


class Printer:
    """Prints to `stream`, each line at once where that takes it, for there may be a reader at the other end of a pipe.

    It does not wait for that reader (visavis_shared.outlets). Standard output is what somebody wants to have; anything
    else is dispensable: what cannot be printed there is not.
    """

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stream = stream or sys.stdout
        self._outlet = outlet_of(self._stream)
        if self._outlet is not None and self._outlet is not STATUS:
            self._outlet.tell = self._lost

    def event(self, event: Event) -> None:
        """Print an event of the agent."""
        from visavis_peer.commands import output  # its library of types is large, and who has an event has it already

        if self.as_json:
            self.json(output.NAMES[type(event)], **output.members(event))
        else:
            self.line(output.sentence(event))

    def record(self, line: Line, **more: object) -> None:
        """Print a line of JSON that is no event of the agent; `more` are members besides its own."""
        self.line(self._recorded(line, **more))

    def json(self, event: str, **members: object) -> None:
        """Print one JSON line; characters beyond ASCII are escaped."""
        self.line(self._json(event, **members))

    def _recorded(self, line: Line, **more: object) -> str:
        from visavis_peer.commands.lines import LINE_NAMES  # whoever has a line has it already

        return self._json(LINE_NAMES[type(line)], **line._asdict(), **more)

    def _json(self, event: str, **members: object) -> str:
        record = {"v": SCHEMA_VERSION, "ts": round(time.time(), 6), "event": event, **members}
        return json.dumps(record, separators=(",", ":"))

    def line(self, text: str) -> None:
        """Print one line, characters that the stream cannot encode escaped.

        Raises OutputClosed when standard output's reader has gone, OutputFailed when it takes no more.
        """
        try:
            if self._outlet is None:
                self._stream.write(f"{text}\n")
            else:
                self._outlet.write(encoded(self._stream, f"{text}\n"))
        except OSError as error:
            raise output_error(error) from None

    def flush(self) -> None:
        """Write what is taken now of what waits; only for what is dispensable, which raises nothing."""
        if self._outlet is not None:
            self._outlet.flush()

    def _lost(self, count: int) -> str:
        from visavis_peer.commands.lines import LinesLost  # where it comes to that

        return self._recorded(LinesLost(count)) if self.as_json else lost_lines(count)


def output_error(error: OSError) -> OutputFailed:
    """Return what an error of standard output means for a command."""
    return OutputClosed() if isinstance(error, BrokenPipeError) else OutputFailed(error)
