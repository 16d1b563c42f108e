"""List and prove the lab's kinds of NAT, print the matrix, or build a topology to work in; see scripts/nat-lab."""

from __future__ import annotations

import argparse
import contextlib
import sys
from itertools import combinations_with_replacement
from pathlib import Path
from statistics import median
from typing import Final

from scripts.lib.lab_first_byte import measure_first_bytes
from scripts.lib.lab_measure import measure
from scripts.lib.lab_repeat import play, repeat_all, repeat_one
from scripts.lib.lab_shell import LabShell

from tests.netns.lab import KINDS, MATRIX_KINDS, Lab
from tests.netns.lab.probe import Findings, claim, reflectors, survey
from tests.netns.pairs import SKEWS, Cell, Outcome
from tests.netns.programs import URL, start_server
from tests.support.requirements import missing
from visavis_shared.nat import Method

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
    matrix.add_argument(
        "--kinds", nargs="+", metavar="KIND", choices=[*KINDS], default=list(MATRIX_KINDS), help="default: the kernel's"
    )
    matrix.add_argument("--all", action="store_true", help="every kind")
    matrix.add_argument(
        "--concurrent", type=int, default=1, metavar="N", help="cells at a time: more are sooner done, and slower each"
    )
    matrix.set_defaults(run=_matrix)
    repeat = commands.add_parser("repeat", help="link one pair again and again: how often and how soon directly")
    repeat.add_argument("kinds", nargs="*", metavar="KIND", choices=[*KINDS, []], help="two, or with --all any number")
    repeat.add_argument(
        "--all", action="store_true", help="every pair of the kinds that the oracle sees linked directly"
    )
    repeat.add_argument("--runs", type=int, default=100, metavar="N")
    repeat.add_argument("--skew", type=float, default=SKEWS[0], metavar="SECONDS", help="between the starts")
    repeat.add_argument("--concurrent", type=int, default=2, metavar="N", help="runs at a time")
    repeat.add_argument(
        "--record", type=Path, metavar="FILE", help="with --all: keep what is done, and go on from there another time"
    )
    repeat.set_defaults(run=_repeat)
    first = commands.add_parser("first-byte", help="time to the first bytes at an application, in round trips")
    first.add_argument("--kinds", nargs="+", metavar="KIND", choices=[*KINDS], default=list(MATRIX_KINDS))
    first.add_argument(
        "--round-trip", type=float, default=0.2, metavar="SECONDS", help="by the server, peer to peer and back"
    )
    first.set_defaults(run=lambda arguments: measure_first_bytes(arguments.kinds, arguments.round_trip))
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
    kinds = list(KINDS) if arguments.all else arguments.kinds
    cells = [Cell(*pair, arguments.skew) for pair in combinations_with_replacement(kinds, 2)]
    outcomes = dict(zip(cells, play(cells, arguments.concurrent), strict=True))
    by_pair = {frozenset((cell.left, cell.right)): outcome for cell, outcome in outcomes.items()}
    print("| | " + " | ".join(kinds) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for row, left in enumerate(kinds):
        pairs = [frozenset((left, right)) for right in kinds]
        shown = [_cell(by_pair[pair]) if column >= row else "" for column, pair in enumerate(pairs)]
        print(f"| {left} | " + " | ".join(shown) + " |")
    played = {cell: outcome for cell, outcome in outcomes.items() if outcome is not None}
    direct = {cell: outcome.direct_ms for cell, outcome in played.items() if outcome.direct_ms is not None}
    print(f"\n{len(direct)} pairs linked directly, {len(played) - len(direct)} through the relay", end="")
    print(f", {len(cells) - len(played)} not as the oracle says; starts {arguments.skew:g} s apart; from the OFFER:")
    for what, times in (
        ("link up", [each.linked_ms for each in played.values()]),
        ("first bytes at an application", [each.first_message_ms for each in played.values()]),
        *(
            (f"direct path in use, {method}", [ms for cell, ms in direct.items() if cell.method is method])
            for method in Method
        ),
    ):
        if times:
            print(f"- {what}: {len(times)} pairs, median {median(times):.0f} ms, maximum {max(times):.0f} ms")


def _repeat(arguments: argparse.Namespace) -> None:
    runs, skew, concurrent = arguments.runs, arguments.skew, arguments.concurrent
    if arguments.all:
        repeat_all(arguments.kinds or list(KINDS), runs, skew, concurrent, arguments.record)
    elif len(arguments.kinds) == 2:
        repeat_one(arguments.kinds[0], arguments.kinds[1], runs, skew, concurrent)
    else:
        sys.exit("nat-lab: repeat takes two kinds, or --all")


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "**no**"
    if outcome.kinds is None:
        return f"relay {outcome.linked_ms:.0f}"
    short = "".join(kind.partition("-")[2][0] for kind in outcome.kinds)
    how = {None: short, "prediction": "pred", "birthday": "bday"}[outcome.method]
    return f"{how} {outcome.direct_ms:.0f}"


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
