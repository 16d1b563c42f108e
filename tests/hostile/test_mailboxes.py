"""Mail for peers that are away, and peers that are never there: one address takes nothing of the others'."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

import pytest

from tests.hostile.agents import agent
from tests.hostile.clients import Clients, Signaling, clients
from tests.support.server_running import server_process
from tests.support.ws_raw import RawClient
from visavis_peer.core.meeting.sealing import room_password
from visavis_server.core.signaling.mailbox import SENDER_SIZE
from visavis_server.core.signaling.rules import ADDRESS_LIMIT
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(60)

VICTIM, STRANGER, FRIEND = "192.0.2.1", "198.51.100.1", "203.0.113.1"
PADDING: Final = "x" * 30_000
UNLIMITED: Final = ("--join-rate", "0", "--message-rate", "0", "--pair-rate", "0", "--address-rate", "0")
GHOSTS: Final = 300


async def _away(here: Clients, address: str = VICTIM) -> Signaling:
    """Return a member of the room whose connection is gone, and known to be so."""
    client = await here.joined(address, resume=True)
    witness = await here.joined("203.0.113.99")
    client.abort()
    while True:  # what is sent to a peer that is connected is not kept for it alone
        witness.send(type="OFFER", target_id=client.peer_id, payload={"session_id": PADDING}, request_id="o")
        witness.send(type="KEEP_ALIVE", request_id="k")
        if (await witness.hears_one("o", "k"))["request_id"] == "o":
            return client


async def _told(sender: Signaling, target_id: str, count: int) -> int:
    """Send so many large OFFERs; return how many are refused."""
    for number in range(count):
        sender.send(type="OFFER", target_id=target_id, payload={"session_id": PADDING}, request_id=f"o{number}")
    sender.send(type="KEEP_ALIVE", request_id="end")
    refused = 0
    while (message := await sender.receive()).get("request_id") != "end":
        if message["type"] == "ERROR":
            assert message["payload"]["code"] == "PEER_NOT_FOUND"
            refused += 1
    return refused


async def test_a_stranger_fills_no_mailbox_however_many_connections_it_has() -> None:
    async with clients(*UNLIMITED) as here:
        victim = await _away(here)
        friend = await here.joined(FRIEND)
        fits = SENDER_SIZE // len(PADDING)
        kept = 0
        for _ in range(8):
            stranger = await here.joined(STRANGER)
            kept += 10 - await _told(stranger, victim.peer_id, 10)
        assert kept == fits
        friend.send(type="OFFER", target_id=victim.peer_id, payload={"session_id": "of a friend"})
        assert await _told(friend, victim.peer_id, 1) == 0
        back = await here.connect(VICTIM)
        answer = await back.resumes(victim.token)
        assert answer["type"] == "ACK"
        assert (await back.hears("OFFER", peer_id=friend.peer_id))["payload"]["session_id"] == "of a friend"
        assert "mailbox" in await here.server.said("mailbox")


async def test_who_has_many_addresses_keeps_no_friend_out_either() -> None:
    async with clients(*UNLIMITED) as here:
        victim = await _away(here)
        strangers = [await here.joined(f"198.51.100.{number}") for number in range(1, 7)]
        for stranger in strangers:
            await _told(stranger, victim.peer_id, 3)
        friend = await here.joined(FRIEND)
        assert await _told(friend, victim.peer_id, 1) == 0
        back = await here.connect(VICTIM)
        await back.resumes(victim.token)
        await back.hears("OFFER", peer_id=friend.peer_id)


async def test_the_mail_of_one_address_takes_no_space_of_others() -> None:
    """20 of its peers are away, written to from 20 addresses: 4 MiB are kept, and another's mail all the same."""
    async with clients(*UNLIMITED) as here:
        greedy = [await here.joined(STRANGER, resume=True) for _ in range(20)]
        for each in greedy:
            each.abort()
        victim = await _away(here)
        refused = 0
        for number in range(20):
            sender = await here.joined(f"198.51.100.{number + 2}")
            refused += sum([await _told(sender, each.peer_id, 1) for each in greedy])
        assert 400 * len(PADDING) - refused * len(PADDING) <= 4 << 20
        assert refused > 200
        friend = await here.joined(FRIEND)
        assert await _told(friend, victim.peer_id, 2) == 0


async def test_ghosts_of_one_address_are_as_many_as_it_may_have_connected() -> None:
    async with clients(*UNLIMITED) as here:
        witness = await here.joined(FRIEND)
        for _ in range(GHOSTS):
            ghost = await here.joined(STRANGER, "haunted", resume=True)
            ghost.abort()
        for _ in range(200):
            witness.send(type="DISCOVER", room_id="haunted", request_id="d")
            listed = (await witness.hears("PEER_LIST"))["payload"]["peers"]
            if len(listed) <= ADDRESS_LIMIT:
                break
            await asyncio.sleep(0)
        assert 0 < len(listed) <= ADDRESS_LIMIT
        friend = await here.joined(FRIEND, "haunted", resume=True)
        assert friend.joined["type"] == "ACK"


@pytest.mark.timeout(120)
async def test_ghosts_of_who_has_the_secret_keep_no_two_agents_apart() -> None:
    """On this host nobody is counted by address: all 300 are there, and stay longer than the agents take to link.

    Each of them is offered to in vain for five seconds, 64 at a time.
    """
    secret = secrets.token_bytes(16)
    async with server_process(*UNLIMITED, "--resume-grace", "300") as server:
        invite = str(Invite(f"http://127.0.0.1:{server.port}", "r", secret))
        password = {"password": room_password(secret, "r")}
        for number in range(GHOSTS):
            ghost = await RawClient.connect(server.port)
            payload = {"display_name": f"ghost {number}", "fresh": secrets.token_hex(16), "private": password}
            ghost.send(type="JOIN", room_id="r", payload=payload | {"resume": True})
            await ghost.receive()
            ghost.abort()
        async with agent(0, "ann", invite=invite) as ann, agent(0, "bob", invite=invite) as bob:
            joined = await ann.says("joined")
            assert joined["peers"] >= GHOSTS, joined
            await asyncio.gather(ann.says("link_up", 60.0, name="bob"), bob.says("link_up", 60.0, name="ann"))
            assert len(ann.of("peer_joined")) >= GHOSTS
            assert not ann.of("peer_left")


async def test_who_has_no_secret_makes_no_ghosts_in_a_room_with_one() -> None:
    async with clients(*UNLIMITED) as here:
        secret = secrets.token_bytes(16)
        member = await here.joined(FRIEND, "r", private={"password": room_password(secret, "r")})
        for number in range(20):
            stranger = await here.joined(STRANGER, f"r{number}" if number else "r", resume=True)
            stranger.abort()
        member.send(type="DISCOVER")
        assert len((await member.hears("PEER_LIST"))["payload"]["peers"]) == 1
