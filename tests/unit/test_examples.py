"""Programs in docstrings and documents: each is one that Python reads; those of docs/library.md are run."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
MODULES: Final = sorted(
    path for side in ("peer", "server", "shared") for path in PROJECT.glob(f"{side}/visavis_*/**/*.py")
)
STATEMENT: Final = re.compile(r" *(from [\w.]+ import|import \w|(async )?(with|for|def) .*:$|await |\w+ = await |>>> )")
"""What a line of prose does not look like."""


def examples(text: str) -> list[str]:
    """Return each paragraph of a docstring that is a program."""
    return [
        textwrap.dedent(paragraph)
        for paragraph in text.split("\n\n")
        if any(map(STATEMENT.match, paragraph.splitlines()))
    ]


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def read(program: str) -> None:
    """Compile a program whose top level may await."""
    compile(program, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_program_in_a_docstring_is_one() -> None:
    found = [(path.name, program) for path in MODULES for text in docstrings(path) for program in examples(text)]
    assert "agent.py" in [name for name, _ in found]
    for _, program in found:
        read(program)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_program_in_a_document_is_one(path: Path) -> None:
    for program in re.findall(r"```(?:python|py)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        read(program)


def test_a_program_that_has_lost_its_indentation_is_found() -> None:
    text = (
        "The agent.\n\n    async with Agent() as agent:\n    async for link in agent.links():\n    print(link)\n\nMore."
    )
    (program,) = examples(text)
    with pytest.raises(IndentationError):
        read(program)
