"""Agents in the test's own event loop, with everything that they have told so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tests.support.conditions import until
from visavis_peer import Agent, AgentSettings, Link
from visavis_peer.events import Event
from visavis_peer.peers.peering import Peering
from visavis_peer.signaling.outbox import Outbox


class Listening(Protocol):
    """A signaling server on loopback."""

    @property
    def port(self) -> int:
        """TCP port."""


class Watched:
    """An agent with everything it has told so far."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.events: list[Event] = []
        self.links: list[Link] = []
        self._tasks = [
            asyncio.create_task(self._keep(agent.events(), self.events)),
            asyncio.create_task(self._keep(agent.links(), self.links)),
        ]

    async def _keep(self, source: AsyncIterator[Any], kept: list[Any]) -> None:
        async for item in source:
            kept.append(item)  # noqa: PERF401 -- each as it comes

    def of(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def finish(self) -> None:
        """Wait until the agent, which must have been closed, has told everything.

        Raises ItemsLost.
        """
        await asyncio.gather(*self._tasks)


def peering_of(agent: Agent) -> Peering:
    """Return what keeps the links of an agent that is in a room: hidden from applications, and tests are none."""
    peering = agent._peering  # noqa: SLF001 -- see above
    assert peering is not None
    return peering


def outbox_of(agent: Agent) -> Outbox:
    """Return what an agent sends by: hidden as well."""
    return agent._outbox  # noqa: SLF001 -- see above


@asynccontextmanager
async def watched(server: Listening | str, name: str, **settings: Any) -> AsyncIterator[Watched]:
    """Run an agent on loopback in room `r`, unless `settings` say otherwise."""
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server.port}"
    values = {"server": url, "room": "r", "name": name, "interfaces": ("lo",)} | settings
    agent = Agent(AgentSettings(**values))
    watch = Watched(agent)
    try:
        async with agent:
            yield watch
    finally:
        await agent.close()
        await watch.finish()


@asynccontextmanager
async def linked_pair(server: Listening | str, **settings: Any) -> AsyncIterator[tuple[Watched, Watched]]:
    """Run two agents and wait until they have a link."""
    async with watched(server, "ann", **settings) as ann, watched(server, "bob", **settings) as bob:
        await until(lambda: ann.links and bob.links)
        yield ann, bob
