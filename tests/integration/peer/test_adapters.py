"""The adapters of net against servers that misbehave: connection, relay, STUN, names, NAT type and interfaces."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast

import pytest
from aiohttp import WSMsgType, web

from tests.support.conditions import until
from tests.support.http_server import Handler, http_server
from visavis_peer.core.nat.observations import FilteringProbe
from visavis_peer.errors import (
    AgentError,
    Refused,
    ServerBusy,
    SignalingUnreachable,
    TokenUntimely,
    UsageError,
    from_server,
)
from visavis_peer.host.interfaces import list_interfaces
from visavis_peer.host.names import resolve
from visavis_peer.nat import pystun
from visavis_peer.nat.filtering import answers_change_request, probe_filtering
from visavis_peer.nat.lifetime import measure_silences
from visavis_peer.peers.relay_connection import QUEUE_MAX, RelayClient
from visavis_peer.signaling import connection
from visavis_peer.signaling.connection import SignalingClient
from visavis_peer.signaling.urls import websocket_url
from visavis_shared.errors import ErrorCode
from visavis_shared.messages import KeepAlive
from visavis_shared.stun import (
    CHANGE_IP,
    Address,
    BindingRequest,
    binding_error,
    binding_response,
    parse_binding_request,
)
from visavis_shared.tasks import end

WELCOME = '{"type":"ACK","peer_id":"aa","payload":{"message":"connected"}}'


def websocket(*messages: str | bytes) -> Handler:
    """A server that sends these messages, then closes with 4000."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        for message in messages:
            if isinstance(message, str):
                await response.send_str(message)
            else:
                await response.send_bytes(message)
        await response.close(code=4000, message=b"enough\x1b")
        return response

    return handle


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://h", "ws://h/ws"),
        ("https://h:8443/prefix/", "wss://h:8443/prefix/ws"),
        ("ws://h/ws", "ws://h/ws"),
        ("wss://h/a/ws/", "wss://h/a/ws"),
        ("h:8080", "wss://h:8080/ws"),
        ("meet.example", "wss://meet.example/ws"),
        ("meet.example/prefix", "wss://meet.example/prefix/ws"),
        ("//meet.example", "wss://meet.example/ws"),
        ("203.0.113.7:8080", "wss://203.0.113.7:8080/ws"),
        ("[2001:db8::1]", "wss://[2001:db8::1]/ws"),
        ("localhost.example", "wss://localhost.example/ws"),
        ("localhost:8080", "ws://localhost:8080/ws"),
        ("den.localhost", "ws://den.localhost/ws"),
        ("127.1.2.3", "ws://127.1.2.3/ws"),
        ("192.168.1.2:8080", "ws://192.168.1.2:8080/ws"),
        ("mia:sesame@10.0.0.1", "ws://mia:sesame@10.0.0.1/ws"),
        ("172.16.0.1", "ws://172.16.0.1/ws"),
        ("172.32.0.1", "wss://172.32.0.1/ws"),
        ("[::1]:8080", "ws://[::1]:8080/ws"),
        ("[fd00::1]", "ws://[fd00::1]/ws"),
        ("http://[::1]:80", "ws://[::1]:80/ws"),
    ],
)
def test_a_server_may_be_given_in_several_ways(server: str, url: str) -> None:
    assert websocket_url(server) == url


@pytest.mark.parametrize("server", ["", "ftp://h", "http://", "http://h:99999", "http://h:x"])
def test_what_is_no_server_is_refused(server: str) -> None:
    with pytest.raises(UsageError, match="not a URL"):
        websocket_url(server)


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, ServerBusy), (429, ServerBusy), (401, Refused), (403, Refused), (404, SignalingUnreachable)],
)
async def test_http_refusals_are_told_apart(status: int, error: type[AgentError]) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with http_server(refuse) as url:
        with pytest.raises(error, match=f"HTTP {status}"):
            await SignalingClient(url).connect()


async def test_a_server_of_another_protocol_is_recognised() -> None:
    async with http_server(websocket('{"type":"ERROR","payload":{"code":"INTERNAL_ERROR","message":"x"}}')) as url:
        with pytest.raises(SignalingUnreachable, match="did not send the welcome"):
            await SignalingClient(url).connect()


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.05)
    forever = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await forever.wait()
        return response

    async with http_server(silent) as url:
        try:
            with pytest.raises(SignalingUnreachable, match="did not answer"):
                await SignalingClient(url).connect()
        finally:
            forever.set()


async def test_whoever_is_stopped_amid_taking_leave_leaves_no_session_behind() -> None:
    """What is left open tells of itself when it is collected, which fails the test."""
    forever = asyncio.Event()

    async def deaf(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str(json.dumps({"type": "ACK", "payload": {"message": "Connected"}, "peer_id": "00" * 8}))
        await forever.wait()  # and never answers the close frame
        return response

    async with http_server(deaf) as url:
        try:
            client = SignalingClient(url)
            await client.connect()
            leaving = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            await end(leaving)
            assert leaving.cancelled()
        finally:
            forever.set()
    del client, leaving
    gc.collect()


async def test_a_welcome_of_the_seed_is_enough_and_unknown_messages_are_skipped() -> None:
    messages = (WELCOME, "nonsense", '{"type":"NEW"}', b"binary", '{"type":"PEER_LEFT","peer_id":"bb","room_id":"r"}')
    async with http_server(websocket(*messages)) as url, SignalingClient(url) as client:
        assert client.peer_id == "aa"
        assert client.welcome is not None
        assert client.welcome.stun == ()
        assert client.server_address == "127.0.0.1"
        assert (await client.receive()).type == "PEER_LEFT"
        with pytest.raises(SignalingUnreachable, match=r"code 4000\) enough\\x1b"):
            await client.receive()


async def test_a_welcome_with_nonsense_in_it_is_still_a_welcome() -> None:
    welcome = '{"type":"ACK","peer_id":"aa","payload":{"message":"connected","stun":"nonsense"}}'
    async with http_server(websocket(welcome)) as url, SignalingClient(url) as client:
        assert client.welcome is not None
        assert client.welcome.stun == ()


async def test_sending_after_the_end_is_an_error_and_not_a_hang() -> None:
    async with http_server(websocket(WELCOME)) as url:
        client = SignalingClient(url)
        await client.connect()
        await client.close()
        await client.close()
        with pytest.raises(SignalingUnreachable, match="closed"):
            await client.send(KeepAlive())


async def test_a_server_that_breaks_off_is_noticed() -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str(WELCOME)
        while (await response.receive()).type is not WSMsgType.TEXT:
            pass
        assert request.transport is not None
        request.transport.abort()
        return response

    async with http_server(break_off) as url, SignalingClient(url) as client:
        await client.send(KeepAlive())
        with pytest.raises(SignalingUnreachable):
            await client.receive()


def test_a_refusal_of_the_server_keeps_its_reason() -> None:
    error = from_server(ErrorCode.UNAUTHORIZED, "no", "token")
    assert isinstance(error, Refused)
    assert str(error) == "the server refused: no (token)"
    assert isinstance(from_server(ErrorCode.ROOM_FULL, "full", None), ServerBusy)
    assert isinstance(from_server(ErrorCode.RATE_LIMITED, "later", None), ServerBusy)
    assert isinstance(from_server(ErrorCode.UNAUTHORIZED, "no", "the token has expired"), TokenUntimely)


class BehaviourServer(asyncio.DatagramProtocol):
    """A STUN server on 127.0.0.1 with a second port, whose answers to CHANGE-REQUEST the test decides."""

    def __init__(self, other: Address | None, answer: Callable[[BindingRequest], str]) -> None:
        self.other, self.answer = other, answer
        self.elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.elsewhere.bind(("127.0.0.1", 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.elsewhere.close()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        request = parse_binding_request(data)
        source = (str(addr[0]), int(addr[1]))
        response = binding_response(request, source, None, self.other)
        match self.answer(request) if request.change or request.response_port else "here":
            case "here":
                self.transport.sendto(response, addr)
            case "there":
                self.transport.sendto(response, (source[0], request.response_port))
            case "elsewhere":
                self.elsewhere.sendto(response, source)
            case "refuse":
                self.transport.sendto(binding_error(request, 420, "Unknown Attribute"), addr)
            case "nonsense":
                self.elsewhere.sendto(data[:8] + request.transaction[4:] + b"x", source)


@asynccontextmanager
async def behaviour_server(other: Address | None, answer: Callable[[BindingRequest], str]) -> AsyncIterator[Address]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: BehaviourServer(other, answer), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()
        await asyncio.sleep(0)


OTHER_IP, OTHER_PORT = ("127.0.0.9", 9), ("127.0.0.1", 9)


@pytest.mark.parametrize(
    ("other", "answer", "expected"),
    [
        (None, "here", None),
        (OTHER_IP, "elsewhere", FilteringProbe(True, True)),
        (OTHER_IP, "nothing", FilteringProbe(False, False)),
        (OTHER_IP, "refuse", FilteringProbe(None, None)),
        (OTHER_IP, "here", FilteringProbe(None, None)),
        (OTHER_IP, "nonsense", FilteringProbe(None, None)),
        (OTHER_PORT, "elsewhere", FilteringProbe(None, True)),
    ],
)
async def test_filtering_is_probed_by_what_the_server_really_does(
    other: Address | None, answer: str, expected: FilteringProbe | None
) -> None:
    async with behaviour_server(other, lambda _: answer) as server:
        probe = await probe_filtering("127.0.0.1", server)
        assert (probe and replace(probe, mapped=None)) == expected
        assert probe is None or (probe.mapped and probe.mapped[0] == "127.0.0.1")


async def test_a_port_whose_filter_an_earlier_socket_has_opened_makes_no_nat_look_open() -> None:
    """The first socket's two questions are answered from elsewhere, the second one's are kept out."""
    answers = iter(["elsewhere", "elsewhere"])
    async with behaviour_server(OTHER_IP, lambda _: next(answers, "nothing")) as server:
        probe = await probe_filtering("127.0.0.1", server)
    assert probe is not None
    assert (probe.other_address, probe.other_port) == (False, False)


async def test_who_has_sent_in_vain_is_asked_for_the_mapping_towards_it() -> None:
    """Of its answers from elsewhere none comes in, so that its other port was the first to send."""
    async with (
        behaviour_server(None, lambda _: "here") as other,
        behaviour_server(other, lambda _: "nothing") as server,
    ):
        probe = await probe_filtering("127.0.0.1", server)
    assert probe is not None
    assert (probe.other_address, probe.other_port) == (None, False)
    assert probe.mapped_after == probe.mapped is not None


@pytest.mark.parametrize("verdict", ["alive", "dead", "refused"])
async def test_a_silence_is_tried_by_an_answer_to_the_silent_socket(verdict: str) -> None:
    """A server that sends to RESPONSE-PORT, that sends and it is lost, that does not know the attribute."""
    asked: list[BindingRequest] = []

    def answer(request: BindingRequest) -> str:
        asked.append(request)
        return {"alive": "there", "dead": "nothing", "refused": "refuse"}[verdict]

    async with behaviour_server(None, answer) as server:
        silences = await measure_silences("127.0.0.1", server, (0.05, 0.1))
    assert silences == {"alive": [(0.05, True), (0.1, True)], "dead": [(0.05, False), (0.1, False)]}.get(verdict, [])
    assert len({request.response_port for request in asked}) == 2


async def test_of_a_server_that_does_not_answer_no_silence_is_known() -> None:
    assert await measure_silences("127.0.0.1", ("127.0.0.1", 9), (0.05,)) == []
    assert await measure_silences("11.0.0.99", ("127.0.0.1", 9), (0.05,)) == []


async def test_a_server_that_answers_nothing_and_an_address_that_is_not_ours_give_no_probe() -> None:
    assert await probe_filtering("127.0.0.1", ("127.0.0.1", 9)) is None
    assert await probe_filtering("11.0.0.99", ("127.0.0.1", 9)) is None


async def test_a_server_that_refuses_change_request_is_never_shown_to_pystun3() -> None:
    async with behaviour_server(OTHER_IP, lambda _: "refuse") as server:
        assert not await answers_change_request("127.0.0.1", server)
        opinion = await pystun.classify("127.0.0.1", server)
    assert opinion.verdict is None
    assert "not asked" in opinion.note


async def test_pystun3_has_a_deadline_and_is_killed_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pystun, "DEADLINE", 0.5)
    async with behaviour_server(OTHER_IP, lambda r: "nothing" if r.change & CHANGE_IP else "here") as server:
        opinion = await pystun.classify("127.0.0.1", server)
    assert opinion.verdict is None
    assert "no answer within" in opinion.note


async def test_a_crash_of_pystun3_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pystun, "_CHILD", "raise KeyError('0800')")
    async with behaviour_server(OTHER_IP, lambda _: "elsewhere") as server:
        opinion = await pystun.classify("127.0.0.1", server)
    assert opinion.note == "pystun3 failed: KeyError: '0800'"


async def test_names_resolve_once_per_family_and_bad_ones_are_left_out() -> None:
    assert await resolve([("127.0.0.1", 1), ("127.0.0.1", 1), ("::1", 2)]) == [("127.0.0.1", 1), ("::1", 2)]
    assert await resolve([("nobody.invalid", 1)]) == []


async def test_a_resolver_that_hangs_costs_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("visavis_peer.host.names.RESOLVE_TIMEOUT", 0.01)
    monkeypatch.setattr("visavis_peer.host.names.look_up", hang)
    assert await resolve([("slow.example", 1)]) == []


def test_the_machine_lists_its_loopback() -> None:
    by_name = {interface.name: interface for interface in list_interfaces()}
    loopback = next(interface for interface in by_name.values() if "127.0.0.1" in interface.addresses)
    assert not loopback.default_route


PEER: Final = "ab" * 8


class Relayed:
    """A relay client and what it has told."""

    def __init__(self, url: str) -> None:
        self.received: list[tuple[str, list[bytes]]] = []
        self.states: list[bool] = []
        self.client = RelayClient(
            url,
            "token",
            1 << 20,
            lambda peer_id, datagrams: self.received.append((peer_id, datagrams)),
            lambda: self.states.append(self.client.connected),
        )


@asynccontextmanager
async def relayed(handler: Handler) -> AsyncIterator[Relayed]:
    async with http_server(handler) as url:
        relay = Relayed(url)
        try:
            yield relay
        finally:
            await relay.client.close()


async def test_the_relays_messages_are_cut_into_datagrams_and_nonsense_is_none() -> None:
    whole = bytes.fromhex(PEER) + b"\0\x03one\0\0\0\x03two"
    async with relayed(websocket("text", '{"payload":{}}', b"", b"short", bytes.fromhex(PEER), whole)) as relay:
        await until(lambda: relay.received)
        assert relay.received == [(PEER, [b"one", b"", b"two"])]
        await until(lambda: not relay.client.connected)
        assert relay.states[:2] == [True, False]


async def test_a_relay_that_does_not_know_the_token_is_not_asked_again() -> None:
    asked = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Authorization"])
        return web.Response(status=401)

    async with relayed(refuse) as relay:
        await until(lambda: relay.client.ended)
        assert (asked, relay.states) == (["Bearer token"], [])


async def test_a_relay_that_is_busy_is_asked_again() -> None:
    asked = []

    async def busy_at_first(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.Response(status=503) if len(asked) == 1 else await websocket()(request)

    async with relayed(busy_at_first) as relay:
        await until(lambda: relay.states)
        assert relay.states[0] is True


async def test_datagrams_to_one_peer_share_a_message_and_those_before_a_connection_are_lost() -> None:
    messages: list[bytes] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            messages.append(message.data)  # noqa: PERF401 -- each as it comes
        return response

    async with relayed(keep) as relay:
        relay.client.send(PEER, [b"too early"])
        await until(lambda: relay.client.connected)
        relay.client.send(PEER, [b"one", b"two"])
        relay.client.send("cd" * 8, [b"three"])
        await until(lambda: len(messages) == 2)
        assert messages == [bytes.fromhex(PEER) + b"\0\x03one\0\x03two", bytes.fromhex("cd" * 8) + b"\0\x05three"]
        relay.client.send(PEER, [bytes(1200)] * 100_000)
        assert relay.client.queue_size <= QUEUE_MAX


async def test_what_the_relay_refuses_is_logged_escaped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refusal = '{"type":"ERROR","payload":{"code":"RELAY_LIMIT","message":"too\\u001b much","details":"peer_id: x"}}'
    async with relayed(websocket(refusal)) as relay:
        await until(lambda: "the relay refuses" in caplog.text)
        assert r"too\x1b much (peer_id: x)" in caplog.text
        assert not relay.received
