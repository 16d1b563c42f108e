"""The verbs of `visavis`: their flags, examples and help. What they do is imported when one of them is to be run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from visavis_peer.commands.invites import INVITE, SECRET_FILE, add_invite_flags
from visavis_peer.core.nat.silences import SILENCES
from visavis_shared.configuration import CONFIG, FlagParser, add_flag

END_RULE: Final = (
    "A pipe ends when both directions have. A direction ends with the standard input of its side: at the end of a file "
    "or pipe, at once for the null device and for input that is closed or cannot be read, with Ctrl-D at a terminal; a "
    "terminal at which nobody has typed ends with the other direction. The exit code is 0 only if all that was sent "
    "has been written out on the other side."
)


def number(text: str) -> float:
    """Return what a flag has as a number; a wrong one is called by this function's name."""
    return float(text)


def _add_pipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--events", metavar="FILE", type=Path, help="append the events to this file, one JSON object per line"
    )


def _add_ping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peer", metavar="NAME", help="name, id or key of the peer; default: the first one that is linked"
    )
    parser.add_argument("-c", "--count", metavar="N", type=int, default=4, help="round trips (default 4)")
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=number, default=1.0, help="between them (default 1)"
    )


def _add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--message", metavar="TEXT", help="send this text to every peer as its link comes up")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--with",
        dest="partner",
        metavar="INVITE",
        nargs="?",
        const="",
        help="also meet the peer of an invite, forecast what to expect, and explain the outcome; the invite is"
        " better left out and pasted when asked, or read from --invite-file",
    )
    add_invite_flags(parser)
    parser.add_argument(
        "--lifetime",
        metavar="SECONDS",
        type=number,
        nargs="?",
        const=max(SILENCES),
        help="also measure how long the NAT keeps a silent mapping: whether it survives so many seconds (default"
        f" {max(SILENCES):g}, which is how long it takes) and some shorter silences",
    )
    parser.add_argument("--show-addresses", action="store_true", help="leave addresses and host names in the report")


def _add_discover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classify",
        action="store_true",
        help="also ask pystun3 for the RFC 3489 type (up to 20 s; needs two addresses)",
    )


class Verb(NamedTuple):
    """What `visavis` knows of a verb before it does it."""

    name: str
    help: str
    """What it does, in a line."""
    examples: tuple[tuple[str, str], tuple[str, str]]
    """Command lines, each with what comes of it."""
    timeout: str
    """What `--timeout` does."""
    add_flags: Callable[[argparse.ArgumentParser], None]
    needs_room: bool = True
    links: bool = True
    """Whether it makes links, so that there are flags that say how."""
    epilog: str = ""
    defaults: Mapping[str, Any] = MappingProxyType({})
    """What the parsed arguments say besides."""


_LISTED: Final = (
    Verb(
        "pipe",
        "join standard input and output to those of one peer; without an invite, make one",
        (
            (
                "tar c photos | visavis pipe --server https://host.example",
                "prints an invite, and sends when it is used",
            ),
            ("visavis pipe | tar x", "on the other machine: asks for the invite, and receives"),
        ),
        "give up when there is no link after this long (default 30; whoever makes an invite waits indefinitely by"
        " default); it never ends a link that is up",
        _add_pipe,
        epilog=END_RULE,
        defaults={"makes_invite": True, "carries_data": True},
    ),
    Verb(
        "ping",
        "measure round trips over the link to one peer, and name the path",
        (
            ("visavis ping", "asks for the invite, and measures four round trips"),
            ("visavis ping --invite-file invite --count 100 --interval 0.2", "a hundred round trips, five a second"),
        ),
        "give up when there is no link after this long (default 30); the round trips take as long as they take",
        _add_ping,
    ),
    Verb(
        "agent",
        "stay in a room, keep a link to every peer in it, and print what happens",
        (
            ("visavis agent --server https://host.example --room den --name ann", "stays in the room `den`"),
            ("visavis agent --invite-file invite --json", "prints one JSON object per event, for programs"),
        ),
        "give up when the server has not let it into the room after this long (default: it keeps trying)",
        _add_agent,
        defaults={"runs_until_stopped": True, "lean": True},
    ),
    Verb(
        "doctor",
        "report on this machine's network and NAT; with a peer, explain the outcome of an attempt",
        (
            (
                "visavis doctor --server https://host.example",
                "what this network allows, with names and addresses replaced",
            ),
            ("visavis doctor --with", "asks for an invite, meets the peer, and explains the outcome"),
        ),
        "give up on the server after this long, 10 s at most; and for --with when there is no link to the peer"
        " (default 30)",
        _add_doctor,
        needs_room=False,
        defaults={"name": None, "invite": None},
    ),
    Verb(
        "discover",
        "show this machine's public endpoint, its NAT, and the interfaces used and skipped",
        (
            ("visavis discover --server https://host.example", "asks the STUN servers that this server offers"),
            ("visavis discover --stun stun.example:3478 --json", "asks this one, and prints JSON"),
        ),
        "give up after this long (default 30)",
        _add_discover,
        needs_room=False,
        links=False,
    ),
)
VERBS: Final = {verb.name: verb for verb in _LISTED}
"""By name, in the order in which they are listed."""


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """Return the parser of a verb's flags."""
    parser = FlagParser(f"visavis {verb.name}", verb.examples, f"{verb.help[0].upper()}{verb.help[1:]}.", verb.epilog)
    _add_common(parser, verb)
    verb.add_flags(parser)
    parser.set_defaults(**{"makes_invite": False, **verb.defaults, "verb": verb.name, "needs_room": verb.needs_room})
    return parser


def overview() -> str:
    """Return the verbs with a line each."""
    width = max(map(len, VERBS))
    listed = [f"  {verb.name:<{width}}  {verb.help}" for verb in _LISTED]
    return "\n".join(
        [
            "usage: visavis COMMAND [flags]",
            "",
            "Direct links between machines behind NATs.",
            "",
            "commands:",
            *listed,
            "",
            "`visavis COMMAND --help` shows examples and flags; `visavis --version` the version.",
        ]
    )


def _add_common(parser: argparse.ArgumentParser, verb: Verb) -> None:
    from visavis_peer.settings import FLAGS  # which the list of the commands does not need

    groups = {"", *(["room"] if verb.needs_room else []), *(["links"] if verb.links else [])}
    own = {"timeout": verb.timeout}
    if verb.needs_room:
        more = "" if "carries_data" in verb.defaults else "; `-` reads it from standard input"
        add_flag(parser, INVITE, INVITE.help + more)
        add_invite_flags(parser)
        add_flag(parser, SECRET_FILE)
    for setting in FLAGS.values():
        if setting.group in groups:
            add_flag(parser, setting, own.get(setting.name))
    parser.add_argument(f"--{CONFIG}", metavar="FILE", type=Path, help="TOML file with any of these settings")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log to standard error; twice for more")
