"""A program's settings from everywhere they come from: flags over environment over a TOML file over defaults.

Each setting is described once, as a `Setting`; its flag with the line of `--help`, its environment variable and its key
of the file are made from that. Which settings there are, and what they must be, is the program's business.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from visavis_shared.errors import USAGE, VisavisError
from visavis_shared.ids import printable
from visavis_shared.outlets import print_status
from visavis_shared.words import as_utf8, read_toml

PREFIX: Final = "VISAVIS_"
"""How the name of each environment variable begins."""
CONFIG: Final = "config"
"""The flag, and the variable, that name the file of settings; no setting itself, so that no file leads to another."""


class WrongSetting(VisavisError):
    """A flag, a variable or a key of the file has a value that cannot be, or there is no such key."""

    def __init__(self, reason: str, source: str = "") -> None:
        super().__init__(f"{source}: {reason}" if source else reason)
        self.reason = reason
        """What is wrong."""
        self.source = source
        """Where the value comes from, as a person finds it: `--port`, `VISAVIS_PORT`, `FILE: port`; or empty."""


def _as_it_is(value: object) -> object:
    return value


class Setting(NamedTuple):
    """What can be set, and what a person is told of it."""

    name: str
    """In the file and among the parsed arguments; the flag and the variable are called after it."""
    help: str = ""
    """The line of `--help`."""
    metavar: str = ""
    """What stands for its value there."""
    group: str = ""
    """Which commands have a flag for it, in the words of a program that has several."""
    choices: tuple[str, ...] = ()
    """The only values that its flag takes; none: any."""
    read: Callable[[object], object] = _as_it_is
    """Makes a value of what stands at the source: text; in a file whatever TOML has. Raises ValueError."""
    many: bool = False
    """Whether it has several values: a repeated flag, commas in the environment, an array in the file."""
    is_file: bool = False
    """Whether it names a file: then its bytes are the system's, and need be no UTF-8."""
    is_positional: bool = False
    """Whether it is a bare word of the command line."""
    is_switched_off: bool = False
    """Whether its flag, which takes no value, says `off`."""

    @property
    def flag(self) -> str:
        """What it is called on a command line."""
        if self.is_positional:
            return self.metavar
        return f"--{'no-' if self.is_switched_off else ''}{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """What it is called in the environment."""
        return PREFIX + self.name.upper()


class Given(NamedTuple):
    """A value, not read yet, and where it comes from."""

    value: object
    source: str


def add_flag(parser: argparse.ArgumentParser, setting: Setting, help: str | None = None) -> None:
    """Add the flag of a setting; `help` is what this command says of it instead."""
    text = setting.help if help is None else help
    if setting.is_positional:
        parser.add_argument(setting.name, metavar=setting.metavar, nargs="?", help=text)
    elif setting.is_switched_off:
        parser.add_argument(setting.flag, dest=setting.name, action="store_const", const="off", help=text)
    else:
        parser.add_argument(
            setting.flag,
            dest=setting.name,
            metavar=setting.metavar or None,
            choices=setting.choices or None,
            action="append" if setting.many else "store",
            help=text,
        )


def from_flags(settings: Iterable[Setting], arguments: argparse.Namespace) -> dict[str, Given]:
    """Return what flags give."""
    found = {each: getattr(arguments, each.name, None) for each in settings}
    return {each.name: Given(value, each.flag) for each, value in found.items() if value is not None}


def from_environment(settings: Iterable[Setting], environment: Mapping[str, str]) -> dict[str, Given]:
    """Return what variables give."""
    found = {each: environment[each.variable] for each in settings if each.variable in environment}
    return {
        each.name: Given([part.strip() for part in text.split(",")] if each.many else text, each.variable)
        for each, text in found.items()
    }


def from_file(
    settings: Iterable[Setting], arguments: argparse.Namespace, environment: Mapping[str, str]
) -> dict[str, Given]:
    """Return what the file gives that `--config` or `VISAVIS_CONFIG` names, if one does.

    Raises WrongSetting.
    """
    path = getattr(arguments, CONFIG, None) or environment.get(PREFIX + CONFIG.upper())
    if not path:
        return {}
    try:
        content = read_toml(Path(path))
    except ValueError as error:
        raise WrongSetting(str(error)) from None
    known = {each.name for each in settings}
    for name in content:
        if name not in known:
            raise WrongSetting(f"unknown setting {name!r}{nearest(name.replace('-', '_'), known)}", str(path))
    return {name: Given(value, f"{path}: {name}") for name, value in content.items()}


def values_of(settings: Iterable[Setting], given: Mapping[str, Given]) -> dict[str, object]:
    """Return the values of what is given, by name.

    Raises WrongSetting that names the source.
    """
    return {each.name: _value_of(each, given[each.name]) for each in settings if each.name in given}


def _value_of(setting: Setting, given: Given) -> object:
    value = given.value
    try:
        if not setting.is_file:
            value = [_unicode(item) for item in value] if isinstance(value, list) else _unicode(value)
        return setting.read(value)
    except ValueError as error:
        raise WrongSetting(str(error), given.source) from None


def _unicode(value: object) -> object:
    return as_utf8(value) if isinstance(value, str) else value


def as_text(value: object) -> str:
    """Read a text, which stands in quotes in a file: `server = 5` is no host called 5.

    Raises ValueError, as the following do.
    """
    if not isinstance(value, str):
        raise ValueError("must be text, in quotes")
    return value


def as_texts(value: object) -> list[str]:
    """Read several; a file may have one that stands alone."""
    return [as_text(each) for each in value] if isinstance(value, list) else [as_text(value)]


def as_path(value: object) -> Path:
    """Read the name of a file."""
    return Path(as_text(value))


def as_number(kind: type[int | float]) -> Callable[[object], int | float]:
    """Return what reads a number of this kind."""

    def read(value: object) -> int | float:
        try:
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return kind(str(value))  # not kind(5.5), which would be 5
            raise ValueError
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None

    return read


def as_switch(value: object) -> bool:
    """Read `on` or `off`; a file has true and false besides."""
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise ValueError(f"{value!r} is not on or off")
    return value == "on"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the question whether what is known and most like `name` was meant; nothing where nothing is."""
    from difflib import get_close_matches  # for who has mistyped something

    near = get_close_matches(name, sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


class FlagParser(argparse.ArgumentParser):
    """Puts examples first, and says what is wrong in one line, not after a screenful of what would be right."""

    def __init__(
        self,
        prog: str,
        examples: Sequence[tuple[str, str]],
        description: str,
        epilog: str = "",
        usage: str | None = None,
    ) -> None:
        """`examples` are command lines, each with what comes of it; the first word of `prog` names the program."""
        super().__init__(prog=prog, usage=usage, description=description, epilog=epilog or None, allow_abbrev=False)
        self._examples = examples

    def format_help(self) -> str:
        """Return the examples, and what argparse has to say."""
        lines = [f"  {command}\n      {outcome}" for command, outcome in self._examples]
        return "\n".join(["examples:", *lines, "", super().format_help()])

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and where the flags are listed."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        near = nearest(unknown[0], self._option_string_actions) if unknown and unknown[0].startswith("-") else ""
        complaint = printable(message.removeprefix("argument "))
        print_status(f"{self.prog.split()[0]}: {complaint}{near} (`{self.prog} --help` lists the flags)")
        raise SystemExit(USAGE)
