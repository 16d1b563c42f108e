"""Who does not know a room's secret, or lies about those who do, sends nobody away and fools nobody."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, Final

import pytest

from tests.hostile.agents import agent
from tests.hostile.member import description
from tests.support.adversary import AdversarialServer, Client, Letter
from tests.support.commands import DEADLINE, end, next_line, run, start
from tests.support.conditions import until
from tests.support.server_running import server_process
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(60)

NOTED: Final = b"somebody without the room's secret is trying to link"


def invite(port: int, secret: bytes | None = None) -> str:
    return str(Invite(f"http://127.0.0.1:{port}", "r", secret or secrets.token_bytes(16)))


def unsealed(puppet: Client, target: Client) -> Letter:
    return Letter(puppet, target, {"type": "OFFER", "payload": description(session_id=secrets.token_hex(8))})


async def test_a_pipe_notes_offers_of_strangers_once_and_goes_on_waiting_for_its_peer() -> None:
    async with AdversarialServer() as server:
        where = invite(server.port)
        common = ("--interface", "lo", "--name")
        waiting = await start("pipe", where, *common, "ann", stdin=asyncio.subprocess.PIPE)
        try:
            await until(lambda: server.clients)
            puppet = await server.add_puppet("mallory", "ab" * 8)
            for _ in range(3):
                await server.deliver([unsealed(puppet, server.client("ann"))])
            await next_line(waiting.stderr, NOTED)
            await server.deliver([unsealed(puppet, server.client("ann"))])
            other = run("pipe", where, *common, "bob", given=b"from bob")
            async with asyncio.timeout(DEADLINE):
                (code, output, _), (printed, errors) = await asyncio.gather(other, waiting.communicate(b"from ann"))
            assert (code, output, waiting.returncode, printed) == (0, "from ann", 0, b"from bob")
            assert NOTED not in errors
        finally:
            if waiting.returncode is None:
                await end(waiting)


async def test_a_wrong_secret_is_said_at_once_with_exit_code_6() -> None:
    async with server_process() as server, agent(server.port, "ann", invite=invite(server.port)) as ann:
        await ann.says("joined")
        code, output, errors = await run("ping", invite(server.port), "--interface", "lo")
        assert (code, output.count("peer_joined")) == (6, 0)
        assert "the secret does not match: was the invite copied whole?" in errors
        assert not ann.of("peer_joined", "error")


class _Swapping(AdversarialServer):
    """Says of alice that she is carol, and of carol that she is alice."""

    def _info(self, reader: Client, member: Client) -> dict[str, Any]:
        told = super()._info(reader, member)
        swapped = {"alice": "carol", "carol": "alice"}
        return told | {"display_name": swapped.get(member.name, member.name)}


async def test_a_peer_wanted_by_name_is_who_has_sealed_that_name_whatever_the_server_says() -> None:
    async with _Swapping() as server:
        where = invite(server.port)
        async with agent(0, "alice", invite=where) as alice, agent(0, "carol", invite=where) as carol:
            true_id = (await alice.says("joined"))["peer_id"]
            await carol.says("link_up", name="alice", peer_id=true_id)
            code, output, errors = await run(
                "ping", where, "--interface", "lo", "--json", "--peer", "alice", "-c", "1", "--name", "bob"
            )
            assert code == 0, errors
            links = {
                record["name"]: record["peer_id"]
                for record in map(json.loads, output.splitlines())
                if record["event"] == "link_up"
            }
            assert links["alice"] == true_id


async def test_a_fresh_value_that_the_server_swaps_leads_to_a_refusal_and_nothing_else() -> None:
    class Swapping(AdversarialServer):
        def _info(self, reader: Client, member: Client) -> dict[str, Any]:
            told = super()._info(reader, member)
            return told | {"fresh": "0" * 32} if member.name == "ann" else told

    async with Swapping() as server:
        where = invite(server.port)
        async with agent(0, "ann", invite=where) as ann, agent(0, "bob", invite=where) as bob:
            await asyncio.gather(ann.says("error", error="authentication_failed"), bob.says("error"))
            assert not ann.of("link_up")
            assert not bob.of("link_up")


async def test_a_server_that_knows_no_private_rooms_is_told_nothing_of_a_room_with_a_secret() -> None:
    class Old(AdversarialServer):
        def _welcome(self, client: Client) -> dict[str, Any]:
            welcome = super()._welcome(client)
            del welcome["private_rooms"]
            return welcome

    async with Old() as server:
        code, _, errors = await run("ping", invite(server.port), "--interface", "lo")
        assert code == 9
        assert "has no private rooms" in errors
        assert not server.clients
