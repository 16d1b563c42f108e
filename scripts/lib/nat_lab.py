"""List and prove the lab's kinds of NAT, print the matrix, or build a topology to work in; see scripts/nat-lab."""

from __future__ import annotations

import argparse
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

from scripts.lib.lab_measure import measure
from scripts.lib.lab_shell import LabShell

from tests.netns.lab import KINDS, MATRIX_KINDS, Lab
from tests.netns.lab.probe import Findings, claim, reflectors, survey
from tests.netns.pairs import SKEWS, Matrix, Outcome, all_cells
from tests.netns.programs import URL, start_server
from tests.support.requirements import missing

CONCURRENT: Final = 6
"""Cells without a path at a time: they only wait. Those that link run one by one, since their times are measured."""

_NAME_WIDTH: Final = max(map(len, KINDS))


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="scripts/nat-lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("list", help="the kinds and what they claim").set_defaults(run=_list)
    probe = commands.add_parser("probe", help="prove kinds by the lab's own probe")
    probe.add_argument("kinds", nargs="*", metavar="KIND", choices=[*KINDS, []])
    probe.set_defaults(run=_probe)
    matrix = commands.add_parser("matrix", help="link every pair and print a table (Markdown)")
    matrix.add_argument("--skew", type=float, default=SKEWS[1], choices=SKEWS, help="seconds between the starts")
    matrix.set_defaults(run=_matrix)
    build = commands.add_parser("run", help="build two sites and a server, and take commands for them")
    build.add_argument("kinds", nargs=2, metavar="KIND", choices=[*KINDS])
    build.add_argument("--ipv6", action="store_true", help="IPv6 as well, behind stateful firewalls")
    build.set_defaults(run=_run)
    measured = commands.add_parser("measure", help="throughput and punctuality of cables and a site's NAT")
    measured.add_argument("kind", nargs="?", metavar="KIND", default="public", choices=[*KINDS])
    measured.set_defaults(run=lambda arguments: measure(arguments.kind))
    arguments = parser.parse_args()
    reason = missing("netns")
    if reason is not None and arguments.run is not _list:
        print(f"nat-lab: {reason}", file=sys.stderr)
        return 1
    arguments.run(arguments)
    return 0


def _list(_arguments: argparse.Namespace) -> None:
    for kind in KINDS.values():
        behaviour = kind.behaviour
        extra = "".join(
            f", {word}"
            for word, holds in (
                ("poisonable", kind.poisonable),
                ("hairpinning", behaviour.hairpinning),
                (f"{kind.address_count} external addresses", kind.address_count > 1),
                (f"behind a carrier's {kind.carrier}", kind.carrier),
            )
            if holds
        )
        what = (
            f"{behaviour.mapping} mapping, {behaviour.filtering} filtering, {behaviour.allocation} ports{extra}"
            if behaviour.udp
            else "no UDP"
        )
        print(f"{kind.name:{_NAME_WIDTH}} {what}")


def _probe(arguments: argparse.Namespace) -> None:
    with Lab() as lab, reflectors(lab) as opened:
        for name in arguments.kinds or KINDS:
            site = lab.site(name, name)
            findings = survey(site.clients[0], opened)
            agrees = findings == claim(site)
            print(f"{name:{_NAME_WIDTH}} {'as claimed' if agrees else 'NOT AS CLAIMED'}: {_describe(findings)}")


def _describe(findings: Findings) -> str:
    if not findings.udp:
        return "no UDP"
    step = f" by {findings.step}" if findings.step else ""
    hairpinning = ", hairpinning" if findings.hairpinning else ""
    return f"{findings.mapping} mapping, {findings.filtering} filtering, {findings.allocation}{step} ports{hairpinning}"


def _matrix(arguments: argparse.Namespace) -> None:
    cells = [cell for cell in all_cells() if cell.skew == arguments.skew and not cell.variant]
    with Lab() as lab, ThreadPoolExecutor(CONCURRENT) as pool:
        matrix = Matrix(lab)
        start_server(lab)
        unlinked = [cell for cell in cells if not cell.links]
        outcomes = dict(zip(unlinked, pool.map(matrix.run, unlinked), strict=True))
        outcomes |= {cell: matrix.run(cell) for cell in cells if cell.links}
    by_pair = {frozenset((cell.left, cell.right)): outcome for cell, outcome in outcomes.items()}
    print("| | " + " | ".join(MATRIX_KINDS) + " |")
    print("|---" * (len(MATRIX_KINDS) + 1) + "|")
    for row, left in enumerate(MATRIX_KINDS):
        pairs = [frozenset((left, right)) for right in MATRIX_KINDS]
        shown = [_cell(by_pair[pair]) if column >= row else "" for column, pair in enumerate(pairs)]
        print(f"| {left} | " + " | ".join(shown) + " |")
    direct = [each.direct_ms for each in outcomes.values() if each.direct_ms is not None]
    print(f"\n{len(direct)} pairs linked directly, {len(cells) - len(direct)} by the relay; ", end="")
    print(f"starts {arguments.skew:g} s apart; from the OFFER:")
    for what, times in (
        ("link up", [each.linked_ms for each in outcomes.values()]),
        ("first bytes at an application", [each.first_message_ms for each in outcomes.values()]),
        ("direct path in use", direct),
    ):
        print(f"- {what}: median {median(times):.0f} ms, maximum {max(times):.0f} ms")


def _cell(outcome: Outcome) -> str:
    if outcome.kinds is None:
        return f"relay {outcome.linked_ms:.0f}"
    short = "".join(kind.partition("-")[2][0] for kind in outcome.kinds)
    return f"{short} {outcome.direct_ms:.0f}"


def _run(arguments: argparse.Namespace) -> None:
    with Lab() as lab:
        sites = [
            lab.site(f"site{number}", kind, cables=True, ipv6=arguments.ipv6)
            for number, kind in enumerate(arguments.kinds, 1)
        ]
        start_server(lab)
        print(f"signaling server: {URL}")
        shell = LabShell(lab, sites)
        shell.do_show("")
        with contextlib.suppress(KeyboardInterrupt):
            shell.cmdloop()


if __name__ == "__main__":
    raise SystemExit(main())
