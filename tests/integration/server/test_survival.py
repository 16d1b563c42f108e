"""What connections cost that are lost: nothing. Against the process that an operator runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.support.resuming import Member, cut_all, members
from tests.support.server_running import server_process

RESUMED_WITHIN = 5.0
"""Seconds: the bound that is promised for 100 rooms of four."""


@pytest.fixture(autouse=True)
async def nothing_stays_open() -> AsyncIterator[None]:
    yield
    await cut_all()


async def test_a_hundred_rooms_of_four_resume_after_every_connection_is_reset_at_once() -> None:
    """Offers of before that nobody has read, and those to members that are still away, come once and in order."""
    async with server_process() as server:
        rooms = await members(server.port, rooms=100, size=4)
        everybody = [(member, room) for room in rooms for member in room]
        ids = [member.peer_id for member, _ in everybody]
        for member, room in everybody:
            offer_to_others(member, room, 0, 1)
            await member.settle()
        for member, _ in everybody:
            member.cut()
        random.shuffle(everybody)

        async def come_back(member: Member, room: list[Member]) -> None:
            await member.resume()
            offer_to_others(member, room, 2, 3, 4)

        async with asyncio.timeout(RESUMED_WITHIN):
            await asyncio.gather(*(come_back(member, room) for member, room in everybody))
        for _ in "all is handled", "all has arrived":
            for member, _ in everybody:
                await member.settle()
        assert [member.peer_id for room in rooms for member in room] == ids
        for member, room in everybody:
            assert member.events() == []
            assert [message for message in member.messages if message["type"] == "ERROR"] == []
            for sender in room:
                expected = [] if sender is member else [f"{sender.peer_id}-{number}" for number in range(5)]
                assert [offer for offer in member.offers() if offer.startswith(sender.peer_id)] == expected


def offer_to_others(member: Member, room: list[Member], *numbers: int) -> None:
    for number in numbers:
        for target in room:
            if target is not member:
                member.offer(target, number)
