"""Where a command's settings come from: flag over environment over file over default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from visavis_peer.commands.invites import INVITE, INVITE_FILE, SECRET_FILE
from visavis_peer.errors import UsageError
from visavis_peer.settings import FLAGS
from visavis_shared.configuration import Given, WrongSetting, from_environment, from_file, from_flags, values_of
from visavis_shared.words import as_utf8

SETTINGS: Final = (INVITE, INVITE_FILE, SECRET_FILE, *FLAGS.values())
"""What can stand in the environment and in the file as well."""
_PLACES: Final = frozenset({INVITE.name, INVITE_FILE.name, "room"})
"""Those that say where to meet: the nearest source that has one of them decides."""
_SPARED: Final = frozenset({"server", "room", "name"})
"""Those that are not given where they are empty, as a variable is that somebody has no value for."""
_OTHERS: Final = {"partner": "--with"}
"""What flags are called whose names differ from those of their values."""


def check_words(arguments: argparse.Namespace) -> None:
    """See to it that the flags that are no settings hold nothing but Unicode.

    Raises UsageError that names the flag.
    """
    settings = {each.name for each in SETTINGS}
    for name, value in vars(arguments).items():
        if isinstance(value, str) and name not in settings:
            try:
                setattr(arguments, name, as_utf8(value))
            except ValueError as error:
                raise UsageError(f"{_OTHERS.get(name, f'--{name}')}: {error}") from None


def fill_in(arguments: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Give `arguments` each setting as the nearest source has it, None where none has; `sources` says which it was.

    Raises UsageError that names the source of what is wrong.
    """
    arguments.environment = environment  # that proxies stand in is everybody's, and has no prefix
    try:
        given: dict[str, Given] = {}
        for source in (
            from_flags(SETTINGS, arguments),
            from_environment(SETTINGS, environment),
            from_file(SETTINGS, arguments, environment),
        ):
            # an invite of a source farther away is no rival of the room of a nearer one, nor the other way round
            met = _PLACES & given.keys()
            taken = {name: each for name, each in source.items() if each.value or name not in _SPARED}
            given = {name: each for name, each in taken.items() if not (met and name in _PLACES)} | given
        values = values_of(SETTINGS, given)
    except WrongSetting as error:
        raise UsageError(str(error)) from None
    for each in SETTINGS:
        setattr(arguments, each.name, values.get(each.name))
    arguments.sources = {name: each.source for name, each in given.items()}
