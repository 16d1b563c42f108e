"""`visavis VERB`: flags over environment over file over defaults, one exit code for each kind of error."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from visavis_peer.commands.invites import ask_for_invite, note_exposed
from visavis_peer.commands.printer import Printer, output_error
from visavis_peer.commands.stopping import IN_ORDER, SIGPIPE, Stopping
from visavis_peer.commands.verbs import VERBS, overview, parser_of
from visavis_peer.errors import AgentError, OutputClosed, OutputFailed, UsageError
from visavis_shared.configuration import nearest
from visavis_shared.descriptors import STDOUT, prepare_standard_streams, retire
from visavis_shared.ids import printable
from visavis_shared.loops import fastest_loop
from visavis_shared.outlets import OUTPUT, STATUS, StatusHandler, print_status
from visavis_shared.tasks import sentence, watch_failures

logger = logging.getLogger(__name__)


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
        return read_arguments(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        raise SystemExit(_report(error, as_json=False)) from None
    except SystemExit:
        try:
            sys.stdout.flush()
        except OSError as error:
            retire(STDOUT)  # where what is left in Python's buffer goes
            if isinstance(error, BrokenPipeError):
                raise SystemExit(stopping.die(SIGPIPE)) from None
            raise SystemExit(_report(OutputFailed(error), as_json=False)) from None
        raise


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return what the words of a command line say.

    Raises UsageError, or SystemExit where help has been printed, or what is wrong.
    """
    verb = VERBS.get(words[0]) if words else None
    if verb is not None:
        return parser_of(verb).parse_args(words[1:])
    if words and words[0] in ("-h", "--help", "--version"):
        sys.stdout.write(f"{overview() if words[0] != '--version' else f'visavis {_version()}'}\n")
        raise SystemExit(0)
    if words and words[0].startswith("-"):
        raise UsageError(f"{words[0]} is a flag: a command must come first (`visavis COMMAND --help` lists its flags)")
    near = nearest(words[0], VERBS) if words else ""
    if words:
        print_status(f"visavis: there is no command {printable(words[0])!r}{near}")
    if not near:
        print_status(overview())
    raise SystemExit(UsageError.exit_code)


def _version() -> str:
    from importlib.metadata import version  # which takes as long to import as everything else here

    return version("visavis")


def _run(arguments: argparse.Namespace, stopping: Stopping) -> tuple[int, int | None]:
    """Run the command; return its exit code, and the signal that it is to die by, if it is."""
    logging.basicConfig(
        level=[logging.WARNING, logging.INFO, logging.DEBUG][min(arguments.verbose, 2)],
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[StatusHandler()],
    )
    from visavis_peer.commands.sources import check_words, fill_in  # for who has asked for more than help

    code = 0
    try:
        check_words(arguments)
        note_exposed(arguments)
        fill_in(arguments, os.environ)
        ask_for_invite(arguments)
        lean = getattr(arguments, "lean", False)
        if lean:
            from visavis_peer.commands.put_off import put_off_unused

            put_off_unused()
        # uvloop is 2 MiB more
        with asyncio.Runner(loop_factory=None if lean else fastest_loop()) as runner:
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
    code = _write_out(stopping) or code
    number = stopping.number
    in_order = number in IN_ORDER and getattr(arguments, "runs_until_stopped", False)
    return (0, None) if in_order else (code, number)


def _write_out(stopping: Stopping) -> int:
    """Wait until what was printed has been taken; return the exit code of a failure of that.

    A signal ends the wait.
    """
    code = 0
    try:
        OUTPUT.finish(lambda: stopping.number is not None)
    except BrokenPipeError:
        stopping.stop(SIGPIPE)
    except OSError as error:
        code = _report(OutputFailed(error), as_json=False)
    STATUS.finish(lambda: True)
    return code


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
    OUTPUT.on_failure = lambda error: fail(output_error(error))
    from visavis_peer.commands.opening import run_verb  # as before

    command: Coroutine[Any, Any, int] = run_verb(arguments)
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
        from visavis_peer.commands.lines import CommandFailed  # where it comes to that

        with contextlib.suppress(OutputFailed):
            Printer(as_json=True).record(CommandFailed(error.name, str(error), error.exit_code))
    print_status(f"visavis: {printable(str(error))}")
    return error.exit_code
