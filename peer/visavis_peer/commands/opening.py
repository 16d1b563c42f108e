"""What comes before a verb's work: settings are checked, the server is asked, and meanwhile the verb is imported.

The engine, ICE and the models of messages take longer to import than a server takes to answer: so the request for the
WebSocket leaves first. Until then nothing of them may be imported (tests/ordinary/test_start.py has the list).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final

from visavis_peer.commands.invites import HOW
from visavis_peer.errors import UsageError
from visavis_shared.loops import relax_collector
from visavis_shared.threads import call_apart

if TYPE_CHECKING:
    from visavis_peer.settings import AgentSettings
    from visavis_shared.invite import Invite


HEAD_START: Final = 0.2
"""Seconds that the request has before everything else is imported: where it takes longer, the network is waited for,
and there is time."""


async def run_verb(arguments: argparse.Namespace) -> int:
    """Do what the verb of `arguments` does; return the exit code.

    Raises UsageError, and what that raises.
    """
    if not arguments.needs_room:
        code: int = await (await _load(arguments.verb)).run(arguments)
        return code
    from visavis_peer.signaling.connection import SignalingClient  # aiohttp, once it is known that it will be needed
    from visavis_peer.signaling.urls import chosen_proxy, websocket_url

    settings, invite = _settings_of(arguments)
    client = SignalingClient(websocket_url(settings.server), settings.token, chosen_proxy(settings.proxy))
    client.begin()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEAD_START):
                await client.requested()
        module = await _load(arguments.verb)
        code = await module.run(arguments, settings, client, *([] if invite is None else [invite]))
    finally:
        await client.close()
    return code


async def _load(verb: str) -> ModuleType:
    """Import the module of a verb beside the event loop, which goes on with the connection."""
    module = await call_apart(import_module, f"visavis_peer.commands.{verb}")
    relax_collector()
    return module


def _settings_of(arguments: argparse.Namespace) -> tuple[AgentSettings, Invite | None]:
    """Return the settings of the agent, and the invite that was made for who comes, if one was.

    Raises UsageError.
    """
    from visavis_peer.commands.options import agent_settings, invite_settings
    from visavis_peer.signaling.urls import base_url, websocket_url
    from visavis_shared.invite import Invite

    if not arguments.makes_invite or arguments.invite or arguments.invite_file or arguments.room:
        settings = agent_settings(arguments)
        if arguments.verb == "agent" and arguments.timeout is None:
            # unattended: it may be started before its network or its server is there
            settings = dataclasses.replace(settings, connect_timeout=None)
        return settings, None
    if not arguments.server:
        raise UsageError(f"an invite is required, or --server URL (or VISAVIS_SERVER) to make one; {HOW}")
    invite = Invite.make(base_url(websocket_url(arguments.server)))
    return invite_settings(arguments, invite), invite
