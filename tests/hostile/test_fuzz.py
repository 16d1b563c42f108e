"""Members that say anything: no agent ends, no task dies, no other link notices."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.hostile.agents import agent
from tests.hostile.fuzzer import Fuzzer, play
from tests.support.server_running import server_process
from visavis_shared.invite import Invite

UNLIMITED = ("--message-rate", "0", "--pair-rate", "0", "--address-rate", "0")


async def _attack(seed: int, seconds: float, *, sealed: bool) -> None:
    async with server_process(*UNLIMITED) as server:
        invite = Invite(f"http://127.0.0.1:{server.port}", "r", secrets.token_bytes(16)) if sealed else None
        where = "" if invite is None else str(invite)
        async with (
            agent(server.port, "ann", invite=where) as ann,
            agent(server.port, "bob", invite=where) as bob,
        ):
            await asyncio.gather(ann.says("link_up", name="bob"), bob.says("link_up", name="ann"))
            await play(server.port, Fuzzer(seed), ("ann", "bob"), seconds, invite)
            ids = {(await each.says("joined"))["peer_id"] for each in (ann, bob)}
            down = [event for each in (ann, bob) for event in each.of("link_down") if event["peer_id"] in ids]
            assert not down, (seed, down)


@pytest.mark.timeout(120)
async def test_what_members_make_up_ends_no_agent_and_no_link_of_others() -> None:
    await asyncio.gather(_attack(1, 20.0, sealed=False), _attack(2, 20.0, sealed=True))


@pytest.mark.campaign
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2))
async def test_campaign_of_what_members_make_up(seed: int) -> None:
    await asyncio.gather(_attack(2 * seed, 60.0, sealed=False), _attack(2 * seed + 1, 60.0, sealed=True))
