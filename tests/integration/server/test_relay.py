"""The relay on the wire: plain WebSocket clients that know the token of their welcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.conditions import until
from tests.support.scrape import scrape
from tests.support.server_running import running_server
from tests.support.ws_raw import RawClient, upgrade_request
from visavis_server.app import SignalingServer
from visavis_server.core.access.causes import Cause

pytestmark = pytest.mark.usefixtures("engine")


class Client:
    """A peer of the seed's kind that also uses the relay."""

    def __init__(self, session: aiohttp.ClientSession, url: str, signaling: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._url = url
        self.signaling = signaling
        self._sockets = [signaling]
        self.peer_id = ""
        self.token = ""

    async def join(self) -> None:
        welcome = await self.signaling.receive_json()
        self.peer_id, self.token = welcome["peer_id"], welcome["payload"]["relay"]["token"]
        await self.signaling.send_json({"type": "JOIN", "room_id": "r"})

    async def send(self, kind: str, target: Client) -> None:
        await self.signaling.send_json({"type": kind, "target_id": target.peer_id, "payload": {"session_id": "s"}})

    async def hear(self, kind: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = await self.signaling.receive_json()
            if message["type"] == kind:
                return message

    async def relay(self, token: str | None = None, **headers: str) -> aiohttp.ClientWebSocketResponse:
        headers["Authorization"] = f"Bearer {self.token if token is None else token}"
        socket = await self._session.ws_connect(f"{self._url}/relay", headers=headers)
        self._sockets.append(socket)
        return socket

    async def close(self) -> None:
        for socket in self._sockets:
            await socket.close()


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[tuple[SignalingServer, Client, Client]]:
    """A server and two members of one room."""
    async with (
        running_server(**settings) as server,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{server.port}"
        clients = [Client(session, url, await session.ws_connect(f"{url}/ws")) for _ in range(2)]
        for client in clients:
            await client.join()
        try:
            yield server, clients[0], clients[1]
        finally:
            for client in clients:
                await client.close()


async def introduce(first: Client, second: Client) -> None:
    await first.hear("PEER_JOINED")
    await first.send("OFFER", second)
    await second.hear("OFFER")
    await second.send("ANSWER", first)
    await first.hear("ANSWER")


def to(client: Client, body: bytes) -> bytes:
    return bytes.fromhex(client.peer_id) + body


async def test_bytes_pass_between_peers_that_have_exchanged_offer_and_answer() -> None:
    async with world() as (_, ann, bob):
        await introduce(ann, bob)
        left, right = await ann.relay(), await bob.relay()
        await left.send_bytes(to(bob, b"\x00opaque\xff"))
        assert await right.receive_bytes() == to(ann, b"\x00opaque\xff")
        await right.send_bytes(to(ann, bytes(65_528)))
        assert await left.receive_bytes() == to(bob, bytes(65_528))


async def test_nothing_passes_before_the_answer_and_the_sender_is_told() -> None:
    async with world() as (_, ann, bob):
        left, right = await ann.relay(), await bob.relay()
        await ann.hear("PEER_JOINED")
        await ann.send("OFFER", bob)
        await bob.hear("OFFER")
        await left.send_bytes(to(bob, b"too early"))
        refusal = await left.receive_json()
        assert (refusal["type"], refusal["payload"]["code"]) == ("ERROR", "PEER_NOT_FOUND")
        assert refusal["payload"]["details"] == f"peer_id: {bob.peer_id}"
        await bob.send("ANSWER", ann)
        await ann.hear("ANSWER")
        await left.send_bytes(to(bob, b"now"))
        assert await right.receive_bytes() == to(ann, b"now")


@pytest.mark.parametrize("flight", [[b"first"], [bytes([number]) * 4096 for number in range(16)]], ids=["one", "most"])
async def test_a_first_flight_waits_for_the_peers_connection(flight: list[bytes]) -> None:
    """Up to 64 KiB in 16 messages, which come behind the answer to the upgrade."""
    async with world() as (server, ann, bob):
        await introduce(ann, bob)
        left = await ann.relay()
        for body in flight:
            await left.send_bytes(to(bob, body))
        await until(lambda: server.relay is not None and server.relay.relayed == sum(map(len, flight)))
        right = await bob.relay()
        for body in flight:
            assert await right.receive_bytes() == to(ann, body)


async def test_leaving_the_room_ends_the_permission() -> None:
    async with world() as (_, ann, bob):
        await introduce(ann, bob)
        left = await ann.relay()
        await bob.signaling.send_json({"type": "LEAVE"})
        await bob.hear("ACK")
        await ann.hear("PEER_LEFT")
        await left.send_bytes(to(bob, b"gone"))
        assert (await left.receive_json())["payload"]["code"] == "PEER_NOT_FOUND"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic abc"])
async def test_without_a_valid_token_there_is_no_connection(header: str) -> None:
    async with world() as (server, _, _), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"http://127.0.0.1:{server.port}/relay", headers={"Authorization": header})
        assert refused.value.status == 401
        assert server.hub.refusals[Cause.RELAY_TOKEN] == 1
        assert not server.hub.refusals[Cause.WRONG_TOKEN], "nobody is locked out for having been forgotten"


async def upgrade(server: SignalingServer, path: str, *offers: str, **headers: str) -> str:
    """Ask for a WebSocket with these lines of subprotocols, and return status line and headers of the answer."""
    lines = "\r\nSec-WebSocket-Protocol: ".join(offers)
    client = await RawClient.open(server.port)
    client.write(upgrade_request(path, Sec_WebSocket_Protocol=lines, **headers))
    response = await client.read_response()
    client.abort()
    return response


def protocol_of(response: str) -> list[str]:
    return [line.partition(": ")[2] for line in response.splitlines() if line.lower().startswith("sec-websocket-prot")]


async def test_a_page_shows_its_token_as_a_subprotocol_and_is_answered_by_the_plain_one() -> None:
    async with world() as (server, ann, bob), aiohttp.ClientSession() as session:
        await introduce(ann, bob)
        right = await bob.relay()
        url = f"http://127.0.0.1:{server.port}/relay"
        async with session.ws_connect(url, protocols=["visavis.relay", f"token.{ann.token}"]) as left:
            assert left.protocol == "visavis.relay"
            await left.send_bytes(to(bob, b"from a page"))
            assert await right.receive_bytes() == to(ann, b"from a page")
        for offers in (
            (f"token.{ann.token},visavis.relay",),
            ("chat", "visavis.relay", f"  token.{ann.token}  "),
        ):
            response = await upgrade(server, "/relay", *offers, Authorization="Basic cHJveHk6cHJveHk=")
            assert " 101 " in response
            assert protocol_of(response) == ["visavis.relay"]
            assert ann.token not in response


async def test_a_token_among_the_subprotocols_counts_only_beside_the_relays_own_and_alone() -> None:
    async with world() as (server, ann, bob):
        for offers in (
            (f"token.{ann.token}",),
            ("visavis.relay",),
            ("visavis.relay, token.",),
            ("visavis.relay, token.wrong",),
            (f"visavis.relay, {ann.token}",),
            (f"visavis.relay, token.{ann.token}, token.{bob.token}",),
            (f"visavis.relay, token.{ann.token}", f"token.{ann.token}"),
            (f"Visavis.Relay, token.{ann.token}",),
            ("visavis.relay, " + ", ".join(["token.x"] * 900),),
        ):
            response = await upgrade(server, "/relay", *offers)
            assert " 401 " in response, offers
            assert not protocol_of(response)
        # what is said to this server by its own header counts first
        response = await upgrade(server, "/relay", "visavis.relay, token.wrong", Visavis_Token=ann.token)
        assert " 101 " in response
        response = await upgrade(server, "/ws", f"visavis.relay, token.{ann.token}")
        assert " 101 " in response
        assert not protocol_of(response)


async def refused(attempt: Awaitable[aiohttp.ClientWebSocketResponse]) -> int:
    """Return the status of an upgrade that is refused for now."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await attempt
    assert error.value.headers is not None
    assert error.value.headers["Retry-After"] == "30"
    return error.value.status


async def test_relay_connections_count_in_the_limit_of_an_address() -> None:
    site = {"X-Forwarded-For": "198.51.100.7"}
    proxies = ("127.0.0.1",)
    async with (
        world(metrics_port=0, trusted_proxy=proxies, address_limit=1) as (server, ann, bob),
        aiohttp.ClientSession() as session,
    ):
        signaling = f"http://127.0.0.1:{server.port}/ws"
        first = await ann.relay(**site)
        assert await refused(bob.relay(**site)) == 429
        assert await refused(session.ws_connect(signaling, headers=site)) == 429
        second = await ann.relay(**site)
        assert (await first.receive()).data == 4009, "the new one takes the place of the former"
        found = await scrape(server)
        assert found("visavis_connections", kind="relay") == 1
        assert found("visavis_refusals_total", cause="address_connections") == 2
        await ann.relay(**{"X-Forwarded-For": "198.51.100.8"})
        assert (await second.receive()).data == 4009, "from another address, too"
        async with session.ws_connect(signaling, headers=site) as member:
            await member.receive_json()
            assert await refused(bob.relay(**site)) == 429
        await until(lambda: len(server.hub.rooms.peers) == 2)
        await bob.relay(**site)


async def test_relay_connections_count_in_the_total() -> None:
    async with world(metrics_port=0, peer_limit=3) as (server, ann, bob), aiohttp.ClientSession() as session:
        signaling = f"http://127.0.0.1:{server.port}/ws"
        await ann.relay()
        assert await refused(bob.relay()) == 503
        assert await refused(session.ws_connect(signaling)) == 503
        latter = await ann.relay()
        assert (await scrape(server))("visavis_refusals_total", cause="connections") == 2
        await latter.close()
        relays = server.relay_connections
        assert relays is not None
        await until(lambda: not relays.outboxes)
        async with session.ws_connect(signaling) as member:
            await member.receive_json()
            assert await refused(bob.relay()) == 503


async def test_an_upgrade_to_the_relay_that_is_never_completed_waits_at_the_door_as_any_other() -> None:
    async with world(metrics_port=0) as (server, _, _):
        half = await RawClient.open(server.port)
        half.write(upgrade_request("/relay")[:-2])
        await until(lambda: len(server.door) == 1)
        assert (await scrape(server))("visavis_connections_pending") == 1
        half.write(b"\r\n")
        assert " 401 " in await half.read_response()
        assert (await scrape(server))("visavis_connections_pending") == 0
        half.abort()


async def test_a_server_without_relay_offers_none() -> None:
    async with (
        running_server(relay="never") as server,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{server.port}"
        async with session.ws_connect(f"{url}/ws") as signaling:
            assert "relay" not in (await signaling.receive_json())["payload"]
        async with session.get(f"{url}/relay") as response:
            assert response.status == 404


async def test_a_later_connection_replaces_the_former_one() -> None:
    async with world() as (_, ann, bob):
        await introduce(ann, bob)
        former, left = await bob.relay(), await ann.relay()
        latter = await bob.relay()
        assert (await former.receive()).type is aiohttp.WSMsgType.CLOSE
        assert former.close_code == 4009
        await left.send_bytes(to(bob, b"to the latter"))
        assert await latter.receive_bytes() == to(ann, b"to the latter")


@pytest.mark.parametrize("message", ["text", b"short", bytes(8)])
async def test_what_is_no_relay_message_is_refused_and_the_connection_lives_on(message: str | bytes) -> None:
    async with world() as (_, ann, bob):
        await introduce(ann, bob)
        left, right = await ann.relay(), await bob.relay()
        if isinstance(message, str):
            await left.send_str(message)
        else:
            await left.send_bytes(message)
        assert (await left.receive_json())["payload"]["code"] == "INVALID_MESSAGE"
        await left.send_bytes(to(bob, b"fine"))
        assert await right.receive_bytes() == to(ann, b"fine")


async def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async with world() as (_, ann, bob):
        left = await ann.relay()
        await left.send_bytes(to(bob, bytes(65_529)))
        assert (await left.receive()).data == 1009


async def test_a_pairs_volume_is_bounded_and_the_limit_is_told() -> None:
    async with world(relay_volume=1000) as (_, ann, bob):
        await introduce(ann, bob)
        left, right = await ann.relay(), await bob.relay()
        await left.send_bytes(to(bob, bytes(900)))
        await left.send_bytes(to(bob, bytes(200)))
        refusal = await left.receive_json()
        assert refusal["payload"]["code"] == "RELAY_LIMIT"
        assert len(await right.receive_bytes()) == 908


async def test_who_does_not_read_loses_messages_and_signaling_does_not_notice() -> None:
    async with world(relay_rate=0, relay_address_rate=0) as (server, ann, bob):
        await introduce(ann, bob)
        left, right = await ann.relay(), await bob.relay()
        assert server.relay is not None
        right._response.connection.transport.pause_reading()  # type: ignore[union-attr]
        while not server.relay.drops.total():
            for _ in range(50):
                await left.send_bytes(to(bob, bytes(60_000)))
        await ann.signaling.send_json({"type": "KEEP_ALIVE", "request_id": "k"})
        assert (await ann.hear("ACK"))["request_id"] == "k"
        await bob.signaling.send_json({"type": "KEEP_ALIVE", "request_id": "l"})
        assert (await bob.hear("ACK"))["request_id"] == "l"
        right._response.connection.transport.resume_reading()  # type: ignore[union-attr]
        assert len(await right.receive_bytes()) == 60_008
        assert not right.closed


async def test_the_invite_page_tells_what_to_run_and_lets_nothing_else_run() -> None:
    async with (
        running_server() as server,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{server.port}"
        async with session.get(f"{url}/r/%3Cscript%3Ealert(1)%3C%2Fscript%3E") as response:
            page = await response.text()
            assert response.status == 200
            assert "<script>alert" not in page
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
            assert "visavis pipe" in page
            assert "pip install" not in page
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "'unsafe-inline'" not in policy
            assert response.headers["Referrer-Policy"] == "no-referrer"
        for bad in ("/r/", "/r/%00", "/r/" + "x" * 129):
            async with session.get(url + bad) as response:
                assert response.status == 404
        async with session.post(f"{url}/r/room") as response:
            assert response.status == 405


async def test_closing_the_server_closes_relay_connections() -> None:
    async with world() as (server, ann, _):
        left = await ann.relay()
        closing = asyncio.create_task(server.close())
        assert (await left.receive()).data == 1001
        await closing
