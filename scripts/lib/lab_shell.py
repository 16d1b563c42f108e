"""Commands to a running lab, typed by a person: cut, impair, rebind, move and block its two sites."""

from __future__ import annotations

import cmd
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.netns.lab import PERFECT, Client, Impairment, Lab, Site

_IMPAIRMENTS: Final = {
    "delay": "delay",
    "jitter": "jitter",
    "loss": "loss",
    "reordering": "reordering",
    "rate": "rate",
    "queue": "queue_size",
}
PLACES: Final = "site1 | site2 | host1 | host2"


class LabShell(cmd.Cmd):
    """One prompt for two sites; the end of input ends it."""

    prompt = "nat-lab> "
    intro = "help shows what can be done to the sites; quit, or Ctrl-D, removes it all"

    def __init__(self, lab: Lab, sites: list[Site]) -> None:
        super().__init__()
        self._lab = lab
        self._places: dict[str, Site | Client] = {}
        for number, site in enumerate(sites, 1):
            self._places |= {f"site{number}": site, f"host{number}": site.clients[0]}

    def do_impair(self, line: str) -> None:
        """impair PLACE [delay=S] [jitter=S] [loss=P] [reordering=P] [rate=BYTES/S] [queue=BYTES]: both directions;
        without values the link is perfect again. S are seconds, P probabilities."""
        with _explained():
            name, *values = line.split() or [""]
            wanted: dict[str, Any] = dict(map(_read_value, values))
            self._lab.impair(self._place(name), Impairment(**wanted) if wanted else PERFECT)

    def do_down(self, line: str) -> None:
        """down PLACE: cut the link of a host to its router, or of a site to the internet."""
        self._apply(self._lab.link_down, line)

    def do_up(self, line: str) -> None:
        """up PLACE: mend it."""
        self._apply(self._lab.link_up, line)

    def do_move(self, line: str) -> None:
        """move PLACE: another address for a host on its LAN, or another public one for a site."""
        self._apply(self._lab.change_address, line)
        self.do_show("")

    def do_rebind(self, line: str) -> None:
        """rebind SITE: all UDP mappings are gone, the next ones get other ports."""
        self._apply_to_site(self._lab.flush_nat, line)

    def do_block(self, line: str) -> None:
        """block SITE: drop UDP."""
        self._apply_to_site(self._lab.block_udp, line)

    def do_unblock(self, line: str) -> None:
        """unblock SITE: let UDP pass again."""
        self._apply_to_site(self._lab.unblock_udp, line)

    def do_show(self, _line: str) -> None:
        """show: the places, their addresses, and how to get in."""
        for name, place in self._places.items():
            if isinstance(place, Site):
                print(f"{name}: {place.kind.name}, public address {', '.join(place.clients[0].public_addresses)}")
            else:
                print(f"{name}: {place.address}, ip netns exec {place.namespace.name} bash")

    def do_quit(self, _line: str) -> bool:
        """quit: remove the lab."""
        return True

    def do_EOF(self, _line: str) -> bool:  # noqa: N802 - the name that cmd gives the end of input
        print()
        return True

    def emptyline(self) -> bool:
        return False

    def _place(self, name: str) -> Site | Client:
        place = self._places.get(name)
        if place is None:
            raise ValueError(f"no such place: {name or 'none given'} ({PLACES})")
        return place

    def _apply(self, operation: Callable[[Site | Client], None], line: str) -> None:
        with _explained():
            operation(self._place(line.strip()))

    def _apply_to_site(self, operation: Callable[[Site], None], line: str) -> None:
        with _explained():
            place = self._place(line.strip())
            if not isinstance(place, Site):
                raise ValueError(f"{line.strip()} is a host; this can only be done to a site")
            operation(place)


def _read_value(text: str) -> tuple[str, float]:
    key, _, number = text.partition("=")
    try:
        return _IMPAIRMENTS[key], float(number)
    except (KeyError, ValueError):
        raise ValueError(f"not understood: {text!r}; say NAME=NUMBER with one of {', '.join(_IMPAIRMENTS)}") from None


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say what is wrong with a command instead of ending the lab."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        print(error)
