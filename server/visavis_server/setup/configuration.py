"""Where settings come from: flag over environment over file over default."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

from visavis_server.core.errors import SettingsError
from visavis_server.setup.settings import Metavar, Settings
from visavis_shared.configuration import (
    CONFIG,
    PREFIX,
    FlagParser,
    Given,
    Setting,
    WrongSetting,
    add_flag,
    from_environment,
    from_file,
    from_flags,
    values_of,
)

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

OTEL_ENVIRONMENT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""What every program with OpenTelemetry is told its collector by."""
_UNITS: Final = {
    **dict.fromkeys(("timeout", "interval", "ttl", "time", "grace"), "SECONDS"),
    **dict.fromkeys(("rate", "limit", "capacity", "sessions"), "N"),
}
"""What stands for the value, by the last word of a setting's name."""
_EXAMPLES: Final = (
    (
        "visavis-server",
        "listens on TCP 8080 and UDP 3478 and 3479, without TLS: for a first try, or a network of your own",
    ),
    (
        "visavis-server --host 127.0.0.1 --trusted-proxy 127.0.0.1 --stun-address 0.0.0.0",
        "behind a web server on this machine that does TLS and passes everything on: clients use https://",
    ),
)
"""Command lines, each with what comes of it."""


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings.

    Raises SettingsError; SystemExit for `--help`, `--version` and flags that do not exist.
    """
    settings = _described()
    parsed = _parser(settings).parse_args(arguments)
    try:
        given = from_file(settings, parsed, environment)
        if environment.get(OTEL_ENVIRONMENT) and environment.get("OTEL_SDK_DISABLED", "").lower() != "true":
            given["otel_endpoint"] = Given(environment[OTEL_ENVIRONMENT], OTEL_ENVIRONMENT)
        given |= from_environment(settings, environment) | from_flags(settings, parsed)
        return Settings.model_validate(values_of(settings, given))
    except WrongSetting as error:
        raise SettingsError(error.reason, error.source) from None
    except SettingsError as error:
        source = given[error.setting].source if error.setting in given else error.setting
        raise SettingsError(error.reason, source) from None


def _described() -> list[Setting]:
    """Return the settings as their model describes them."""
    return [_setting(name, field) for name, field in Settings.model_fields.items()]


def _setting(name: str, field: FieldInfo) -> Setting:
    default = "" if field.default in (None, (), "") else f" (default: {_shown(field.default)})"
    return Setting(
        name=name,
        help=_description(field.description or "") + default,
        metavar=_metavar(name, field),
        many=get_origin(field.annotation) is tuple,
        is_file=field.annotation == Path | None,
    )


def _parser(settings: Iterable[Setting]) -> FlagParser:
    parser = FlagParser(
        "visavis-server",
        _EXAMPLES,
        "Signaling server with STUN: introduces peers to each other so that they can connect directly.",
        f"Every option can also be set as {PREFIX}NAME in the environment or in a TOML file.",
        "visavis-server [flags]",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    parser.add_argument(f"--{CONFIG}", metavar="FILE", help="TOML file with settings by name, for example port = 8080")
    for each in settings:
        add_flag(parser, each)
    return parser


def _metavar(name: str, field: FieldInfo) -> str:
    """Return what stands for the value of a setting."""
    kind, last = field.annotation, name.rpartition("_")[2]
    said = [each.text for each in field.metadata if isinstance(each, Metavar)]
    if said:
        return said[0]
    if kind is bool:
        return "on|off"
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "|".join(kind)
    return "FILE" if kind == Path | None else _UNITS.get(last) or last.upper()


def _description(text: str) -> str:
    """Return what a setting is, with other ones called as they are on a command line."""
    quoted = re.compile(r"`(\w+)`|\b([a-z]+(?:_[a-z]+)+)\b")

    def called(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return f"--{name.replace('_', '-')}" if name in Settings.model_fields else name

    return " ".join(quoted.sub(called, text).replace("`", "").split())


class _Version(argparse.Action):
    """Prints the version, which takes long to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from visavis_server import __version__

        sys.stdout.write(f"visavis-server {__version__}\n")
        parser.exit()


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
