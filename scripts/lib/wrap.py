"""Break the lines of documents that are longer than 120 characters, or name them (`--check`).

Only what is too long is touched: the paragraph or the item of a list around it. Tables, headings and blocks of code
stay as they are, and so does what has no space to be broken at, such as an address.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
WIDTH: Final = 120
"""Characters, as in code."""
SPAN_LENGTH: Final = 60
"""Characters up to which code within text is not broken."""
_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d+\.) +")
_SPAN: Final = re.compile(r"`[^`]+`")
_FENCE: Final = "```"
_MARKUP: Final = re.compile(r" (?=(?:[-*+]|\d+\.)(?: |$)|[#|<]|```)")
"""A space before what is no text at the beginning of a line."""
_WHOLE: Final = ("|", "#", "<")
"""How lines begin that are no text to be filled: of tables, headings and HTML."""
_KEPT: Final = "\0"
"""Stands for a space at which nothing is broken."""


def documents() -> list[Path]:
    """Return the documents that people read."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Yield the lines of a document, those of a paragraph or an item together; with each whether it is one."""
    paragraph: list[str] = []
    fenced = False
    for line in text.split("\n"):
        start = line.lstrip()
        fence = start.startswith(_FENCE)
        apart = fenced or fence or not start or start.startswith(_WHOLE)
        fenced ^= fence
        if paragraph and (apart or _ITEM.match(line)):
            yield True, paragraph
            paragraph = []
        if apart:
            yield False, [line]
        else:
            paragraph.append(line)
    if paragraph:
        yield True, paragraph


def fill(paragraph: list[str]) -> list[str]:
    """Return a paragraph in lines of at most WIDTH characters, as it is where it has no longer ones."""
    if all(len(line) <= WIDTH for line in paragraph):
        return paragraph
    item = _ITEM.match(paragraph[0])
    first = item[0] if item else paragraph[0][: len(paragraph[0]) - len(paragraph[0].lstrip())]
    text = " ".join([paragraph[0][len(first) :].strip(), *(line.strip() for line in paragraph[1:])])
    text = _SPAN.sub(lambda span: span[0].replace(" ", _KEPT) if len(span[0]) <= SPAN_LENGTH else span[0], text)
    lines = textwrap.wrap(
        _MARKUP.sub(_KEPT, text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_KEPT, " ") for line in lines]


def wrapped(text: str) -> str:
    """Return a document whose lines are short enough."""
    return "\n".join(line for filled, lines in blocks(text) for line in (fill(lines) if filled else lines))


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 when a check finds lines that are too long."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/wrap [--check]", file=sys.stderr)
        return 2
    found = 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        better = wrapped(text)
        if better != text and not arguments:
            path.write_text(better, encoding="utf-8")
        elif better != text:
            found = 1
            print(
                f"{path.relative_to(ROOT)} has lines of more than {WIDTH} characters: run scripts/wrap", file=sys.stderr
            )
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
