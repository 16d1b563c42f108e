"""stun over real sockets: who answers from where."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.server_running import running_server
from tests.support.ws_raw import TIMEOUT, RawClient, upgrade_request
from visavis_server.app import SignalingServer
from visavis_server.sockets import stun
from visavis_server.sockets.listening import CannotListen
from visavis_server.sockets.stun import BATCH, _destination, open_sockets
from visavis_shared.messages import WelcomePayload
from visavis_shared.stun import (
    CHANGE_IP,
    CHANGE_PORT,
    Address,
    binding_request,
    offered_nonce,
    parse,
    parse_binding_response,
)

ID = b"transaction!"


@contextmanager
def udp(ip: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((ip, 0))
        yield sock


async def receive(sock: socket.socket) -> tuple[bytes, Address]:
    """Return one datagram and where it came from."""
    async with asyncio.timeout(TIMEOUT):
        data, source = await asyncio.get_running_loop().sock_recvfrom(sock, 2048)
    return data, source[:2]


async def ask(sock: socket.socket, server: Address, change: int = 0) -> tuple[bytes, Address]:
    sock.sendto(binding_request(ID, change), server)
    return await receive(sock)


def ports(server: SignalingServer) -> tuple[int, int]:
    assert server.stun_ports is not None
    return server.stun_ports


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
async def test_both_ports_answer_with_what_they_see(host: str) -> None:
    ip = "::1" if ":" in host else "127.0.0.1"
    async with running_server(stun=True, host=host) as server:
        with udp(ip) as sock:
            for port, other in (ports(server), ports(server)[::-1]):
                data, source = await ask(sock, (ip, port))
                response = parse_binding_response(data)
                assert source == (ip, port)
                assert response.mapped == sock.getsockname()[:2]
                assert (response.origin, response.other) == ((ip, port), (ip, other))


async def test_every_address_of_both_families_is_one_host() -> None:
    async with running_server(stun=True, host="::") as server:
        for ip in ("127.0.0.1", "::1"):
            with udp(ip) as sock:
                data, _ = await ask(sock, (ip, ports(server)[0]))
                assert parse_binding_response(data).mapped == sock.getsockname()[:2]
        async with await RawClient.connect(server.port, host="127.0.0.1") as v4:
            assert v4.peer_id
        async with await RawClient.connect(server.port, host="::1") as v6:
            assert v6.peer_id


async def test_an_ipv4_client_of_a_dual_stack_socket_is_told_an_ipv4_address() -> None:
    async with running_server(host="::") as server, await RawClient.open(server.port) as client:
        client.write(upgrade_request())
        await client.read_response()
        welcome = WelcomePayload.model_validate((await client.receive())["payload"])
        assert welcome.observed is not None
        assert welcome.observed.ip == "127.0.0.1"


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.0.2", "127.9.8.7"])
async def test_a_wildcard_socket_answers_from_the_address_that_was_asked(ip: str) -> None:
    """A host with several addresses: the reply must not leave from whichever the routing table prefers."""
    async with running_server(stun=True, host="0.0.0.0") as server:
        with udp() as sock:
            for port in ports(server):
                _, source = await ask(sock, (ip, port))
                assert source == (ip, port)
            _, source = await ask(sock, (ip, ports(server)[0]), CHANGE_PORT)
            assert source == (ip, ports(server)[1])


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
async def test_an_answer_goes_to_another_port_of_the_sender_when_asked_for(ip: str) -> None:
    async with running_server(stun=True, host=ip) as server:
        with udp(ip) as sock, udp(ip) as silent:
            address = (ip, ports(server)[0])
            sock.sendto(binding_request(ID, CHANGE_PORT, silent.getsockname()[1]), address)
            data, source = await receive(sock)
            assert (source, parse(data).attributes["ERROR-CODE"][0]) == (address, 438)
            sock.sendto(binding_request(ID, CHANGE_PORT, silent.getsockname()[1], offered_nonce(data)), address)
            data, source = await receive(silent)
            assert source == (ip, ports(server)[1])
            mapped = parse_binding_response(data).mapped
            assert mapped == sock.getsockname()[:2]
            # and nothing to the port that asked: what comes next is the answer to what is asked next
            assert (await ask(sock, address))[1] == address


async def test_with_two_addresses_all_four_sockets_can_answer_each_request() -> None:
    async with running_server(stun=True, stun_address=["127.0.0.2", "127.0.0.3"]) as server:
        first, second = ports(server)
        with udp() as sock:
            for change, expected in (
                (0, ("127.0.0.2", first)),
                (CHANGE_PORT, ("127.0.0.2", second)),
                (CHANGE_IP, ("127.0.0.3", first)),
                (CHANGE_IP | CHANGE_PORT, ("127.0.0.3", second)),
            ):
                data, source = await ask(sock, ("127.0.0.2", first), change)
                response = parse_binding_response(data)
                assert source == response.origin == expected
                assert response.other == ("127.0.0.3", second)


@pytest.mark.parametrize("settings", [{}, {"host": "0.0.0.0"}, {"stun_address": ["127.0.0.1"]}])
async def test_a_change_of_address_is_refused_with_one_address(settings: dict[str, object]) -> None:
    async with running_server(**({"stun": True} | settings)) as server:
        with udp() as sock:
            data, source = await ask(sock, ("127.0.0.1", ports(server)[0]), CHANGE_IP)
            assert source == ("127.0.0.1", ports(server)[0])
            assert parse(data).attributes["ERROR-CODE"][0] == 420


@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        ({}, [None, None]),
        ({"host": "0.0.0.0"}, [None, None]),
        ({"host": "::"}, [None, None]),
        ({"host": "0.0.0.0", "public_host": "stun.example"}, ["stun.example", "stun.example"]),
        ({"stun_address": ["127.0.0.2"]}, ["127.0.0.2", "127.0.0.2"]),
        ({"stun_address": ["127.0.0.2"], "public_host": "203.0.113.9"}, ["203.0.113.9", "203.0.113.9"]),
        ({"stun_address": ["127.0.0.2", "127.0.0.3"]}, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]),
    ],
)
async def test_the_welcome_lists_every_server_once_main_port_first(
    settings: dict[str, object], hosts: list[str | None]
) -> None:
    async with running_server(**({"stun": True} | settings)) as server:
        async with await RawClient.open(server.port) as client:
            client.write(upgrade_request())
            await client.read_response()
            welcome = WelcomePayload.model_validate((await client.receive())["payload"])
        first, second = ports(server)
        half = len(hosts) // 2
        expected = list(zip(hosts, [first] * half + [second] * half, strict=True))
        assert [(entry.host, entry.port) for entry in welcome.stun] == expected


async def test_what_is_no_binding_request_gets_no_answer() -> None:
    async with running_server(stun=True) as server:
        with udp() as sock:
            for junk in (b"", b"junk", bytes(2000), b"\x01\x01" + binding_request(ID)[2:]):
                sock.sendto(junk, ("127.0.0.1", ports(server)[0]))
            data, _ = await ask(sock, ("127.0.0.1", ports(server)[0]))
            assert parse_binding_response(data).transaction_id == ID


async def test_a_burst_of_fifty_is_answered_in_full() -> None:
    """More than one turn of the loop handles at once, and what an agent's survey sends at most."""
    count = BATCH + 10
    assert count > 50
    async with running_server(stun=True) as server:
        with udp() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for number in range(count):
                sock.sendto(binding_request(number.to_bytes(12)), ("127.0.0.1", ports(server)[0]))
            answered = {parse_binding_response((await receive(sock))[0]).transaction_id for _ in range(count)}
            assert answered == {number.to_bytes(12) for number in range(count)}


async def test_an_answer_that_nobody_takes_does_no_harm() -> None:
    """The client is gone: an ICMP error comes back to the server's socket."""
    async with running_server(stun=True) as server:
        for _ in range(5):
            with udp() as gone:
                gone.sendto(binding_request(ID), ("127.0.0.1", ports(server)[0]))
        with udp() as sock:
            assert parse_binding_response((await ask(sock, ("127.0.0.1", ports(server)[0])))[0]).transaction_id == ID


async def test_an_error_on_a_socket_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server(stun=True) as server:
        assert server.stun is not None
        sock = next(iter(server.stun._sockets.values()))
        broken = BrokenSocket(sock)
        server.stun._on_readable(broken, ("127.0.0.1", 1))  # type: ignore[arg-type]
        assert broken.reads == 3
        monkeypatch.setitem(server.stun._sockets, ("127.0.0.1", ports(server)[0]), broken)
        server.stun._on_readable(broken.with_request(), ("127.0.0.1", ports(server)[0]))  # type: ignore[arg-type]
        assert broken.sends == 1


class BrokenSocket:
    """Raises what a kernel may."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.reads = self.sends = 0
        self.request: bytes | None = None

    def with_request(self) -> BrokenSocket:
        self.request = binding_request(ID)
        return self

    def recvmsg(self, *_: int) -> tuple[bytes, list[object], int, Address]:
        if self.request is not None:
            data, self.request = self.request, None
            return data, [], 0, ("127.0.0.1", 9)
        self.reads += 1
        if self.reads < 3:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        raise BlockingIOError

    def sendmsg(self, *_: object) -> int:
        self.sends += 1
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def fileno(self) -> int:
        return self.real.fileno()

    def close(self) -> None:
        self.real.close()


def test_control_data_of_other_kinds_is_no_address() -> None:
    assert _destination([]) == ""
    assert _destination([(socket.SOL_SOCKET, 1, b"x"), (socket.IPPROTO_IP, 8, b"short")]) == ""


async def test_where_the_system_does_not_say_which_address_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux: the answer leaves as the routing table says, and claims nothing."""
    monkeypatch.setattr(stun, "_PKTINFO_WORKS", False)
    async with running_server(stun=True, host="0.0.0.0") as server:
        with udp() as sock:
            for change in (0, CHANGE_PORT):
                data, source = await ask(sock, ("127.0.0.1", ports(server)[0]), change)
                response = parse_binding_response(data)
                assert (response.mapped, response.origin, response.other) == (sock.getsockname(), None, None)
                assert source == ("127.0.0.1", ports(server)[1 if change else 0])


def test_ports_are_the_same_on_every_address() -> None:
    sockets, (first, second) = open_sockets(["127.0.0.2", "127.0.0.3"], 0, 0)
    names = [sock.getsockname() for sock in sockets]
    for sock in sockets:
        sock.close()
    assert names == [("127.0.0.2", first), ("127.0.0.2", second), ("127.0.0.3", first), ("127.0.0.3", second)]


def test_a_port_that_is_taken_on_one_address_is_chosen_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    real = socket.socket.bind

    def bind(sock: socket.socket, address: Address) -> None:
        tries.append(address)
        if len(tries) == 3:
            raise OSError(errno.EADDRINUSE, "in use")
        real(sock, address)

    monkeypatch.setattr(socket.socket, "bind", bind)
    sockets, _ = open_sockets(["127.0.0.2", "127.0.0.3"], 0, 0)
    for sock in sockets:
        sock.close()
    assert len(sockets) == 4
    assert len(tries) == 3 + 4


async def test_a_taken_port_is_named_and_nothing_is_left_open() -> None:
    with udp() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"cannot answer STUN on 127\.0\.0\.1 udp/{port} .*in use"):
            async with running_server(stun=True, stun_port=port):
                pytest.fail("not reached")


async def test_after_the_server_is_closed_nobody_answers() -> None:
    async with running_server(stun=True) as server:
        port = ports(server)[0]
    with udp() as sock:
        sock.connect(("127.0.0.1", port))
        sock.send(binding_request(ID))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), TIMEOUT)
