"""What a row of the table of limits is: server and peer have one each, docs/limits.md is made from both.

Figures come from the code that enforces them, never from the table: so they cannot differ. `scripts/limits` writes the
document, and a test holds `--help`, the welcome and the metrics against the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and its unit; one of bytes is shown in the largest unit that it is a whole number of."""

    value: float
    unit: str = ""
    """What follows the number, such as `s`, `/s`, `at once`; `bytes` alone or with what follows it."""

    def __str__(self) -> str:
        number, unit = self.value, self.unit
        if unit.startswith("bytes"):
            for size, name in _SIZES:
                if number >= size and not number % size:
                    return f"{number / size:,.0f} {name}{unit.removeprefix('bytes')}"
        space = "" if unit.startswith("/") or not unit else " "
        text = f"{number:,.0f}" if number == int(number) else f"{number:,.3g}"
        return f"{text}{space}{unit}"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: what is bounded, by how much, and what happens beyond it."""

    what: str
    figures: tuple[Figure, ...]
    beyond: str
    """What the other side gets: codes of HTTP, WebSocket and ERROR; or what makes way."""
    why: str
    option: str | None = None
    """Name of the setting whose default the first figure is; 0 means unlimited."""
    welcome: str | None = None
    """Where the welcome tells it, such as `limits.message_rate`."""
    causes: tuple[str, ...] = ()
    """What it is counted and logged as."""

    @property
    def shown(self) -> str:
        """The figures as text; 0 of a setting is no limit."""
        if self.option is not None and not self.figures[0].value:
            return "no limit"
        return ", ".join(map(str, self.figures))


def markdown(limits: Iterable[Limit], *, counted: bool) -> str:
    """Return a table; `counted` shows the columns of options, welcome and causes."""
    extra = " option | told in the welcome | counted as |" if counted else ""
    lines = [f"| limit | figure |{extra} beyond it | why |", "|---|---|" + "---|" * (5 if counted else 2)]
    for each in limits:
        option = f"`--{each.option.replace('_', '-')}`" if each.option else ""
        cells = [each.what, each.shown]
        if counted:
            cells += [option, f"`{each.welcome}`" if each.welcome else "", ", ".join(f"`{c}`" for c in each.causes)]
        lines.append("| " + " | ".join([*cells, each.beyond, each.why]) + " |")
    return "\n".join(lines) + "\n"
