"""Where an invite comes from: the command line, standard input, a file, or the person at the terminal.

All of it happens before the event loop runs: a person who is asked can end the program as usual.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final

from visavis_peer.commands.printer import Printer
from visavis_peer.errors import UsageError, reason_of
from visavis_shared.configuration import Setting, add_flag, as_path, as_text

ADVICE: Final = (
    "visavis: while this runs, other users of this machine can see the secret in its command line; "
    "next time run it without the invite and paste it when asked, or use --invite-file"
)
INVITE: Final = Setting(
    name="invite",
    metavar="INVITE",
    is_positional=True,
    read=as_text,
    help="https://host/r/room#secret; better left out and pasted when asked, so that no other user sees it",
)
INVITE_FILE: Final = Setting(
    name="invite_file", metavar="FILE", is_file=True, read=as_path, help="read the invite from a file"
)
SECRET_FILE: Final = Setting(
    name="secret_file", metavar="FILE", is_file=True, read=as_path, help="the room's secret, with --server and --room"
)
PROMPT: Final = "paste the invite (it is not shown): "
HOW: Final = "use --invite-file FILE or VISAVIS_INVITE, or run this at a terminal and paste it when asked"


class _Stopped(BaseException):
    """A signal ends the program while it asks."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def add_invite_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that go with an invite."""
    add_flag(parser, INVITE_FILE)
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="follow an invite that has no secret; nobody can then tell who the peer really is",
    )


def note_exposed(arguments: argparse.Namespace) -> None:
    """Advise who has put a secret where everybody can read it; to be called before the environment is looked at."""
    partner = getattr(arguments, "partner", None)
    if partner:  # `doctor --with INVITE`
        arguments.invite = partner
    if "#" in (getattr(arguments, "invite", None) or ""):
        Printer(as_json=False, stream=sys.stderr).line(ADVICE)


def ask_for_invite(arguments: argparse.Namespace) -> None:
    """Put the invite that is read from standard input or asked for at the terminal into `arguments`.

    Where nobody can be asked there is none. Raises UsageError.
    """
    if not arguments.needs_room and getattr(arguments, "partner", None) is None:
        return
    if arguments.invite == "-":
        if arguments.makes_invite:
            raise UsageError(f"standard input holds the data of a pipe, so the invite cannot come from there; {HOW}")
        arguments.invite = _read_line()
    elif not _is_told_where(arguments) and _is_at_terminal():
        arguments.invite = _ask()


def _is_told_where(arguments: argparse.Namespace) -> bool:
    if arguments.invite is not None or arguments.invite_file is not None:
        return True
    return arguments.needs_room and bool(arguments.room or (arguments.makes_invite and arguments.server))


def _read_line() -> str:
    try:
        return sys.stdin.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the invite: {reason_of(error)}") from None


def _is_at_terminal() -> bool:
    """Whether a person is there to be asked: at the terminal of this program, whatever its standard input is."""
    if sys.platform == "win32":
        return sys.stdin is not None and sys.stdin.isatty()
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _ask() -> str:
    """Return what the person at the terminal pastes; it is not shown."""
    try:
        with _stopped_in_order():
            invite = getpass.getpass(PROMPT)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise UsageError(f"no invite was given{f': {reason}' if (reason := reason_of(error)) else ''}") from None
    except _Stopped as stopped:
        signal.signal(stopped.number, signal.SIG_DFL)
        signal.raise_signal(stopped.number)
        raise
    if not invite.strip():
        raise UsageError("no invite was given")
    return invite


@contextlib.contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Let a signal that ends the program end the question first, so that the terminal shows again what is typed."""

    def stop(number: int, _: FrameType | None) -> None:
        raise _Stopped(number)

    numbers = [signal.SIGINT, signal.SIGTERM] + ([] if sys.platform == "win32" else [signal.SIGHUP])
    former = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
