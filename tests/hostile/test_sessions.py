"""Ids that peers choose: whoever uses one again disturbs nobody."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.hostile.agents import agent
from tests.hostile.member import description, member
from tests.support.adversary import AdversarialServer, Client
from tests.support.server_running import server_process

pytestmark = pytest.mark.timeout(60)


async def test_two_peers_that_use_one_session_id_end_no_agent_and_no_link() -> None:
    async with server_process() as server, agent(server.port, "ann") as ann, agent(server.port, "bob") as bob:
        await asyncio.gather(ann.says("link_up", name="bob"), bob.says("link_up", name="ann"))
        async with member(server.port, name="p") as p, member(server.port, name="q") as q:
            victim = await p.peer("ann")
            assert await q.peer("ann") == victim
            p.say("OFFER", victim, **description(session_id="S1"))
            await p.hears(lambda message: message["type"] == "ANSWER")
            q.say("OFFER", victim, **description(session_id="S1"))
            await q.hears(lambda message: message["type"] == "ANSWER")
            p.say("OFFER", victim, **description(session_id="S2"))
            q.say("CANDIDATE", victim, session_id="S1", candidate="1 1 udp 1 127.0.0.1 9 typ host", ready=True)
            p.say("OFFER", victim, **description(session_id="S1"))
            assert (await q.answer(victim, "S3"))["payload"]["accepted"] is True
            assert (await p.answer(victim, "S4"))["payload"]["accepted"] is True
        assert not ann.of("link_down")
        assert not bob.of("link_down")


async def test_a_peer_that_says_more_in_a_session_than_there_is_to_say_fills_nothing() -> None:
    async with server_process("--message-rate", "0", "--pair-rate", "0") as server, agent(server.port, "ann") as ann:
        await ann.says("joined")
        async with member(server.port) as mallory:
            victim = await mallory.peer("ann")
            mallory.say("OFFER", victim, **description(session_id="S"))
            for number in range(400):
                mallory.say("CANDIDATE", victim, session_id="S", end_of_candidates=True, nat={"last_port": number + 1})
            assert (await mallory.answer(victim, "T"))["payload"]["accepted"] is True


MALFORMED: Final[tuple[Any, ...]] = (
    None,
    {"room_id": "r", "peers": [{"peer_id": "", "joined_at": "now"}]},
    {"room_id": "r", "peers": [], "resume": {"token": 5, "grace": "x"}},
)
"""Payloads of an ACK that no server sends."""


class _Babbling(AdversarialServer):
    """Answers every JOIN but the last with what makes no sense."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__()
        self.answers = answers

    async def _join(self, client: Client, message: dict[str, Any]) -> None:
        if not self.answers:
            await super()._join(client, message)
            return
        ack = {"type": "ACK", "peer_id": client.own_id, "room_id": "r", "payload": self.answers.pop(0)}
        await client.send(ack | {"request_id": message["request_id"]})


async def test_answers_of_the_server_that_make_no_sense_end_no_agent() -> None:
    async with _Babbling(list(MALFORMED)) as server, agent(server.port, "ann") as ann:
        await ann.says("joined")
        lost = [record["message"] for record in ann.of("error") if record["error"] == "signaling_lost"]
        assert len(lost) == len(MALFORMED)
        assert all("cannot understand" in text for text in lost)


async def test_peer_ids_and_tokens_of_a_kind_that_no_server_gives_end_no_agent() -> None:
    async with (
        AdversarialServer(relay_attack=lambda parcel: [parcel], ids=("zz", "not hex at all")) as server,
        agent(server.port, "ann") as ann,
        agent(server.port, "bob") as bob,
    ):
        await asyncio.gather(ann.says("link_up", name="bob"), bob.says("link_up", name="ann"))
