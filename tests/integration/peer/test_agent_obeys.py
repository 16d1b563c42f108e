"""What an agent does about what its server says besides introducing peers."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support import commands
from tests.support.conditions import until
from tests.support.server_running import joined, running_server, server_process
from tests.support.watched import watched
from tests.support.ws_raw import RawClient
from visavis_peer.core.signaling import pacing
from visavis_peer.errors import Refused, ServerBusy
from visavis_peer.events import Failure, Joined, Notice
from visavis_peer.signaling import ending
from visavis_server.app import SignalingServer
from visavis_server.core.access.auth import make_room_token
from visavis_server.core.access.causes import Cause
from visavis_server.sockets.switchboard import now_ms
from visavis_shared.closing import CloseCode
from visavis_shared.messages import CandidateMessage, CandidatePayload, Discover

SECRET: Final = bytes(range(32))


@pytest.mark.parametrize("ban", [False, True])
async def test_an_agent_that_is_put_out_ends_with_the_reason_and_does_not_come_back(ban: bool) -> None:
    async with running_server() as server, await joined(server, "r", create={}) as owner:
        async with watched(server, "ann") as ann:
            owner.send(type="KICK", target_id=ann.agent.peer_id, payload={"ban": ban, "reason": "noise"})
            with pytest.raises(Refused, match="removed from the room: noise"):
                await ann.agent.wait_finished()
            (failure,) = ann.of(Failure)
            assert failure.error == "refused"
            assert len(ann.of(Joined)) == 1
        await until(lambda: set(server.hub.rooms.peers) == {owner.peer_id})


@pytest.mark.parametrize("verb", ["agent", "ping", "pipe"])
async def test_commands_that_are_put_out_end_with_9(verb: str) -> None:
    async with server_process() as server:
        owner = await RawClient.connect(server.port)
        assert (await owner.request(type="JOIN", room_id="r", payload={"create": {}}))["type"] == "ACK"
        process = await commands.start(verb, "--server", commands.url(server), "--room", "r", "--interface", "lo")
        try:
            newcomer = await owner.receive()
            owner.send(type="KICK", target_id=newcomer["peer_id"], payload={"reason": "noise"})
            line = await commands.next_line(process.stderr, b"visavis: ")
            assert line == b"visavis: removed from the room: noise\n"
            assert await process.wait() == 9
        finally:
            await commands.end(process)
            owner.abort()


async def test_a_notice_is_an_event() -> None:
    async with running_server() as server, watched(server, "ann") as ann:
        server.switchboard.perform(server.hub.governing.broadcast("restart at \u202enoon", now_ms()))
        await until(lambda: ann.of(Notice))
        assert ann.of(Notice) == [Notice("restart at \u202enoon")]


async def test_goaway_holds_messages_back_and_an_agent_that_is_not_let_go_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "LEAVE_SLACK", 0.05)
    async with running_server() as server, watched(server, "ann") as ann, await joined(server, "r") as other:
        peer_id = ann.agent.peer_id
        server.switchboard.perform(server.hub.drain({peer_id: 0}, now_ms()))
        server.hub.rooms.draining = False  # it stays: only the agent can end the connection
        await until(lambda: ann.agent._outbox._held)
        ann.agent._outbox.put(Discover())
        await until(lambda: len(ann.of(Joined)) == 2)
        await until(lambda: server.hub.counts.received["DISCOVER"] == 1)
        assert ann.agent.peer_id == peer_id
        assert "about to stop" in ann.of(Failure)[0].message
        assert server.hub.counts.received["DISCOVER"] == 1
        other.send(type="KEEP_ALIVE")
        assert (await other.receive())["type"] in ("ACK", "OFFER"), "no PEER_LEFT"


async def test_an_agent_keeps_below_the_rate_that_the_welcome_tells() -> None:
    async with running_server(message_rate=1) as server, watched(server, "ann") as ann:
        for _ in range(10):
            ann.agent._outbox.put(Discover())
        await until(lambda: server.hub.counts.received["DISCOVER"] == 10)
        assert server.hub.refusals[Cause.CONNECTION_RATE] == 0


async def test_a_server_that_finds_a_message_one_too_many_gets_none_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "PAUSE", 3600.0)
    async with running_server(pair_rate=1) as server, watched(server, "ann") as ann, await joined(server, "r") as other:
        for number in range(30):
            payload = CandidatePayload(session_id=str(number), end_of_candidates=True)
            ann.agent._outbox.put(CandidateMessage(target_id=other.peer_id, payload=payload))
        await until(lambda: server.hub.refusals[Cause.PAIR_RATE])
        until_then = asyncio.get_running_loop().time() + 3000
        await until(lambda: ann.agent._outbox._pacer.delay(until_then) > 0)


async def test_after_4029_an_agent_stays_away_for_as_long_as_limits_fill_again() -> None:
    async with running_server() as server, watched(server, "ann") as ann:
        switchboard = server.switchboard
        switchboard.dismiss(switchboard._open[ann.agent.peer_id], CloseCode.TOO_MANY, "too many messages")
        await until(lambda: ann.of(Failure))
        (failure,) = ann.of(Failure)
        assert failure.error == "signaling_lost"
        assert "code 4029" in failure.message
        assert "trying again in 10." in failure.message


async def test_retry_after_is_heeded_at_the_first_connection_too() -> None:
    async with running_server() as server:
        server.hub.rooms.draining = True
        refused = asyncio.create_task(_end_drain_after_refusal(server))
        async with watched(server, "ann") as ann:
            await refused
            assert [failure.error for failure in ann.of(Failure)] == ["signaling_lost"]
            assert "HTTP 503" in ann.of(Failure)[0].message
            assert "trying again in 1." in ann.of(Failure)[0].message
        assert server.hub.refusals[Cause.DRAINING] == 1


async def test_a_wait_longer_than_the_time_given_is_a_busy_server() -> None:
    async with running_server(peer_limit=1) as server, await RawClient.connect(server.port):
        with pytest.raises(ServerBusy, match="HTTP 503"):
            async with watched(server, "ann", connect_timeout=5):
                pass


async def test_a_token_by_flag_environment_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(SECRET.hex())
    token = make_room_token(SECRET, "r", int(time.time()) + 60)
    async with server_process("--room-secret-file", str(path)) as server:
        arguments = ("agent", "--server", commands.url(server), "--room", "r", "--interface", "lo", "--json")
        by_flag = await commands.start(*arguments, "--token", token)
        by_environment = await commands.start(*arguments, VISAVIS_TOKEN=token)
        try:
            for process in (by_flag, by_environment):
                assert (await commands.next_event(process, "joined"))["room"] == "r"
        finally:
            await commands.end(by_flag)
            await commands.end(by_environment)
        code, output, errors = await commands.run(*arguments)
        assert (code, json.loads(output.splitlines()[-1])["exit_code"]) == (9, 9)
        assert "this server asks for a token" in errors
        code, _, errors = await commands.run(*arguments, VISAVIS_TOKEN=token.replace("vrt1", "vrt2"))
        assert code == 9
        assert errors.startswith("visavis: ")
        assert token[5:] not in errors


async def test_a_web_token_that_is_not_valid_is_refused_at_the_door(tmp_path: Path) -> None:
    path = tmp_path / "jwks"
    path.write_text('{"keys":[{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}')
    async with running_server(jwks_file=path) as server:
        with pytest.raises(Refused, match=r"HTTP 401 .*the token is not valid"):
            async with watched(server, "ann", token="e30.e30.AAAA"):
                pass


async def test_a_token_with_a_space_is_a_usage_error() -> None:
    code, _, errors = await commands.run("agent", "--server", "http://x", "--room", "r", "--token", "a b")
    assert code == 2
    assert errors.startswith("visavis: --token: ")
    assert "a b" not in errors


async def _end_drain_after_refusal(server: SignalingServer) -> None:
    await until(lambda: server.hub.refusals[Cause.DRAINING])
    server.hub.rooms.draining = False
