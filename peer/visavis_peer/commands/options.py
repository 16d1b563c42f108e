"""From parsed arguments to settings."""

from __future__ import annotations

import argparse
from typing import Final

from pydantic import ValidationError

from visavis_peer.errors import UsageError
from visavis_peer.settings import AgentSettings
from visavis_shared.endpoints import parse_host_port

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds: a person at a terminal looks for the reason after that long."""


def timeout_of(arguments: argparse.Namespace) -> float:
    """Return `--timeout` in seconds.

    Raises UsageError.
    """
    timeout = DEFAULT_TIMEOUT if arguments.timeout is None else float(arguments.timeout)
    if not 0 < timeout <= 86_400:
        raise UsageError("--timeout must be more than 0 and at most 86400 seconds")
    return timeout


def stun_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the `--stun` servers.

    Raises UsageError.
    """
    for text in arguments.stun or ():
        try:
            parse_host_port(text, 3478)
        except ValueError as error:
            raise UsageError(f"--stun: {error}") from None
    return tuple(arguments.stun or ())


def agent_settings(arguments: argparse.Namespace) -> AgentSettings:
    """Return the settings of an agent.

    Raises UsageError that names the flag.
    """
    for name in ("server", "room"):
        if not getattr(arguments, name):
            raise UsageError(f"--{name} is required (or VISAVIS_{name.upper()}, or `{name}` in the --config file)")
    return build_settings(arguments, server=arguments.server, room=arguments.room, name=arguments.name)


def build_settings(arguments: argparse.Namespace, *, server: str, room: str, name: str | None) -> AgentSettings:
    """Return settings with what the common flags say.

    Raises UsageError that names the setting.
    """
    try:
        return AgentSettings(
            server=server,
            room=room,
            name=name,
            stun=stun_of(arguments),
            interfaces=tuple(arguments.interface or ()),
            port=arguments.port,
            connect_timeout=timeout_of(arguments),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{field}: {first['msg'].removeprefix('Value error, ')}") from None
