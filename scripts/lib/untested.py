"""Modules that have no test module of their own; fails when one of them belongs to the core of a program.

What is without one beside the core is tested on the real program (tests/integration, tests/ordinary, tests/hostile).
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = {
    ROOT / "server" / "visavis_server": ROOT / "tests" / "unit" / "server",
    ROOT / "peer" / "visavis_peer": ROOT / "tests" / "unit" / "peer",
    ROOT / "shared" / "visavis_shared": ROOT / "tests" / "unit" / "shared",
}
"""Each with its tests, which stand at the same places."""
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
    wanting: list[str] = []
    for package, tests in PACKAGES.items():
        found = untested(package, tests)
        if found:
            print(f"{package.name}, no test module of their own:", *found)
        wanting += [f"{package.name}/{place}" for place in found if place.startswith(CORE)]
    if wanting:
        sys.exit(f"each module of a {CORE} needs one, at the same place below tests/unit: {' '.join(wanting)}")


if __name__ == "__main__":
    main()
