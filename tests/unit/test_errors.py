"""Each program has one tree of exceptions, in the docstring of one module, and no name stands for two things."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from types import ModuleType
from typing import Final

import pytest

import visavis_peer
import visavis_peer.errors
import visavis_server
import visavis_server.core.errors
import visavis_shared
from visavis_peer.errors import AgentError
from visavis_server.core.errors import ServerError
from visavis_shared.closing import CloseCode
from visavis_shared.errors import RemoteProtocolError, VisavisError

TREES: Final = {
    visavis_peer: visavis_peer.errors.__doc__ or "",
    visavis_server: visavis_server.core.errors.__doc__ or "",
}


def classes(package: ModuleType) -> list[type]:
    """Return the classes that are defined in a package, private ones aside."""
    found: dict[type, None] = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if info.name.endswith(".__main__"):
            continue
        module = importlib.import_module(info.name)
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == module.__name__ and not each.__name__.startswith("_"):
                found[each] = None
    return list(found)


def exceptions(package: ModuleType) -> list[type[BaseException]]:
    return [each for each in classes(package) if issubclass(each, BaseException)]


@pytest.mark.parametrize("package", [visavis_peer, visavis_server, visavis_shared], ids=lambda each: str(each.__name__))
def test_every_exception_has_the_one_root(package: ModuleType) -> None:
    found = exceptions(package)
    assert found
    assert [each for each in found if not issubclass(each, VisavisError)] == []
    if package is visavis_server:
        assert [each for each in found if not issubclass(each, ServerError | RemoteProtocolError)] == []


@pytest.mark.parametrize("package", TREES, ids=lambda each: str(each.__name__))
def test_the_tree_shows_every_exception_below_its_parent(package: ModuleType) -> None:
    depths = {
        name: len(indent)
        for indent, names in re.findall(r"^([│├└─ ]*)([A-Z]\w+(?:, [A-Z]\w+)*)\b", TREES[package], re.MULTILINE)
        for name in names.split(", ")
    }
    for each in exceptions(package):
        assert each.__name__ in depths, each
        parents = [base.__name__ for base in each.__mro__[1:] if issubclass(base, VisavisError)]
        shown = next(name for name in parents if name in depths)
        assert depths[each.__name__] == depths[shown] + 4, each


def test_the_tree_of_the_agent_has_the_exit_codes() -> None:
    shown = dict(re.findall(r"^[│├└─ ]*(\w+) +(\d+)  ", TREES[visavis_peer], re.MULTILINE))
    codes = {each.__name__: str(each.exit_code) for each in exceptions(visavis_peer) if issubclass(each, AgentError)}
    assert codes == shown


def test_the_tree_of_the_server_has_its_codes() -> None:
    for each in exceptions(visavis_server):
        (line,) = re.findall(rf"^[│├└─ ]*{each.__name__}\b(.*)$", TREES[visavis_server], re.MULTILINE)
        for member in ("status", "close_code"):
            value = getattr(each, member, None)
            assert value is None or str(int(value)) in line, each
    assert [code for each in exceptions(visavis_server) if (code := getattr(each, "close_code", None))] == [
        CloseCode.TOO_MANY
    ]


def test_no_name_of_an_exception_is_that_of_anything_else() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    errors = set()
    for package in (visavis_peer, visavis_server, visavis_shared):
        for each in classes(package):
            homes[each.__name__].append(each.__module__)
            if issubclass(each, BaseException):
                errors.add(each.__name__)
    assert {name: homes[name] for name in errors if len(homes[name]) > 1} == {}
