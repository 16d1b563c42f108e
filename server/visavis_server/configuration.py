"""Where settings come from: flag over environment over file over default."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from visavis_server.settings import Settings
from visavis_server.usage import UsageError as UsageError
from visavis_shared.ids import printable
from visavis_shared.outlets import print_status
from visavis_shared.words import as_utf8, read_toml

ENVIRONMENT_PREFIX: Final = "VISAVIS_"
OTEL_ENVIRONMENT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""What every program with OpenTelemetry is told its collector by."""
_LISTS: Final = frozenset({"stun_address", "turn_url", "allowed_origin", "allowed_host", "trusted_proxy"})
"""Settings with several values: a repeated flag, a list in the file, commas in the environment."""
_METAVARS: Final = {
    "exposure": "seed|members|counts",
    "relay": "auto|never|only",
    "engine": "own|aiohttp",
    "log_level": "debug|info|warning|error",
    "log_format": "text|json",
    "log_addresses": "plain|hashed|none",
    "allowed_origin": "URL",
    "allowed_host": "NAME",
    "trusted_proxy": "ADDRESS",
    "jwt_audience": "NAME",
    "otel_endpoint": "URL",
    "path_prefix": "PATH",
    "invite_install": "TEXT",
    "relay_rate": "BYTES",
    "relay_volume": "BYTES",
    "relay_address_rate": "BYTES",
    "relay_address_volume": "BYTES",
}
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
    """Puts examples first, and says what is wrong in one line, not after a screenful of what would be right."""

    def format_help(self) -> str:
        lines = [f"  {command}\n      {outcome}" for command, outcome in _EXAMPLES]
        return "\n".join(["examples:", *lines, "", super().format_help()])

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
        usage="visavis-server [flags]",
        description="Signaling server with STUN: introduces peers to each other so that they can connect directly.",
        epilog=f"Every option can also be set as {ENVIRONMENT_PREFIX}NAME in the environment or in a TOML file.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings by name, for example port = 8080")
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, (), "") else f" (default: {_shown(field.default)})"
        parser.add_argument(
            _flag(name),
            metavar=_metavar(name),
            action="append" if name in _LISTS else "store",
            help=_description(field.description or "") + default,
        )
    return parser


def _metavar(name: str) -> str:
    """Return what stands for the value of a setting."""
    kind, last = Settings.model_fields[name].annotation, name.rpartition("_")[2]
    if kind is bool:
        return "on|off"
    return "FILE" if kind == Path | None else _METAVARS.get(name) or _UNITS.get(last) or last.upper()


def _description(text: str) -> str:
    """Return what a setting is, with other ones called as they are on a command line."""
    quoted = re.compile(r"`(\w+)`|\b([a-z]+(?:_[a-z]+)+)\b")

    def called(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return _flag(name) if name in Settings.model_fields else name

    return " ".join(quoted.sub(called, text).replace("`", "").split())


class _Version(argparse.Action):
    """Prints the version, which takes long to look up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from visavis_server import __version__

        sys.stdout.write(f"visavis-server {__version__}\n")
        parser.exit()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


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
