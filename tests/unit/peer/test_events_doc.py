"""docs/events.md is what the code prints."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from scripts.lib import events as script

import visavis_peer
from tests.unit.peer.commands.test_output import SENTENCES
from visavis_peer.commands.lines import LINE_NAMES, Line
from visavis_peer.commands.output import NAMES
from visavis_peer.commands.printer import Printer
from visavis_peer.events import Event, PathInfo

ROOT: Final = Path(__file__).parents[3]


def test_the_document_has_not_drifted_from_the_code() -> None:
    command = [sys.executable, "-m", "scripts.lib.events", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_drift_is_found_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "PATH", tmp_path / "events.md")
    assert script.main(["--check"]) == 1, "missing"
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    (tmp_path / "events.md").write_text(script.document().replace("elapsed_ms", "elapsed", 1))
    assert script.main(["--check"]) == 1
    assert script.main(["--mend"]) == 2
    assert capsys.readouterr().err.count("run scripts/events") == 2


def test_every_event_and_every_line_has_a_name_and_every_event_is_exported() -> None:
    assert set(NAMES) == set(get_args(Event))
    assert set(LINE_NAMES) == set(get_args(Line))
    assert {each.__name__ for each in get_args(Event)} <= set(visavis_peer.__all__)


def documented(title: str) -> list[str]:
    """Return the members that the document lists below a title, those of a path as such."""
    section = script.document().partition(f"\n### {title}\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def printed(print_line: Any) -> list[str]:
    stream = io.StringIO()
    print_line(Printer(as_json=True, stream=stream))
    return list(json.loads(stream.getvalue()))


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
def test_an_event_is_printed_with_the_members_that_the_document_lists(kind: type) -> None:
    event = next(each for each, _ in SENTENCES if type(each) is kind)
    wanted = ["v", "ts", "event", *documented(f"`{NAMES[type(event)]}` (`{kind.__name__}`)")]
    assert printed(lambda printer: printer.event(event)) == wanted
    assert len(wanted) > 3


@pytest.mark.parametrize("kind", LINE_NAMES, ids=lambda each: str(each.__name__))
def test_a_line_is_printed_with_the_members_that_the_document_lists(kind: Any) -> None:
    found = printed(lambda printer: printer.record(kind(*[0] * len(kind._fields))))
    sections = re.split(r"\n##+ ", script.document())
    prose = " ".join((kind.__doc__ or "").split())
    (section,) = [each for each in sections if f"` {prose} | member |" in " ".join(each.split())]
    assert section.startswith(f"`{LINE_NAMES[kind]}`\n")
    assert found == ["v", "ts", "event", *re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)]


def test_the_members_of_a_path_are_listed_once() -> None:
    section = script.document().partition("\n## The path of a link\n")[2].partition("\n##")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(PathInfo.__slots__)
