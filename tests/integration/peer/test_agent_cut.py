"""Messages of an agent that are on their way when its signaling connection breaks arrive once and in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.conditions import until
from tests.support.cutting_proxy import cutting_proxy
from tests.support.resuming import Member, cut_all
from tests.support.server_running import running_server
from tests.support.watched import outbox_of
from visavis_peer import Agent, AgentSettings
from visavis_peer.events import Joined
from visavis_shared.messages import CandidateMessage, CandidatePayload

BATCH = 20


@pytest.mark.parametrize("server_notices", [True, False])
async def test_what_a_cut_swallows_is_sent_again_once_and_in_order(server_notices: bool) -> None:
    async with all_closed(), running_server() as server, cutting_proxy(server.port) as proxy:
        proxy.server_notices = server_notices
        bob = Member(server.port, "r")
        await bob.join()
        server_url = f"http://127.0.0.1:{proxy.port}"
        async with Agent(AgentSettings(server=server_url, room="r", interfaces=("lo",), relay="only")) as ann:
            before = ann.peer_id
            events = ann.events()
            for cut, size in enumerate((0, 1, 1000)):  # nothing passes, the first byte of a frame, some messages
                proxy.swallow_after(size)
                for number in range(cut * BATCH, (cut + 1) * BATCH):
                    say(ann, bob, number)
                await until(lambda: not outbox_of(ann).waiting_count and proxy.swallowed)
                proxy.cut()
                async for event in events:
                    if isinstance(event, Joined):
                        break
            say(ann, bob, 3 * BATCH)
            await until(lambda: server.hub.counts.received["CANDIDATE"] > 3 * BATCH)
            await bob.settle()
            heard = [message["payload"]["session_id"] for message in bob.messages if message["type"] == "CANDIDATE"]
            assert [int(session) for session in heard if session.isdigit()] == list(range(3 * BATCH + 1))
            assert ann.peer_id == before
            assert [event["type"] for event in bob.events()] == ["PEER_JOINED"], "the room has noticed nothing"


@asynccontextmanager
async def all_closed() -> AsyncIterator[None]:
    try:
        yield
    finally:
        await cut_all()


def say(agent: Agent, target: Member, number: int) -> None:
    payload = CandidatePayload(session_id=str(number))
    outbox_of(agent).put(CandidateMessage(target_id=target.peer_id, payload=payload))
