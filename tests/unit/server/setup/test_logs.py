"""setup.logs: one line each, and nothing of a client's that breaks it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from visavis_server.setup.logs import JsonFormatter, fields, show_addresses


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("visavis_server.x", logging.WARNING, "x.py", 1, message, arguments, None)
    vars(made).update(fields(**extra))
    return made


def test_a_line_of_json_has_time_level_logger_message_and_fields() -> None:
    made = record("%s connected", "p1", event="connected", peer_id="p1", count=3)
    made.created = 1_800_000_000.5
    line = JsonFormatter().format(made)
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.500+00:00",
        "level": "warning",
        "logger": "visavis_server.x",
        "message": "p1 connected",
        "event": "connected",
        "peer_id": "p1",
        "count": 3,
    }


def test_no_text_of_a_client_breaks_a_line_or_reaches_a_terminal() -> None:
    line = JsonFormatter().format(record("%s", "a\nb\x1b[2J\u2028é\ud800", path=Path("/x")))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == "a\nb\x1b[2J\u2028é\ud800"


def test_a_traceback_is_one_member() -> None:
    made = record("failed")
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ZeroDivisionError: why")


def test_hashes_are_compared_by_who_has_the_key_only() -> None:
    one, same, other = show_addresses("hashed", b"k"), show_addresses("hashed", b"k"), show_addresses("hashed", b"l")
    assert one("192.0.2.1") == same("192.0.2.1") != one("192.0.2.2")
    assert one("192.0.2.1") != other("192.0.2.1")
    assert show_addresses("hashed")("192.0.2.1") != show_addresses("hashed")("192.0.2.1")
    assert show_addresses("plain")("192.0.2.1") == "192.0.2.1"
    assert show_addresses("none")("192.0.2.1") == ""
