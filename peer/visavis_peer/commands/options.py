"""From parsed arguments to settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from visavis_peer.commands.invites import HOW
from visavis_peer.commands.mistaken import what_was_meant
from visavis_peer.core.signaling.proxies import NO_PROXY_AT_ALL, InvalidProxy, parse_proxy, proxy_of_environment
from visavis_peer.errors import UsageError, reason_of
from visavis_peer.settings import CONNECT_TIMEOUT, FLAGS, AgentSettings
from visavis_peer.signaling.urls import base_url, websocket_url
from visavis_shared.invite import InvalidInvite, Invite, decode_secret


def timeout_of(arguments: argparse.Namespace) -> float:
    """Return `--timeout` in seconds."""
    return CONNECT_TIMEOUT if arguments.timeout is None else float(arguments.timeout)


def agent_settings(arguments: argparse.Namespace) -> AgentSettings:
    """Return the settings of an agent.

    Raises UsageError that names the flag, or says what is wrong with the invite.
    """
    invite = find_invite(arguments)
    if invite is None:
        for name in ("server", "room"):
            if not getattr(arguments, name):
                raise UsageError(
                    f"an invite is required, or --{name} (or VISAVIS_{name.upper()}, or `{name}` in the --config"
                    f" file); {HOW}"
                )
        invite = Invite(arguments.server, arguments.room, _read_secret(arguments.secret_file))
    return invite_settings(arguments, invite)


def invite_settings(arguments: argparse.Namespace, invite: Invite) -> AgentSettings:
    """Return the settings of an agent that follows `invite`.

    Raises UsageError that names the setting.
    """
    server = with_login(invite.server, arguments.server)
    return build_settings(arguments, server=server, room=invite.room, name=arguments.name, secret=invite.secret)


def proxy_of(arguments: argparse.Namespace, server: str) -> str | None:
    """Return the proxy that leads to `server`, as `--proxy` or else the environment has it.

    Raises UsageError, which names the variable at fault but not its value: that may hold a password.
    """
    name, text = arguments.sources.get("proxy", ""), arguments.proxy
    if text is None:
        found = proxy_of_environment(server, getattr(arguments, "environment", {}))
        if found is None:
            return None
        name, text = found
    if text in ("", NO_PROXY_AT_ALL):
        return None
    try:
        parse_proxy(text)
    except InvalidProxy as error:
        raise UsageError(f"{name}: {error}") from None
    return str(text)


def with_login(server: str, configured: str | None) -> str:
    """Return the server of an invite with the user name and the password that `--server` has for the same one."""
    try:
        same = configured is not None and base_url(websocket_url(configured)) == base_url(websocket_url(server))
    except UsageError:
        same = False  # what it says is not needed here
    return configured if configured is not None and same else server


def find_invite(arguments: argparse.Namespace) -> Invite | None:
    """Return the invite that `arguments` give, or the file that they name; None where there is neither.

    Raises UsageError.
    """
    text = arguments.invite
    if text is None and arguments.invite_file is not None:
        try:
            text = arguments.invite_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the invite in {arguments.invite_file}: {reason_of(error)}") from None
    if text is None:
        return None
    try:
        invite = Invite.parse(text)
    except InvalidInvite as error:
        hint = what_was_meant(text, arguments.verb, arguments.server) if arguments.invite is not None else ""
        raise UsageError(f"{error}{hint and f': {hint}'}") from None
    if invite.secret is None and not arguments.insecure:
        raise UsageError(
            "the invite has no secret (the part after the #): was it copied whole?"
            " (--insecure joins the room without one)"
        )
    return invite


def _read_secret(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return decode_secret(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--secret-file: cannot read {path}: {reason_of(error)}") from None
    except InvalidInvite as error:
        raise UsageError(f"--secret-file: {error}") from None


def build_settings(
    arguments: argparse.Namespace, *, server: str, room: str, name: str | None, secret: bytes | None = None
) -> AgentSettings:
    """Return settings with what the common flags say.

    Raises UsageError that names the setting.
    """
    common = {field: getattr(arguments, setting.name) for field, setting in FLAGS.items()}
    given = {field: value for field, value in common.items() if value is not None}
    own = {"server": server, "room": room, "name": name, "proxy": proxy_of(arguments, server) if server else None}
    return AgentSettings(**given | own, secret=secret)
