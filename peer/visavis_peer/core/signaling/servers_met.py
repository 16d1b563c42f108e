"""Whether one name leads to several signaling servers, which know nothing of each other and split a room in silence."""

from __future__ import annotations

from typing import Final

SERVER_COUNT: Final = 16
"""Servers that are remembered: more than one name leads to."""
ADVICE: Final = (
    "the server's name leads to several servers that know nothing of each other: peers that are sent to another one are"
    " not in this room; its operator can run one server, or one after the other (docs/operations.md)"
)


class ServersMet:
    """The servers that an agent has been connected to, by what their welcomes tell."""

    def __init__(self) -> None:
        self._met: list[str] = []
        self._told = False

    def meet(self, instance: str | None) -> bool:
        """Take the id of the server that an agent is connected to; return whether that is to be told, which is once.

        One that was left and is met again has not been replaced: it runs beside another. An older server has no id.
        """
        if instance is None or self._met[-1:] == [instance]:
            return False
        several = instance in self._met
        self._met = [*(each for each in self._met if each != instance), instance][-SERVER_COUNT:]
        told, self._told = self._told, self._told or several
        return several and not told
