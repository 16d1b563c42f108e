"""Agents whose signaling connection is cut: they are back as who they were, and nobody in the room notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

from tests.support.conditions import until
from visavis_peer import Agent, AgentSettings, Link
from visavis_peer.events import Event, Joined, LinkDown, PeerJoined, PeerLeft
from visavis_server.app import SignalingServer
from visavis_server.setup.settings import Settings

E = TypeVar("E", bound=Event)


class Watched:
    """An agent and what it has told."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.events: list[Event] = []
        publish = agent._events.publish

        def note(event: Event) -> None:
            self.events.append(event)
            publish(event)

        agent._events.publish = note  # type: ignore[method-assign,assignment]

    def heard(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


def cut(server: SignalingServer, agent: Agent) -> None:
    """End an agent's TCP connection as a network would."""
    server.switchboard._open[agent.peer_id].transport.abort()


def settings(port: int, relay: Literal["auto", "only"] = "auto") -> AgentSettings:
    return AgentSettings(server=f"http://127.0.0.1:{port}", room="r", secret=bytes(16), interfaces=("lo",), relay=relay)


@asynccontextmanager
async def pair(
    port: int, relay: Literal["auto", "only"] = "auto"
) -> AsyncIterator[tuple[Watched, Watched, list[Link]]]:
    ann, bob = Watched(Agent(settings(port, relay))), Watched(Agent(settings(port, relay)))
    async with ann.agent, bob.agent:
        yield ann, bob, [await anext(each.agent.links()) for each in (ann, bob)]


async def test_a_cut_connection_is_resumed_and_the_room_hears_nothing() -> None:
    async with (
        SignalingServer(Settings(host="127.0.0.1", port=0, stun_port=0)) as server,
        pair(server.port) as (ann, bob, links),
    ):
        before = ann.agent.peer_id
        cut(server, ann.agent)
        await until(lambda: len(ann.heard(Joined)) == 2)
        assert ann.agent.peer_id == before
        async with Agent(settings(server.port)) as late:
            await until(lambda: all(each.heard(PeerJoined)[-1].peer_id == late.peer_id for each in (ann, bob)))
        assert bob.heard(LinkDown) == ann.heard(LinkDown) == []
        assert {event.peer_id for event in bob.heard(PeerLeft)} <= {late.peer_id}
        _, writer = await links[0].open_stream("test")
        writer.write(b"still here")
        reader, _ = await links[1].accept_stream("test")
        assert await reader.read(10) == b"still here"


async def test_a_relayed_link_goes_on_by_the_relay_connection_of_the_new_session() -> None:
    async with (
        SignalingServer(Settings(host="127.0.0.1", port=0, stun_port=0)) as server,
        pair(server.port, "only") as (ann, _, links),
    ):
        former = ann.agent._peering.links._relay if ann.agent._peering else None
        cut(server, ann.agent)
        await until(lambda: len(ann.heard(Joined)) == 2)
        await until(lambda: ann.agent._peering and (relay := ann.agent._peering.links._relay) and relay.connected)
        assert ann.agent._peering is not None
        assert ann.agent._peering.links._relay is not former
        assert await links[0].ping(timeout=5) < 5
        assert links[0].path.kind == "server"


async def test_a_restarted_server_with_its_key_knows_its_agents(tmp_path: Path) -> None:
    key = tmp_path / "key"
    async with SignalingServer(Settings(host="127.0.0.1", port=0, stun=False, key_file=key)) as server:
        port = server.port
        async with pair(port, "only") as (ann, bob, links):
            ids = ann.agent.peer_id, bob.agent.peer_id
            for agent in (ann.agent, bob.agent):
                cut(server, agent)
            await server.close()
            async with SignalingServer(Settings(host="127.0.0.1", port=port, stun=False, key_file=key)):
                await until(lambda: all(len(each.heard(Joined)) == 2 for each in (ann, bob)), 20)
                assert (ann.agent.peer_id, bob.agent.peer_id) == ids
                # datagrams are lost until the relay knows the two again; streams are not
                _, writer = await links[0].open_stream("test")
                writer.write(b"still here")
                async with asyncio.timeout(20):
                    reader, _ = await links[1].accept_stream("test")
                    assert await reader.read(10) == b"still here"
                assert ann.heard(LinkDown) == bob.heard(LinkDown) == []
