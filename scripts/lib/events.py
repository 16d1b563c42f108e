"""Write docs/events.md or check it for drift (`--check`)."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from scripts.lib.wrap import wrapped

from visavis_peer import errors, events
from visavis_peer.commands import lines
from visavis_peer.commands.lines import LINE_NAMES
from visavis_peer.commands.output import NAMES
from visavis_peer.commands.printer import SCHEMA_VERSION
from visavis_peer.errors import AgentError
from visavis_shared.nat import NatReport

PATH: Final = Path(__file__).parent.parent.parent / "docs" / "events.md"
HEAD: Final = f"""# Events

Made by `scripts/events` from `visavis_peer.events`, `visavis_peer.commands.lines` and `visavis_peer.errors`.

`--json` prints one JSON object per line, `visavis pipe --events FILE` appends them to a file. Each has `v`
({SCHEMA_VERSION}, raised when a member changes its meaning), `ts` (seconds since the epoch) and `event`. There may be
more members and more events one day: skip what you do not know. What peers and servers say stands here as they have
said it: escape it before a person sees it.

## What happens to an agent

A program in Python gets the same from `Agent.events()`, as objects of the types in parentheses
([library.md](library.md)).
"""
PATHS: Final = """
## The path of a link

`link_up`, `path` and `link_resumed` have these members (objects have them in a `PathInfo`).

| member | what it is | |
|---|---|---|
"""
COMMANDS: Final = """
## What commands print besides
"""
FAILURES: Final = """
## Names of failures

What `error` has for a name, in the event and in the last line; with the exit code where a command can end by it.

| name | exit code | what it says |
|---|---|---|
"""
COMMON: Final = {
    "peer_id": "The peer's id, as the server gives it out.",
    "name": "What the peer calls itself, which any peer may; null where it does not, or that is not known.",
    "authenticated": "Whether the peer has proved to know the room's secret.",
    "room": "Name of the room.",
    "message": "What it says.",
}
"""Members that mean the same wherever they say nothing else of themselves."""
Prose = dict[str, str]


def document() -> str:
    """Return what docs/events.md is to be."""
    paths = [_row(*each) for each in _members(events.PathInfo, _prose(events))]
    agent, commands = _sections(NAMES, events), _sections(LINE_NAMES, lines)
    return wrapped("".join([HEAD, *agent, PATHS, *paths, COMMANDS, *commands, FAILURES, *_failures()]))


def _sections(names: Mapping[Any, str], module: Any) -> Iterator[str]:
    prose = _prose(module)
    for kind, name in names.items():
        called = f" (`{kind.__name__}`)" if module is events else ""
        text = " ".join(f"{inspect.getdoc(kind)}".split())
        yield f"\n### `{name}`{called}\n\n{text}\n\n| member | what it is | |\n|---|---|---|\n"
        yield from (_row(*each) for each in _members(kind, prose))


def _row(member: str, annotation: Any, said: str) -> str:
    if annotation is events.PathInfo:
        names = ", ".join(f"`{each}`" for each in get_type_hints(events.PathInfo))
        return f"| {names} | as below | Its path: {said[0].lower()}{said[1:]} |\n"
    return f"| `{member}` | {_json(annotation)} | {said} |\n"


def _members(kind: type, prose: Mapping[str, Prose]) -> Iterator[tuple[str, Any, str]]:
    """Return the members of a line in order, each with its type and what it says."""
    for name, annotation in get_type_hints(kind).items():
        said = prose[kind.__name__].get(name) or COMMON[name]
        yield name, annotation, re.sub(r"\bNone\b", "null", said)


def _json(annotation: Any) -> str:
    """Return what a value of a Python type is in JSON."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (UnionType, Union):
        return " or ".join(_json(each) for each in arguments)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin in (tuple, list):
        return f"array of {_json(arguments[0])}s"
    if origin is dict:
        return "object"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{each}`" for each in annotation)
    return _SIMPLE[annotation]


_SIMPLE: Final = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    NoneType: "null",
    NatReport: "object ([nat.md](nat.md))",
}


def _failures() -> Iterator[str]:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AgentError)]
    for kind in sorted((each for each in kinds if "name" in vars(each)), key=lambda each: each.exit_code):
        text = "A failure of any other kind." if kind is AgentError else " ".join(f"{inspect.getdoc(kind)}".split())
        yield f"| `{kind.name}` | {kind.exit_code} | {text} |\n"
    constants = _prose(events)[""]
    for name, said in constants.items():
        marker, _, meaning = said.partition("Name of the failure that ")
        if not marker and meaning:
            yield f"| `{getattr(events, name)}` |  | {meaning[0].upper()}{meaning[1:]} |\n"


def _prose(module: Any) -> dict[str, Prose]:
    """Return what stands below each assignment of a module: by class, or the empty name, and by name."""
    tree = ast.parse(inspect.getsource(module))
    bodies = {"": tree.body} | {each.name: each.body for each in tree.body if isinstance(each, ast.ClassDef)}
    return {owner: dict(_documented(body)) for owner, body in bodies.items()}


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in pairwise(body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                yield name, " ".join(text.split())
            case _:
                pass


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 when a check finds drift."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/events [--check]", file=sys.stderr)
        return 2
    if not arguments:
        PATH.write_text(document(), encoding="utf-8")
    elif not PATH.exists() or PATH.read_text(encoding="utf-8") != document():
        print("docs/events.md is not what the code says: run scripts/events", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
