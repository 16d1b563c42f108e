"""TURN against a real coturn: credentials minted by the server, relayed candidates of the agents."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from aioice import stun

from tests.hostile.bystander import bystander
from tests.hostile.member import description, member
from tests.support.conditions import until
from tests.support.requirements import require
from visavis_peer import Agent, AgentSettings, Link
from visavis_peer.core.nat.destinations import PACKET_COUNT
from visavis_peer.events import Failure
from visavis_peer.ice import IceSession, TurnServer
from visavis_peer.ice.turn import allocate
from visavis_peer.nat.turn_servers import TurnServers
from visavis_server.app import SignalingServer
from visavis_server.core.access.turn import TurnService
from visavis_server.setup.settings import Settings
from visavis_shared.messages import IceServer

SHIPPED: Final = Path(__file__).parents[3] / "deploy" / "coturn" / "turnserver.conf"
SECRETS: Final = ("the new one", "the old one")


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The shipped configuration, but that here it may relay to loopback; knows both secrets."""
    require("coturn")
    folder = tmp_path_factory.mktemp("coturn")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    ours = ["listening-ip=127.0.0.1", "relay-ip=127.0.0.1", f"listening-port={port}", "allow-loopback-peers"]
    ours += ["allowed-peer-ip=127.0.0.1"]
    ours += [f"static-auth-secret={secret}" for secret in SECRETS]
    ours += [f"pidfile={folder}/pid", f"userdb={folder}/db", "log-file=stdout"]
    configuration = folder / "turnserver.conf"
    configuration.write_text(SHIPPED.read_text() + "\n".join(ours) + "\n")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["turnserver", "-c", str(configuration)], stdout=log, stderr=log)
        try:
            _wait_until_it_answers(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    request = bytes(stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST))
    give_up_at = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect(("127.0.0.1", port))
        while time.monotonic() < give_up_at and process.poll() is None:
            try:
                probe.send(request)
                probe.recv(2048)
            except OSError:
                continue
            return
    raise AssertionError("coturn does not answer")


def minted(secret: str, *, age: int = 0) -> IceServer:
    """Return credentials as the server made them `age` seconds ago."""
    service = TurnService(("turn:127.0.0.1",), secret.encode(), 600)
    listed = service.ice_servers("198.51.100.7", int((time.time() - age) * 1000))
    return IceServer.model_validate_json(listed[1:-1])


async def allocates(port: int, username: str, credential: str) -> bool:
    """Whether coturn gives an address for these credentials."""
    session = IceSession()
    sock = await allocate(session, TurnServer(("127.0.0.1", port), username, credential))
    if sock is not None:
        await sock.close()
    await session.close()
    return sock is not None


@pytest.mark.parametrize("secret", SECRETS)
async def test_minted_credentials_allocate_before_and_after_the_secret_changes(coturn: int, secret: str) -> None:
    server = minted(secret)
    assert await allocates(coturn, server.username, server.credential)


async def test_expired_tampered_and_foreign_credentials_do_not(coturn: int) -> None:
    expired, fresh, foreign = minted(SECRETS[0], age=601), minted(SECRETS[0]), minted("another secret")
    assert not await allocates(coturn, expired.username, expired.credential)
    expiry, _, user = fresh.username.partition(":")
    later = f"{int(expiry) + 3600}:{user}"
    assert not await allocates(coturn, later, fresh.credential)
    assert not await allocates(coturn, f"{expiry}:{'b' * 16}", fresh.credential)
    assert not await allocates(coturn, foreign.username, foreign.credential)


@asynccontextmanager
async def room(coturn: int, folder: Path) -> AsyncIterator[tuple[Settings, Path, list[Agent]]]:
    """A server that mints, and two agents that may use nothing but relays."""
    secret = folder / "secret"
    secret.write_text(f"{SECRETS[1]}\n")
    settings = Settings(
        host="127.0.0.1",
        port=0,
        stun_port=0,
        turn_url=(f"turn:127.0.0.1:{coturn}?transport=udp", f"turn:127.0.0.1:{coturn}?transport=tcp"),
        turn_secret_file=secret,
    )
    async with SignalingServer(settings) as server:
        options = AgentSettings(
            server=f"http://127.0.0.1:{server.port}", room="r", secret=bytes(16), interfaces=("lo",), relay="only"
        )
        async with Agent(options) as ann, Agent(options) as bob:
            yield settings, secret, [ann, bob]


async def test_agents_link_by_relayed_candidates(coturn: int, tmp_path: Path) -> None:
    async with room(coturn, tmp_path) as (_, _, agents):
        links: list[Link] = [await anext(agent.links()) for agent in agents]
        await until(lambda: all(link.path.kind == "relay-relay" for link in links))
        assert {(link.path.path, link.path.reason) for link in links} == {("relay", "by a TURN server")}
        reader, writer = await links[0].open_stream("test")
        writer.write(b"x" * 100_000)
        writer.write_eof()
        theirs, back = await links[1].accept_stream("test")
        assert await theirs.read() == b"x" * 100_000
        back.write_eof()
        assert await reader.read() == b""


async def test_few_packets_go_by_a_turn_server_to_who_does_not_answer(coturn: int, tmp_path: Path) -> None:
    async with room(coturn, tmp_path) as (_, _, agents):
        ann = agents[0]
        events = ann.events()
        port = urlsplit(ann.settings.server).port
        assert port is not None
        with bystander("127.0.0.1", 32) as target:
            async with member(port, secret=bytes(16)) as mallory:
                offer = await mallory.hears(
                    lambda heard: (heard["type"], heard.get("peer_id")) == ("OFFER", ann.peer_id)
                )
                mallory.say_sealed(
                    "ANSWER", ann.peer_id, session_id=offer["payload"]["session_id"], accepted=False, reason="no"
                )
                for number in range(4):
                    whole = description(session_id=f"S{number}", candidates=target.candidates())
                    mallory.say_sealed("OFFER", ann.peer_id, **whole)
                async with asyncio.timeout(30):
                    while not (isinstance(event := await anext(events), Failure) and event.error == "no_path"):
                        pass
            assert 0 < target.look() <= PACKET_COUNT


async def test_a_new_secret_is_used_once_it_stands_in_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    settings = Settings(
        host="127.0.0.1", port=0, stun=False, turn_url=("turn:192.0.2.1:3478",), turn_secret_file=secret
    )
    async with SignalingServer(settings) as server:
        assert server.hub.turn is not None
        before = server.hub.turn.ice_servers("198.51.100.7", 0)
        secret.write_text("second\nfirst\n")
        await until(lambda: server.hub.turn is not None and server.hub.turn.ice_servers("198.51.100.7", 0) != before)
        assert server.hub.turn.secret == b"second"


async def test_a_list_in_the_place_of_another_ends_the_look_ups_of_that() -> None:
    """A signaling server that lists servers again and again has few names looked up at a time."""
    used: list[asyncio.Task[list[TurnServer]]] = []
    servers = TurnServers(lambda task: used.append(task) if task is not None else None, lambda: None)
    for _ in range(100):
        listed = IceServer(urls=("turn:127.0.0.1:3478",), username="u", credential="c", ttl=60)
        servers.put([listed], "127.0.0.1")
    await asyncio.wait(used)
    assert [task.cancelled() for task in used] == [True] * 99 + [False]
    assert [server.address for server in used[-1].result()] == [("127.0.0.1", 3478)]
    await servers.close()
