"""docs/library.md lists all that is public, and the exported classes show nothing else."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import visavis_peer
import visavis_server

TEXT: Final = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
PACKAGES: Final = (visavis_peer, visavis_server)
ROW: Final = re.compile(r"^\| `(\w+)` \| (.*?) \|(.*)\|$", re.MULTILINE)


def listed(package: ModuleType) -> dict[str, set[str]]:
    """Return the names that the text lists for a package, each with its members."""
    section = TEXT.partition(f"### {package.__name__}\n")[2].partition("\n##")[0]
    rows = {name: set(re.findall(r"`(\w+)(?:\(\))?`", members)) for name, _, members in ROW.findall(section)}
    assert rows
    for name, _, members in ROW.findall(section):
        if members.strip().startswith("each option of `visavis-server --help`"):  # setup/test_settings.py
            rows[name] = set(visavis_server.Settings.model_fields)
    return rows


def classes(package: ModuleType) -> list[type]:
    exported = (getattr(package, name) for name in package.__all__)
    return [each for each in exported if inspect.isclass(each)]


PLAIN: Final = {"exit_code", "message", "name", "peer_id", "room"}
"""Members that need no words."""
EXPORTED: Final = [(package, each) for package in PACKAGES for each in classes(package)]
every_class = pytest.mark.parametrize(
    ("package", "kind"), EXPORTED, ids=[f"{package.__name__}.{each.__name__}" for package, each in EXPORTED]
)


def own_classes(kind: type) -> list[type]:
    """Return a class and those of ours that it inherits from."""
    return [each for each in kind.__mro__ if each.__module__.startswith(("visavis_", "tests"))]


def attributes(kind: type) -> dict[str, str | None]:
    """Return what a class and its methods assign to attributes, each with the docstring below the assignment."""
    found: dict[str, str | None] = {}
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    for node in ast.walk(definition):
        blocks = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
        for block in (each for each in blocks if isinstance(each, list)):
            for statement, following in zip_longest(block, block[1:]):
                names = _assigned(statement, on_class=node is definition)
                found |= {name: found.get(name) or _text(following) for name in names}
    return found


def _text(statement: ast.AST | None) -> str | None:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _assigned(statement: ast.AST, *, on_class: bool) -> list[str]:
    if isinstance(statement, ast.Assign):
        targets = [leaf for each in statement.targets for leaf in ast.walk(each)]
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    else:
        return []
    if on_class:
        return [each.id for each in targets if isinstance(each, ast.Name)]
    own = [each for each in targets if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)]
    return [each.attr for each in own if isinstance(each.value, ast.Name) and each.value.id == "self"]


def public_members(kind: type) -> set[str]:
    """Return the members of a class without an underscore: those that it has, and those that its objects get."""
    names = {name for each in own_classes(kind) for name in (*vars(each), *attributes(each))}
    return {name for name in names if not name.startswith("_")} - {"model_config"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_text_lists_what_a_package_exports(package: ModuleType) -> None:
    assert listed(package).keys() == set(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None


@every_class
def test_a_class_shows_the_members_that_the_text_lists(package: ModuleType, kind: type) -> None:
    assert public_members(kind) == listed(package)[kind.__name__]


@every_class
def test_every_member_says_what_it_is(package: ModuleType, kind: type) -> None:
    assert kind.__doc__
    silent = set()
    for each in own_classes(kind):
        documented = attributes(each)
        for name in public_members(each) & (vars(each).keys() | documented.keys()):
            member = inspect.getattr_static(each, name, None)
            has_own = inspect.isroutine(member) or isinstance(member, property | classmethod | staticmethod)
            if not (inspect.getdoc(member) if has_own else documented.get(name)):
                silent.add(name)
    assert silent <= PLAIN


def test_an_attribute_is_noticed_wherever_it_is_assigned() -> None:
    assert public_members(Careless) == {"shown", "engine", "left", "right", "later", "counted", "act"}


class Careless:
    """Shows more than it should."""

    shown = 1

    def __init__(self) -> None:
        self._kept = 0
        self.engine: int | None = None
        self.left, self.right = 1, 2

    def act(self) -> None:
        """Act."""
        if self._kept:
            self.later = 3
        else:
            for _ in range(2):
                self.counted = 4
