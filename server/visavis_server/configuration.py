"""Where settings come from: flag over environment over file over default."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from visavis_server.settings import Settings
from visavis_server.usage import UsageError as UsageError
from visavis_shared.descriptors import print_status
from visavis_shared.ids import printable
from visavis_shared.words import as_utf8, read_toml

ENVIRONMENT_PREFIX: Final = "VISAVIS_"
OTEL_ENVIRONMENT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""What every program with OpenTelemetry is told its collector by."""
_LISTS: Final = frozenset({"stun_address", "turn_url", "allowed_origin", "allowed_host", "trusted_proxy"})
"""Settings with several values: a repeated flag, a list in the file, commas in the environment."""
_METAVARS: Final = {
    "stun": "on|off",
    "exposure": "seed|members|counts",
    "relay": "auto|never|only",
    "engine": "own|aiohttp",
    "log_level": "debug|info|warning|error",
    "log_format": "text|json",
    "log_addresses": "plain|hashed|none",
}


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings.

    Raises UsageError; SystemExit for `--help`, `--version` and flags that do not exist.
    """
    flags = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    config = flags.pop("config", None) or environment.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    sources: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, value in (_read_file(Path(config)) if config else {}).items():
        values[name], sources[name] = value, f"{config}: {name}"
    if environment.get(OTEL_ENVIRONMENT) and environment.get("OTEL_SDK_DISABLED", "").lower() != "true":
        values["otel_endpoint"], sources["otel_endpoint"] = environment[OTEL_ENVIRONMENT], OTEL_ENVIRONMENT
    for name in Settings.model_fields:
        text = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if text is not None:
            values[name] = [part.strip() for part in text.split(",")] if name in _LISTS else text
            sources[name] = ENVIRONMENT_PREFIX + name.upper()
    for name, value in flags.items():
        values[name], sources[name] = value, _flag(name)
    for name, value in values.items():
        if isinstance(value, str | list) and not sources[name].startswith(f"{config}: "):
            values[name] = _checked(name, sources[name], value)
    try:
        return Settings.model_validate(values)
    except UsageError as error:
        raise UsageError(error.reason, sources.get(error.setting, error.setting)) from None


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, not after a screenful of what would be right."""

    def error(self, message: str) -> NoReturn:
        """Say it, and where the flags are listed."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        hint = _nearest(unknown[0], self._option_string_actions) if unknown and unknown[0].startswith("-") else ""
        complaint = printable(message.removeprefix("argument "))
        print_status(f"{self.prog}: {complaint}{hint} (`{self.prog} --help` lists the flags)")
        raise SystemExit(2)


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the question whether what is known and most like `name` was meant; nothing where nothing is."""
    from difflib import get_close_matches  # for who has mistyped something

    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="visavis-server",
        description="Signaling server with STUN: introduces peers to each other so that they can connect directly.",
        epilog=f"Every option can also be set as {ENVIRONMENT_PREFIX}NAME in the environment or in a TOML file.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings by name, for example port = 8080")
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f" (default: {_shown(field.default)})"
        parser.add_argument(
            _flag(name),
            metavar=_METAVARS.get(name, name.rpartition("_")[2].upper()),
            action="append" if name in _LISTS else "store",
            help=" ".join((field.description or "").replace("`", "").split()) + default,
        )
    return parser


class _Version(argparse.Action):
    """Prints the version, which takes long to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from visavis_server import __version__

        sys.stdout.write(f"visavis-server {__version__}\n")
        parser.exit()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = read_toml(path)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for name in content:
        if name not in Settings.model_fields:
            hint = _nearest(name.replace("-", "_"), Settings.model_fields)
            raise UsageError(f"{path}: unknown setting {name!r}{hint}")
    return content


def _checked(name: str, source: str, value: Any) -> Any:
    """Return the value of a flag or variable as Unicode; the name of a file is the system's, and stays as it is.

    Raises UsageError.
    """
    if Settings.model_fields[name].annotation == Path | None:
        return value
    try:
        return [as_utf8(item) for item in value] if isinstance(value, list) else as_utf8(value)
    except ValueError as error:
        raise UsageError(str(error), source) from None
