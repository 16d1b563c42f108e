"""A relay as a process, and those who would have more of it than their share, or without being asked."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.hostile.agents import agent
from tests.hostile.clients import Clients, Relayed, Signaling, clients, introduce
from tests.hostile.member import description

pytestmark = pytest.mark.timeout(60)

LEFT, RIGHT = "192.0.2.1", "198.51.100.1"
ROUNDS: Final = 5
ONLY: Final = ("--relay", "only")
CROWD: Final = 16
PIECE: Final = 1000
"""Bytes of a message."""


async def _pair(here: Clients, room: str, left: str = LEFT, right: str = RIGHT) -> tuple[Signaling, Signaling]:
    one, other = await here.joined(left, room), await here.joined(right, room)
    await introduce(one, other)
    return one, other


async def _carry(here: Clients, one: Signaling, other: Signaling, count: int) -> tuple[Relayed, Relayed]:
    """Send so many messages over new relay connections, and return these once all have been dealt with."""
    sender, receiver = await here.relay(one), await here.relay(other)
    for _ in range(count):
        sender.put(other.peer_id, PIECE)
    await sender.settle()
    await receiver.settle()
    return sender, receiver


async def test_neither_leaving_nor_connecting_again_brings_another_rate() -> None:
    rate = 10_000
    async with clients("--relay-rate", str(rate)) as here:
        clock = asyncio.get_running_loop().time
        told: set[tuple[str, str]] = set()
        began, carried = clock(), 0
        one, other = await _pair(here, "r")
        for number in range(ROUNDS):
            sender, receiver = await _carry(here, one, other, 40)
            carried += receiver.size
            told.update(sender.codes())
            if number % 2:
                one, other = await _pair(here, f"r{number}")  # new connections, new ids
            else:
                for each in (one, other):
                    each.send(type="LEAVE")
                    await each.hears("ACK")
                    each.send(type="JOIN", room_id=f"again {number}")
                    await each.hears("ACK")
                await introduce(one, other)
        assert carried <= rate * (2 + clock() - began)
        assert {code for code, _ in told} == {"RATE_LIMITED"}
        assert all(details.startswith("limit: relay_rate; peer_id: ") for _, details in told)
        assert "relay_rate" in await here.server.said("relay_rate")


@pytest.mark.parametrize("limit", ["volume", "address_volume"])
async def test_neither_leaving_nor_connecting_again_brings_another_volume(limit: str) -> None:
    option = f"--relay-{limit.replace('_', '-')}"
    async with clients(option, str(20 * PIECE)) as here:
        told: set[str] = set()
        carried = 0
        for number in range(ROUNDS):
            # what one address sends counts whoever it is for
            right = RIGHT if limit == "volume" else f"198.51.100.{number}"
            one, other = await _pair(here, f"r{number}", right=right)
            sender, receiver = await _carry(here, one, other, 15)
            carried += receiver.count
            told.update(code for code, _ in sender.codes())
            one.send(type="LEAVE")
            await one.hears("ACK")
        assert carried == 20
        assert told == {"RELAY_LIMIT"}
        friends = await _pair(here, "friends", "203.0.113.1", "203.0.113.2")
        _, receiver = await _carry(here, *friends, 15)
        assert receiver.count == 15
        # what comes to an address uses up nothing of its own
        one, other = await _pair(here, "back", "203.0.113.9", LEFT)
        _, receiver = await _carry(here, one, other, 15)
        assert receiver.count == 15


async def test_neither_leaving_nor_connecting_again_brings_more_sessions() -> None:
    async with clients("--relay-sessions", "2") as here:
        carried = []
        for number in range(ROUNDS):
            one, other = await _pair(here, f"r{number}", right=f"198.51.100.{number}")
            sender, receiver = await _carry(here, one, other, 1)
            carried.append(receiver.count)
            for each in (one, other):
                each.send(type="LEAVE")
                await each.hears("ACK")
            one.abort()
            sender.abort()
        assert carried == [1, 1, 0, 0, 0]
        assert [code for code, _ in sender.codes()] == ["RELAY_LIMIT"]
        assert "relay_sessions" in await here.server.said("relay_sessions")


async def test_many_peers_of_one_address_take_nobodys_relay_away() -> None:
    """They join, and accept whatever they are offered: each link that an agent begins is a session of its address."""
    async with clients("--relay-sessions", str(CROWD // 2)) as here, agent(here.server.port, "ann", *ONLY) as ann:
        await ann.says("joined")
        async with asyncio.TaskGroup() as crowd:
            accepting = [crowd.create_task(_accept_all(here, number)) for number in range(CROWD)]
            await here.server.said("relay_sessions")  # there is no place left
            async with agent(here.server.port, "bob", *ONLY) as bob:
                await asyncio.gather(ann.says("link_up", name="bob"), bob.says("link_up", name="ann"))
            for task in accepting:
                task.cancel()


async def _accept_all(here: Clients, number: int) -> None:
    client = await here.joined(RIGHT, "r", display_name=f"m{number}", fresh=f"{number:032x}")
    while True:
        offer = await client.hears("OFFER")
        accepted = description(session_id=offer["payload"]["session_id"], accepted=True, end_of_candidates=True)
        client.send(type="ANSWER", target_id=offer["peer_id"], payload=accepted)


async def test_a_refusal_opens_nothing_and_no_other_message_does() -> None:
    async with clients() as here:
        one, other = await here.joined(LEFT), await here.joined(RIGHT)
        await introduce(one, other, accepted=False)
        for kind in ("ANSWER", "CANDIDATE"):  # nor an answer to nothing
            one.send(type=kind, target_id=other.peer_id, payload={"session_id": "s", "accepted": True})
            await other.hears(kind)
        sender, receiver = await _carry(here, one, other, 3)
        back, _ = await _carry(here, other, one, 3)
        assert receiver.count == 0
        for each in (sender, back):
            assert [code for code, _ in each.codes()] == ["PEER_NOT_FOUND"]
        await introduce(one, other)
        _, receiver = await _carry(here, one, other, 3)
        assert receiver.count == 3


async def test_what_is_dropped_is_told_once_a_second_and_counted() -> None:
    async with clients("--metrics-port", "0", "--log-level", "debug") as here:
        one, other = await _pair(here, "r")
        sender = await here.relay(one)
        for _ in range(100):
            sender.put(other.peer_id, PIECE)  # its relay connection is not here
        await sender.settle()
        assert [code for code, _ in sender.codes()] == ["RELAY_LIMIT"]
        assert "relay_early" in await here.server.said("relay_early")
