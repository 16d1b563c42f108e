"""net.ice over real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aioice import stun

from tests.support.conditions import until
from tests.support.ice_sides import LOOPBACK, LOOPBACK_2, introduce, linked, sides
from visavis_peer.core.ice.candidates import ADDRESS_COUNT, is_reachable_from
from visavis_peer.ice import IceSession, is_server_of
from visavis_peer.ice.session import QUEUE_SIZE
from visavis_peer.ice.socket import OPENER, TRUSTED_SIZE
from visavis_shared import limits
from visavis_shared.stun import NotStun, binding_response, parse_binding_request

IP_RECVTTL = 12
"""Linux: deliver the TTL with the datagram (the socket module has no name for it before 3.14)."""


class StunServer(asyncio.DatagramProtocol):
    """Answers Binding requests with the address it is told to claim, or the true one; or not at all."""

    def __init__(self, claim: tuple[str, int] | None = None, *, silent: bool = False) -> None:
        self.claim, self.silent, self.requests = claim, silent, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        try:
            request = parse_binding_request(data)
        except NotStun:
            return
        self.requests += 1
        if not self.silent:
            self.transport.sendto(binding_response(request, self.claim or addr[:2]), addr)


@asynccontextmanager
async def stun_server(**options: Any) -> AsyncIterator[tuple[StunServer, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: StunServer(**options), local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")
    finally:
        transport.close()


async def test_two_sessions_find_a_valid_pair_and_carry_datagrams_both_ways() -> None:
    async with linked() as (left, right):
        inboxes: tuple[list[bytes], list[bytes]] = ([], [])
        left.ice.deliver_to(inboxes[0].extend)
        right.ice.deliver_to(inboxes[1].extend)
        left.ice.send_datagrams([b"\xf0to the right"])
        right.ice.send_datagrams([b"\xf0to the left"])
        await until(lambda: inboxes == ([b"\xf0to the left"], [b"\xf0to the right"]))
        assert left.heard.paths[0].kind == "host-host"
        assert left.heard.paths[0].rtt_ms is not None


async def test_a_dead_stun_server_delays_nothing_and_the_live_one_gives_the_candidate() -> None:
    async with (
        stun_server(silent=True) as (_, dead),
        stun_server(claim=("11.0.0.9", 4242)) as (_, live),
        sides() as (left, _right),
    ):
        left.ice.gather([dead, live])
        await until(lambda: left.heard.candidates)
        assert not left.ice.gathered.is_set()
        assert " 11.0.0.9 4242 typ srflx " in left.heard.candidates[0]
        await asyncio.wait_for(left.ice.gathered.wait(), 5)
        assert left.heard.gathered == 1


async def test_several_servers_that_agree_give_one_candidate() -> None:
    async with (
        stun_server(claim=("11.0.0.9", 1)) as (_, one),
        stun_server(claim=("11.0.0.9", 1)) as (_, two),
        sides() as (left, _right),
    ):
        left.ice.gather([one, two])
        await asyncio.wait_for(left.ice.gathered.wait(), 5)
        assert len(left.heard.candidates) == 1
        assert {answer.server for answer in left.ice.answers} == {one, two}


async def test_no_server_reflexive_candidate_where_there_is_no_nat() -> None:
    async with stun_server() as (_, server), sides() as (left, _right):
        left.ice.gather([server])
        await asyncio.wait_for(left.ice.gathered.wait(), 5)
        assert left.heard.candidates == []
        assert len(left.ice.answers) == 1


async def test_candidates_may_come_after_the_checks_have_begun() -> None:
    async with sides() as (left, right):
        checks = [asyncio.create_task(side.ice.check()) for side in (left, right)]
        introduce(left, right)
        introduce(right, left)
        async with asyncio.timeout(5):
            await asyncio.gather(*checks)


async def test_one_side_knowing_the_other_is_enough() -> None:
    """The peer learns the address as peer-reflexive (RFC 8445 section 7.3.1.3)."""
    async with sides() as (left, right):
        introduce(left, right)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right.ice.check())
        assert right.heard.paths[0].kind == "host-prflx"


async def test_a_check_in_progress_is_repeated_at_once_when_the_peers_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8445 section 7.3.1.4: without it a lost first check waits for its timer."""
    # only the trigger may repeat a check
    monkeypatch.setattr("visavis_peer.core.ice.agent.CHECK_SCHEDULE", (60.0,))
    monkeypatch.setattr("visavis_peer.core.ice.transactions.TRIGGER_INTERVAL", 0.0)
    async with sides() as (left, right):
        (socket_,) = right.ice.sockets
        deliver: Callable[[list[bytes], Any], None] = socket_.datagrams_received
        dropped: list[bytes] = []

        def lose_first(datagrams: list[bytes], addr: Any) -> None:
            if not dropped:
                dropped.append(datagrams.pop(0))
            deliver(datagrams, addr)

        monkeypatch.setattr(socket_, "datagrams_received", lose_first)
        introduce(left, right)
        left_check = asyncio.create_task(left.ice.check())
        await until(lambda: dropped)
        introduce(right, left)
        async with asyncio.timeout(5):
            await asyncio.gather(left_check, right.ice.check())


async def test_checks_that_overtake_the_answer_change_no_role() -> None:
    """The answerer may start before its ANSWER is in: the offerer then has no credentials of it yet."""
    async with sides(known=(False, True)) as (left, right):
        introduce(right, left)
        right_check = asyncio.create_task(right.ice.check())
        await until(lambda: left.heard.checks)
        left.ice.set_remote(right.ice.credentials)
        introduce(left, right)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right_check)
        assert (left.ice.agent.controlling, right.ice.agent.controlling) == (True, False)
        await until(lambda: left.heard.paths and right.heard.paths)


async def test_a_role_conflict_is_resolved() -> None:
    async with sides() as (left, right):
        right.ice.set_role(controlling=True)
        introduce(left, right)
        introduce(right, left)
        async with asyncio.timeout(5):
            await asyncio.gather(left.ice.check(), right.ice.check())
        assert left.ice.agent.controlling is not right.ice.agent.controlling


async def test_both_sides_end_on_the_pair_of_highest_priority() -> None:
    async with linked(LOOPBACK, LOOPBACK_2) as (left, right):
        await until(lambda: left.heard.paths[-1].local.startswith("127.0.0.1:"))
        await until(lambda: right.heard.paths[-1].local == left.heard.paths[-1].remote)


async def test_a_strangers_datagram_reaches_nobody() -> None:
    async with linked() as (left, right):
        inbox: list[bytes] = []
        right.ice.deliver_to(inbox.extend)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.sendto(b"\xf0injected", right.ice.sockets[0].transport.get_extra_info("sockname"))
        left.ice.send_datagrams([b"\xf0wanted"])
        await until(lambda: inbox)
        assert inbox == [b"\xf0wanted"]


@pytest.mark.parametrize("with_integrity", [False, True])
async def test_a_strangers_check_gets_no_answer_and_no_trust(
    with_integrity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked() as (left, right):
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{right.ice.credentials.ufrag}:{left.ice.credentials.ufrag}"
        request.attributes["PRIORITY"] = 1
        request.attributes["USE-CANDIDATE"] = None
        if with_integrity:
            request.add_message_integrity(b"a wrong password")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.setblocking(False)
            (victim,) = right.ice.sockets
            seen: list[bytes] = []
            deliver = victim.datagrams_received

            def note(datagrams: list[bytes], addr: Any) -> None:
                deliver(datagrams, addr)
                seen.extend(datagrams)

            monkeypatch.setattr(victim, "datagrams_received", note)
            checks, trusted = right.heard.checks, dict(victim.trusted)
            stranger.sendto(bytes(request), victim.transport.get_extra_info("sockname"))
            await until(lambda: bytes(request) in seen)
            assert (right.heard.checks, victim.trusted) == (checks, trusted)
            with pytest.raises(BlockingIOError):
                stranger.recv(2048)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x00",
        b"\x00\x01\x00\x00" + bytes(16),
        b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x09",
        b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x02\x01\x02\x00\x00",
        b"\x01\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
        OPENER,
    ],
)
async def test_malformed_stun_from_anybody_raises_nothing(datagram: bytes) -> None:
    async with linked() as (_, right):
        right.ice.sockets[0].datagram_received(datagram, ("127.0.0.1", 9))
        assert right.heard.lost == []


async def test_addresses_that_are_trusted_have_a_bound() -> None:
    async with sides() as (left, _):
        for port in range(1, 2 * TRUSTED_SIZE):
            left.ice.sockets[0].trust(("11.0.0.1", port))
        assert len(left.ice.sockets[0].trusted) == TRUSTED_SIZE


async def test_datagrams_that_come_before_the_application_are_kept_up_to_a_bound() -> None:
    async with sides() as (left, _):
        for number in range(QUEUE_SIZE + 10):
            left.ice.sockets[0].deliver([b"%d" % number])
        inbox: list[bytes] = []
        left.ice.deliver_to(inbox.extend)
        assert inbox == [b"%d" % number for number in range(10, QUEUE_SIZE + 10)]


async def test_an_opener_has_its_own_ttl_and_later_datagrams_the_usual_one() -> None:
    async with sides() as (left, _):
        left.ice.opener_ttl = 5
        (sock,) = left.ice.sockets
        usual = sock.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            target.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            target.settimeout(5)
            address, port = target.getsockname()
            left.ice.add_candidate(f"1 1 udp 1 {address} {port} typ srflx raddr 0.0.0.0 rport 9")
            left.ice.open_holes()
            data, ancillary, _, _ = await asyncio.to_thread(target.recvmsg, 2048, 64)
        assert data == OPENER
        assert int.from_bytes(ancillary[0][2], "little") == 5
        assert sock.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == usual


async def test_candidates_that_come_later_are_opened_too() -> None:
    async with sides() as (left, _):
        left.ice.open_holes()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            target.settimeout(5)
            left.ice.add_candidate("1 1 udp 1 {} {} typ host".format(*target.getsockname()))
            assert await asyncio.to_thread(target.recv, 2048) == OPENER


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "1 1 udp 1 somewhere.local 5 typ host",
        "1 1 udp 1 224.0.0.1 5 typ host",
        "1 1 udp 1 0.0.0.0 5 typ host",
        "1 1 udp 1 255.255.255.255 5 typ host",
        "1 1 udp 1 240.0.0.1 5 typ host",
        "1 1 udp 1 169.254.169.254 5 typ host",
        "1 1 udp 1 169.254.1.1 5 typ host",
        "1 1 udp 1 fd00:ec2::254 5 typ host",
        "1 1 udp 1 fe80::1 5 typ host",
        "1 1 udp 1 ff02::1 5 typ host",
        "1 1 udp 1 ::ffff:127.0.0.1 5 typ host",
        "1 1 udp 1 11.0.0.1 0 typ host",
        "1 1 udp 1 11.0.0.1 99999 typ host",
        "1 2 udp 1 11.0.0.1 5 typ host",
        "1 1 tcp 1 11.0.0.1 5 typ host",
        "1 1 udp -1 11.0.0.1 5 typ host",
        "1 x udp 1 11.0.0.1 5 typ host",
        "1 1 udp 1 11.0.0.1 5 typ strange",
    ],
)
async def test_a_candidate_that_cannot_be_checked_is_ignored(line: str) -> None:
    async with sides() as (left, _):
        left.ice.add_candidate(line)
        assert left.ice.remote_candidates == []


async def test_of_one_address_only_so_many_ports_are_checked() -> None:
    async with sides() as (left, _):
        for port in range(1000, 1032):
            left.ice.add_candidate(f"1 1 udp 1 11.0.0.1 {port} typ host")
        left.ice.add_candidate("1 1 udp 1 11.0.0.2 1000 typ host")
        assert [each.host for each in left.ice.remote_candidates] == ["11.0.0.1"] * ADDRESS_COUNT + ["11.0.0.2"]


async def test_an_address_is_one_whichever_way_it_is_written() -> None:
    async with sides() as (left, _):
        for number, host in enumerate(
            ("2001:db8::1", "2001:DB8::1", "2001:db8:0::1", "2001:0db8::0:1", "2001:db8::0001")
        ):
            left.ice.add_candidate(f"1 1 udp 1 {host} {1000 + number} typ host")
        assert [each.host for each in left.ice.remote_candidates] == ["2001:db8::1"] * ADDRESS_COUNT


@pytest.mark.parametrize(
    "host",
    [
        "fe80::7%eth0",
        "2001:db8::1%1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::1",
        "localhost",
        "host.example",
        "0x7f000001",
    ],
)
async def test_no_other_way_of_writing_leads_where_no_peer_is(host: str) -> None:
    async with sides() as (left, _):
        left.ice.add_candidate(f"1 1 udp 1 {host} 1000 typ host")
        assert left.ice.remote_candidates == []


@pytest.mark.parametrize(
    ("host", "own", "loopback", "may"),
    [
        ("127.0.0.1", ["192.0.2.1"], True, False),
        ("127.0.0.1", ["192.0.2.1", "127.0.0.1"], True, True),
        ("127.0.0.1", ["192.0.2.1", "127.0.0.1"], False, False),
        ("::1", ["::1"], False, False),
        ("::1", ["127.0.0.1"], True, False),
        ("169.254.7.7", ["192.0.2.1", "127.0.0.1"], True, False),
        ("169.254.7.7", ["169.254.1.1"], False, True),
        ("fe80::7", ["fe80::1"], False, True),
        ("10.0.0.1", ["192.0.2.1"], False, True),
    ],
)
def test_nobody_has_an_agent_send_to_its_own_machine(host: str, own: list[str], loopback: bool, may: bool) -> None:
    assert is_reachable_from(host, own, loopback=loopback) is may


@pytest.mark.parametrize(
    ("host", "server", "may"),
    [
        ("192.0.2.2", "192.0.2.1", True),
        ("127.0.0.2", "127.0.0.1", True),
        ("127.0.0.1", "192.0.2.1", False),
        ("169.254.169.254", "192.0.2.1", False),
        ("169.254.7.7", "192.0.2.1", False),
        ("255.255.255.255", "192.0.2.1", False),
        ("224.0.0.1", "192.0.2.1", False),
        ("2001:db8::1", "192.0.2.1", True),
        ("::1", "2001:db8::1", False),
        ("::1", "127.0.0.1", False),
        ("127.0.0.1", "", False),
        ("192.0.2.2", "", True),
    ],
)
def test_a_server_sends_nobody_to_where_it_cannot_be(host: str, server: str, may: bool) -> None:
    assert is_server_of((host, 3478), server) is may
    assert not is_server_of((host, 0), server)


async def test_remote_candidates_have_a_bound_and_none_come_after_their_end() -> None:
    async with sides() as (left, _):
        for number in range(1, 2 * limits.CANDIDATE_COUNT):
            left.ice.add_candidate(f"1 1 udp 1 11.0.0.{number} 1 typ host")
        assert len(left.ice.remote_candidates) == limits.CANDIDATE_COUNT
        left.ice.add_candidate(None)
        left.ice.add_candidate(None)
        assert len(left.ice.remote_candidates) == limits.CANDIDATE_COUNT


async def test_a_socket_that_is_gone_loses_the_session() -> None:
    async with linked() as (left, _right):
        left.ice.sockets[0].transport.abort()
        await until(lambda: left.heard.lost)
        assert left.heard.lost == ["the local socket was closed"]


async def test_closing_ends_checks_that_found_nothing_and_is_idempotent() -> None:
    async with sides() as (left, _right):
        check = asyncio.create_task(left.ice.check())
        await asyncio.sleep(0)
        await left.ice.close()
        await left.ice.close()
        async with asyncio.timeout(5):
            await check
        assert left.heard.paths == []


async def test_sending_without_a_pair_does_nothing() -> None:
    async with sides() as (left, _):
        left.ice.send_datagrams([b"\xf0"])


async def test_a_taken_port_moves_to_the_next_and_no_port_is_reported() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        session = IceSession()
        try:
            (problem,) = await session.bind([LOOPBACK], [port])
            assert "127.0.0.1 (lo)" in problem
            assert await session.bind([LOOPBACK], [port, 0]) == []
        finally:
            await session.close()


async def test_mappings_are_kept_alive_while_no_peer_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis_peer.ice.gathering.KEEP_MAPPING_INTERVAL", 0.01)
    async with stun_server() as (server, address), sides() as (left, _):
        left.ice.gather([address])
        await until(lambda: server.requests >= 3)
