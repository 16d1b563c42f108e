"""scripts.lib.untested: which modules have no test module of their own."""

from __future__ import annotations

from pathlib import Path

from scripts.lib.untested import untested


def test_what_does_something_and_has_no_test_at_the_same_place_is_named(tmp_path: Path) -> None:
    package, tests = tmp_path / "package", tmp_path / "tests"
    for place, text in {
        "core/tested.py": "def act(): ...",
        "core/untested.py": "class Thing:\n    def act(self): ...",
        "core/moved.py": "async def act(): ...",
        "core/constants.py": "A = 1\ndef _inner(): ...",
        "core/__init__.py": "",
    }.items():
        module = package / place
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(text, encoding="utf-8")
    (tests / "core").mkdir(parents=True)
    (tests / "core" / "test_tested.py").touch()
    (tests / "test_moved.py").touch()
    assert untested(package, tests) == ["core/moved.py", "core/untested.py"]
