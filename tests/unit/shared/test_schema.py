"""docs/schema is what the models say, and says it of every message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from scripts.lib import schema as script

from visavis_shared.messages import MessageType

ROOT: Final = Path(__file__).parents[3]
SCHEMAS: Final = ROOT / "docs" / "schema"
APIS: Final = frozenset({"openapi.json", "asyncapi.json"})
"""Those that are no JSON Schema."""


def test_the_schemas_have_not_drifted_from_the_models() -> None:
    command = [sys.executable, "-m", "scripts.lib.schema", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_message_type_has_a_schema() -> None:
    types = set()
    for path in SCHEMAS.glob("*.json"):
        if path.name in APIS:
            continue
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        types.add(document["properties"].get("type", {}).get("const"))
    assert types - {None} == set(MessageType)


def test_drift_is_found_in_every_direction_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "DIRECTORY", tmp_path)
    assert len(script.drift()) == len(script.MODELS) + len(APIS), "missing"
    assert script.main([]) == 0
    assert script.drift() == []
    (tmp_path / "join.json").write_text("{}")
    (tmp_path / "stray.json").write_text("{}")
    assert script.main(["--check"]) == 1
    assert capsys.readouterr().err.count("run scripts/schema") == 2
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    assert script.main(["--nope"]) == 2


def test_every_reference_of_the_websocket_document_leads_somewhere() -> None:
    document = json.loads((SCHEMAS / "asyncapi.json").read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"
    references = list(_references(document))
    assert len(references) > 50
    for reference in references:
        file, _, pointer = reference.partition("#")
        if file:
            assert (SCHEMAS / file).is_file(), reference
            continue
        found: Any = document
        for part in pointer.strip("/").split("/"):
            found = found[part]
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert names == {*MessageType, "datagrams"}


def test_the_websocket_document_says_who_sends_what() -> None:
    document = json.loads((SCHEMAS / "asyncapi.json").read_text(encoding="utf-8"))
    names = {
        action: {reference["$ref"].rpartition("/")[2] for reference in document["operations"][action]["messages"]}
        for action in ("receive", "send")
    }
    assert names["receive"] & names["send"] == {"offer", "answer", "candidate"}, "forwarded"
    assert "join" in names["receive"]
    assert "peer_joined" in names["send"]


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)
