"""docs/schema is what the models say, and says it of every message."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from visavis_shared.messages import MessageType

ROOT: Final = Path(__file__).parents[3]
SCRIPT: Final = ROOT / "scripts" / "lib" / "schema.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("schema_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schemas_have_not_drifted_from_the_models() -> None:
    checked = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_message_type_has_a_schema() -> None:
    types = set()
    for path in (ROOT / "docs" / "schema").glob("*.json"):
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        types.add(document["properties"].get("type", {}).get("const"))
    assert types - {None} == set(MessageType)


def test_drift_is_found_in_every_direction_and_mended(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "DIRECTORY", tmp_path)
    assert len(script.drift()) == len(script.MODELS), "missing"
    assert script.main([]) == 0
    assert script.drift() == []
    (tmp_path / "join.json").write_text("{}")
    (tmp_path / "stray.json").write_text("{}")
    assert script.main(["--check"]) == 1
    assert capsys.readouterr().err.count("run scripts/schema") == 2
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    assert script.main(["--nope"]) == 2
