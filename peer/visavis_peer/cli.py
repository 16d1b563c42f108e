"""`visavis VERB`: flags over environment over file over defaults, one exit code for each kind of error."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import difflib
import logging
import os
import sys
import tomllib
from collections.abc import Coroutine, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from visavis_peer.commands import agent, discover, doctor, ping, pipe
from visavis_peer.commands.invites import add_invite_flags, ask_for_invite, note_exposed
from visavis_peer.errors import AgentError, OutputClosed, OutputFailed, UsageError
from visavis_peer.output import Printer, StatusHandler
from visavis_peer.stopping import IN_ORDER, SIGPIPE, Stopping
from visavis_shared.descriptors import STDOUT, prepare_standard_streams, print_status, retire
from visavis_shared.ids import printable
from visavis_shared.loops import fastest_loop, relax_collector
from visavis_shared.tasks import sentence, watch_failures

logger = logging.getLogger(__name__)

_VERBS: Final = (discover, doctor, agent, ping, pipe)
_PREFIX: Final = "VISAVIS_"
_SETTINGS: Final = (
    "invite",
    "invite_file",
    "server",
    "room",
    "secret_file",
    "name",
    "token",
    "proxy",
    "relay",
    "port_mapping",
    "probing",
    "report",
    "stun",
    "interface",
    "port",
    "patience",
    "timeout",
)
"""Names of the flags that may also come from the environment (`VISAVIS_SERVER`) or the file (`server = …`)."""
_PLACES: Final = ("invite", "invite_file", "room")
"""Those that say where to meet: the nearest source that has one of them decides."""
_LISTS: Final = frozenset({"stun", "interface"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (errors.py lists them)."""
    prepare_standard_streams()
    with Stopping() as stopping:
        arguments = _parse(argv, stopping)
        code, number = _run(arguments, stopping)
        return code if number is None else stopping.die(number)


def _parse(argv: Sequence[str] | None, stopping: Stopping) -> argparse.Namespace:
    """Read the arguments; `--help` and the like print and end the program here."""
    try:
        parser = _parser()
        _check_verb(parser, list(sys.argv[1:] if argv is None else argv))
        return parser.parse_args(argv)
    except SystemExit:
        try:
            sys.stdout.flush()
        except OSError as error:
            retire(STDOUT)  # where what is left in Python's buffer goes
            if isinstance(error, BrokenPipeError):
                raise SystemExit(stopping.die(SIGPIPE)) from None
            raise SystemExit(_report(OutputFailed(error), as_json=False)) from None
        raise


def _check_verb(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Say which verbs there are to who gives none or an unknown one; that ends the program."""
    verbs = [module.NAME for module in _VERBS]
    first = words[0] if words else ""
    if first in verbs or first.startswith("-"):
        return
    near = difflib.get_close_matches(first, verbs, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if first:
        print_status(f"visavis: there is no command {printable(first)!r}{hint}")
    if not near:
        print_status(parser.format_help().rstrip())
    raise SystemExit(UsageError.exit_code)


def _run(arguments: argparse.Namespace, stopping: Stopping) -> tuple[int, int | None]:
    """Run the command; return its exit code, and the signal that it is to die by, if it is."""
    logging.basicConfig(
        level=[logging.WARNING, logging.INFO, logging.DEBUG][min(arguments.verbose, 2)],
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[StatusHandler()],
    )
    code = 0
    try:
        note_exposed(arguments)
        _fill_in(arguments, os.environ)
        ask_for_invite(arguments)
        relax_collector()
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            code = runner.run(_stoppable(arguments, stopping))
    except OutputClosed:
        stopping.stop(SIGPIPE)
    except AgentError as error:
        code = error.exit_code
        if stopping.number is None:
            code = _report(error, as_json=arguments.json)
    except Exception as error:
        logger.info("the traceback", exc_info=error)
        code = _report(AgentError(sentence(error)), as_json=arguments.json)
    number = stopping.number
    in_order = number in IN_ORDER and getattr(arguments, "runs_until_stopped", False)
    return (0, None) if in_order else (code, number)


async def _stoppable(arguments: argparse.Namespace, stopping: Stopping) -> int:
    """Run the command; a signal cancels it, so that links close and the room is told."""
    stopping.attach()
    if not getattr(arguments, "carries_data", False):
        stopping.watch_reader()
    failures: list[BaseException] = []
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    cancel = task.cancel

    def fail(error: BaseException) -> None:
        if stopping.number is None:
            failures.append(error)
            # not at once: the collector may tell of a failure in the command's own last step
            loop.call_soon(cancel)

    watch_failures(loop, fail)
    command: Coroutine[Any, Any, int] = arguments.command(arguments)
    try:
        return await command
    except asyncio.CancelledError:
        if stopping.number is not None:
            return 0
        if failures:
            raise failures[0] from None
        raise


def _report(error: AgentError, *, as_json: bool) -> int:
    """Say why the command has failed, and return its exit code."""
    if as_json:
        with contextlib.suppress(OutputFailed):
            Printer(as_json=True).json("error", error=error.name, message=str(error), exit_code=error.exit_code)
    print_status(f"visavis: {printable(str(error))}")
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visavis", description="Direct links between machines behind NATs.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"visavis {version('visavis')}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for module in _VERBS:
        examples = "\n".join(f"  {example}" for example in module.EXAMPLES)
        verb = verbs.add_parser(
            module.NAME,
            help=module.HELP,
            description=f"{examples}\n\n{module.HELP[0].upper()}{module.HELP[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_common(verb, needs_room=module.NEEDS_ROOM, links=module is not discover)
        module.add_arguments(verb)
        verb.set_defaults(command=module.run, makes_invite=module is pipe, needs_room=module.NEEDS_ROOM)
    return parser


def _add_common(verb: argparse.ArgumentParser, *, needs_room: bool, links: bool) -> None:
    verb.add_argument(
        "--server", metavar="URL", help="signaling server: http(s) or ws(s), with a path prefix if need be"
    )
    verb.add_argument(
        "--proxy",
        metavar="URL",
        help="HTTP or SOCKS5 proxy to the server (http, https, socks5 or socks5h://[USER:PASSWORD@]HOST:PORT), or"
        " `none`; default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the environment",
    )
    if needs_room:
        verb.add_argument(
            "invite",
            metavar="INVITE",
            nargs="?",
            help="https://host/r/room#secret; better left out: it is then asked for, and no other user sees it;"
            " `-` reads it from standard input",
        )
        add_invite_flags(verb)
        verb.add_argument(
            "--secret-file", metavar="FILE", type=Path, help="the room's secret, with --server and --room"
        )
        verb.add_argument("--room", metavar="NAME", help="room to join, 1 to 128 characters")
        verb.add_argument(
            "--token",
            metavar="TOKEN",
            help="shown to a server that asks for one; other users of this machine see flags, better set VISAVIS_TOKEN",
        )
        verb.add_argument(
            "--patience",
            metavar="SECONDS",
            type=float,
            help="wait so long for a peer that has fallen silent, as one whose machine is asleep, if that has the"
            " room's secret; the smaller value of both sides counts (default 600)",
        )
        verb.add_argument("--name", metavar="NAME", help="name shown to the others, up to 64 characters")
    if links:
        verb.add_argument(
            "--relay",
            choices=("auto", "never", "only"),
            help="whether links may (auto, the default), must not (never) or must (only) go by the server's relay",
        )
        verb.add_argument(
            "--probing",
            choices=("auto", "never"),
            help="whether to probe the peer's NAT for a path where connectivity checks find none (auto, the default)",
        )
        verb.add_argument(
            "--port-mapping",
            choices=("auto", "never"),
            help="whether to ask the gateway for ports by PCP, NAT-PMP or UPnP (auto, the default)",
        )
        verb.add_argument(
            "--no-report",
            dest="report",
            action="store_const",
            const="off",
            help="do not tell the server whether links are direct, relayed or failed (also: VISAVIS_REPORT=off)",
        )
    verb.add_argument(
        "--stun",
        metavar="HOST[:PORT]",
        action="append",
        help="STUN server, repeatable; default: the signaling server's",
    )
    verb.add_argument("--interface", metavar="NAME", action="append", help="use only this interface, repeatable")
    verb.add_argument(
        "--port", metavar="N", type=int, help="first UDP port to bind to; the next 31 serve further links"
    )
    verb.add_argument(
        "--timeout", metavar="SECONDS", type=float, help="give up after this long (default 30; `agent`: never)"
    )
    verb.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")
    verb.add_argument("--json", action="store_true", help="print one JSON object per line")
    verb.add_argument("-v", "--verbose", action="count", default=0, help="log to standard error; twice for more")


def _fill_in(arguments: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Take what no flag gives from the environment, then from the file.

    Raises UsageError that names the setting.
    """
    arguments.environment = environment  # that proxies stand in is everybody's, and has no prefix
    path = arguments.config or environment.get(f"{_PREFIX}CONFIG")
    file = _read_file(Path(path)) if path else {}
    for source in (_from_environment(environment), file):
        # an invite of a source farther away is no rival of the room of a nearer one, nor the other way round
        met = any(getattr(arguments, name, None) is not None for name in _PLACES)
        for name, value in source.items():
            if getattr(arguments, name, None) is None and not (met and name in _PLACES):
                setattr(arguments, name, _typed(name, value))


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    found = {name: environment.get(f"{_PREFIX}{name.upper()}") for name in _SETTINGS}
    return {name: text.split(",") if name in _LISTS else text for name, text in found.items() if text is not None}


def _read_file(path: Path) -> dict[str, object]:
    try:
        settings = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    for name in settings:
        if name not in _SETTINGS:
            near = difflib.get_close_matches(name, _SETTINGS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{path}: unknown setting {name!r}{hint}")
    return settings


def _typed(name: str, value: object) -> object:
    if value is None:
        return None
    try:
        match name:
            case "port":
                return int(str(value))
            case "timeout" | "patience":
                return float(str(value))
            case "invite_file" | "secret_file":
                return Path(str(value))
            case "relay" if value not in ("auto", "never", "only"):
                raise UsageError(f"relay: {value!r} is not auto, never or only")
            case "probing" | "port_mapping" if value not in ("auto", "never"):
                raise UsageError(f"{name}: {value!r} is not auto or never")
            case "report" if value in ("on", "off"):
                return value
            case "report" if isinstance(value, bool):
                return "on" if value else "off"
            case "report":
                raise UsageError(f"report: {value!r} is not on or off")
            case "stun" | "interface":
                return [str(item) for item in value] if isinstance(value, list) else [str(value)]
            case _:
                return str(value)
    except ValueError:
        raise UsageError(f"{name}: {value!r} is not a number") from None
