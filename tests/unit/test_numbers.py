"""Each number has one home: no two modules of a program have a constant of the same name and the same value."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ALIKE: Final = {
    "CLOSE_TIMEOUT": "of a TURN server, of a signaling server, of a client: who answers differs",
    "INTERVAL": "between looks at what has nothing to do with each other",
    "KEY_SIZE": "of two algorithms' keys",
    "MESSAGE_SIZE": "of what the relay carries, of a text that an agent prints",
    "NONCE_SIZE": "of ChaCha20-Poly1305 (RFC 8439), of PCP (RFC 6887), of STUN",
}
"""Constants that are alike by chance, and why that is one."""


def constants() -> dict[tuple[str, object], list[str]]:
    """Return where each number at the top of a module stands, by its name and its value."""
    found: defaultdict[tuple[str, object], list[str]] = defaultdict(list)
    for package in ("server", "peer", "shared"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                match node:
                    case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value) if name.isupper():
                        number = _number(value)
                        if number is not None and not name.startswith("_"):
                            found[name, number].append(str(path.relative_to(ROOT)))
                    case _:
                        pass
    return found


def _number(node: ast.expr) -> float | None:
    """Return the value of an expression of numbers, None for any other."""
    arithmetic = (ast.Constant, ast.BinOp, ast.operator, ast.UnaryOp, ast.USub)
    if not all(isinstance(each, arithmetic) for each in ast.walk(node)):
        return None
    value = eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}})
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def test_no_number_has_two_homes() -> None:
    found = constants()
    assert len(found) > 200
    twins = {key: homes for key, homes in found.items() if len(homes) > 1}
    assert {key: homes for key, homes in twins.items() if key[0] not in ALIKE} == {}
    assert {name for name, _ in twins} == ALIKE.keys(), "those that are no longer there are not excused"
