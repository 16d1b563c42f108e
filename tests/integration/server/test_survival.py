"""What connections cost that are lost: nothing. Against the process that an operator runs."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.conditions import until
from tests.support.resuming import Member, cut_all, members
from tests.support.rolling import Traveller, travellers
from tests.support.server_running import running_server, server_process
from tests.support.ws_raw import TIMEOUT

RESUMED_WITHIN = 5.0
"""Seconds: the bound that is promised for 100 rooms of four."""

QUIET = ("--log-level", "warning")
"""Nobody reads a server's log while it runs."""


@pytest.fixture(autouse=True)
async def nothing_stays_open() -> AsyncIterator[None]:
    yield
    await cut_all()


async def test_a_hundred_rooms_of_four_resume_after_every_connection_is_reset_at_once() -> None:
    """Offers of before that nobody has read, and those to members that are still away, come once and in order."""
    async with server_process(*QUIET) as server:
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


async def test_a_rolling_restart_under_load_loses_no_message_and_doubles_none(tmp_path: Path) -> None:
    options = ("--key-file", str(tmp_path / "keys"), "--reuse-port", "on", *QUIET)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process(*options))
        port, stun_port = str(server.port), str(server.stun_port)
        both = await travellers(server.port, pairs=25)
        everybody = [member for pair in both for member in pair]
        ids = [member.peer_id for member in everybody]
        stop = asyncio.Event()
        travelling = [asyncio.create_task(member.travel()) for member in everybody]
        streams = [asyncio.create_task(member.stream(stop)) for member in everybody]
        for move in 1, 2:
            await until(partial(all_have, everybody, 50 * move))
            before = server
            server = await stack.enter_async_context(server_process(*options, "--port", port, "--stun-port", stun_port))
            before.process.send_signal(signal.SIGTERM)
            await until(partial(all_moved, everybody, move))
            async with asyncio.timeout(TIMEOUT):
                assert await before.process.wait() == 0
        await until(partial(all_have, everybody, 200))
        stop.set()
        await asyncio.gather(*streams)
        for one, other in both:
            await until(partial(both_complete, one, other))
            assert one.arrived == list(range(other.number))
            assert other.arrived == list(range(one.number))
        assert [member.peer_id for member in everybody] == ids
        assert not any("PEER_LEFT" in member.seen for member in everybody)
        for task in travelling:
            task.cancel()
        await asyncio.wait(travelling)


def all_have(everybody: list[Traveller], count: int) -> bool:
    return all(len(member.arrived) >= count for member in everybody)


def all_moved(everybody: list[Traveller], times: int) -> bool:
    return all(member.moves == times for member in everybody)


def both_complete(one: Traveller, other: Traveller) -> bool:
    return len(one.arrived) >= other.number and len(other.arrived) >= one.number


def offer_to_others(member: Member, room: list[Member], *numbers: int) -> None:
    for number in numbers:
        for target in room:
            if target is not member:
                member.offer(target, number)


@pytest.mark.parametrize("turns", range(8))
async def test_a_client_that_connects_as_the_server_ends_is_served_or_turned_away(turns: int) -> None:
    """A turn of the loop early or late: no client may be accepted and then be forgotten."""
    async with running_server(drain_time=0) as server:
        client = socket.create_connection((server.host, server.port))
        client.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
    with client:
        async with asyncio.timeout(TIMEOUT):
            with suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
