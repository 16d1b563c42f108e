"""What the documents name is there: files, and the calls of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED_FILE: Final = re.compile(r"(?:server|peer|shared|tests|scripts|docs|deploy)/[\w./-]*\w")
CALL: Final = re.compile(r"`(\w+)\.(\w+)`")
LINK: Final = re.compile(r"\]\((?!https?:)([\w./-]+)?(?:#([\w.…-]+))?\)")


def named_files(text: str) -> set[str]:
    """Return the files that a text names in backticks: the first word of each; NAME stands for any."""
    quoted = re.findall(r"`([^`\n]+)`", text)
    found = {match.group() for each in quoted if (match := NAMED_FILE.match(each))}
    return {each for each in found if "NAME" not in each}


def methods() -> Iterator[tuple[str, str]]:
    """Yield every class of the three packages with each of its methods."""
    for path in (path for folder in ("server", "peer", "shared") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield from ((node.name, each.name) for each in node.body if isinstance(each, ast.FunctionDef))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(path: Path) -> None:
    named = named_files(path.read_text(encoding="utf-8"))
    assert {each for each in named if not (ROOT / each).exists()} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_documents_and_headings_that_are_there(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        other = path.parent / target if target else path
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), f"{target}#{anchor}"


def test_the_calls_of_the_walks_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Two walks")[2]
    called = {
        (kind, name) for kind, name in CALL.findall(text.partition("## Rules")[0]) if kind.lstrip("_")[0].isupper()
    }
    assert len(called) > 15
    assert called - set(methods()) == set()
