"""Modules of the server that have no test module of their own; fails when one of them belongs to the core.

What is without one beside the core is tested on the real program (tests/integration, tests/ordinary, tests/hostile).
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "server" / "visavis_server"
TESTS: Final = ROOT / "tests" / "unit" / "server"
CORE: Final = "core/"


def untested(package: Path, tests: Path) -> list[str]:
    """Return the modules of a package, by path, that do something and have no test module at the same place."""
    found: list[str] = []
    for module in sorted(package.rglob("*.py")):
        place = module.relative_to(package)
        if _does_something(module) and not (tests / place.with_name(f"test_{place.name}")).exists():
            found.append(place.as_posix())
    return found


def _does_something(module: Path) -> bool:
    """Whether a module has a function that others call, a method included."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(not each.name.startswith("_") for each in functions)


def main() -> None:
    """Name them."""
    found = untested(PACKAGE, TESTS)
    if found:
        print("no test module of their own:", *found)
    if any(place.startswith(CORE) for place in found):
        sys.exit(f"each module of the server's {CORE} needs one, at the same place below {TESTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
