"""Links over the relay of a real server: at once, when nothing else works, and when the direct path dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest

from tests.support.conditions import until
from tests.support.cutting_proxy import cutting_proxy
from tests.support.link_pair import association_of
from tests.support.server_running import running_server
from tests.support.watched import Watched, linked_pair, watched
from visavis_peer import Link, Refused, StreamReader, StreamWriter
from visavis_peer.commands.output import sentence
from visavis_peer.core.meeting import negotiation
from visavis_peer.core.signaling import backoff
from visavis_peer.events import Failure, Joined, LinkDown, LinkUp, PathChanged
from visavis_peer.ice import IceSession
from visavis_peer.peers import relay_connection as relay_client
from visavis_peer.peers.relay_connection import RelayClient

pytestmark = pytest.mark.timeout(60)

DATA: Final = random.Random(4).randbytes(2_000_000)


async def stream(opener: Watched, acceptor: Watched) -> tuple[StreamReader, StreamWriter]:
    """Return the acceptor's reader and the opener's writer of one stream."""
    _, writer = await opener.links[0].open_stream("test")
    reader, _ = await acceptor.links[0].accept_stream("test")
    return reader, writer


async def send_all(writer: StreamWriter, data: bytes) -> None:
    for start in range(0, len(data), 50_000):
        writer.write(data[start : start + 50_000])
        await writer.drain()
    writer.write_eof()


def cut(*links: Link) -> None:
    """Let the direct path swallow all datagrams both ways, while its connectivity checks go on."""
    for link in links:
        direct = association_of(link).direct
        assert isinstance(direct, IceSession)
        direct.deliver_to(lambda _: None)


async def test_with_relay_only_everything_goes_by_the_server_and_says_so() -> None:
    async with running_server(stun=True) as server, linked_pair(server, relay="only") as (ann, bob):
        reader, writer = await stream(ann, bob)
        back, answer = await stream(bob, ann)
        *_, received, returned = await asyncio.gather(
            send_all(writer, DATA), send_all(answer, DATA[::-1]), reader.read(), back.read()
        )
        assert received == DATA
        assert returned == DATA[::-1]
        ann.links[0].send_datagram(b"datagrams too")
        assert await bob.links[0].receive_datagram() == b"datagrams too"
        for each in (ann, bob):
            path = each.links[0].path
            assert (path.path, path.kind, path.local) == ("relay", "server", "")
            assert path.remote == f"127.0.0.1:{server.port}"
            assert path.reason == "only the relay is allowed"
            assert not each.of(PathChanged)
            assert association_of(each.links[0]).direct is None


async def test_bulk_never_exceeds_what_the_relays_connection_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    send = RelayClient.send

    def watch(self: RelayClient, peer_id: str, datagrams: Sequence[bytes]) -> None:
        nonlocal largest
        send(self, peer_id, datagrams)
        largest = max(largest, self.queue_size)

    monkeypatch.setattr(RelayClient, "send", watch)
    monkeypatch.setattr(relay_client, "QUEUE_SIZE", 2 * relay_client.SEND_SIZE)
    monkeypatch.setattr(relay_client, "QUEUE_MAX", 1 << 30)
    async with running_server(stun=True) as server, linked_pair(server, relay="only") as (ann, bob):
        reader, writer = await stream(ann, bob)
        back, answer = await stream(bob, ann)
        *_, received, returned = await asyncio.gather(
            send_all(writer, DATA), send_all(answer, DATA[::-1]), reader.read(), back.read()
        )
        assert (received, returned) == (DATA, DATA[::-1])
    assert relay_client.SEND_SIZE < largest <= 2 * relay_client.SEND_SIZE


async def test_one_side_that_allows_only_the_relay_is_enough() -> None:
    async with (
        running_server(stun=True) as server,
        watched(server, "ann") as ann,
        watched(server, "bob", relay="only") as bob,
    ):
        await until(lambda: ann.links and bob.links)
        reader, writer = await stream(ann, bob)
        _, received = await asyncio.gather(send_all(writer, DATA), reader.read())
        assert received == DATA
        assert ann.links[0].path.path == "relay"


async def test_a_link_moves_to_the_direct_path_without_losing_or_repeating_a_byte() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        reader, writer = await stream(ann, bob)
        _, received = await asyncio.gather(send_all(writer, DATA), reader.read())
        assert received == DATA
        await until(lambda: (ann.links[0].path.path, bob.links[0].path.path) == ("direct", "direct"))
        assert ann.of(LinkUp)[0].path.path == "relay" or not ann.of(PathChanged)


async def test_a_direct_path_that_swallows_everything_costs_a_transfer_nothing_but_time() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        await until(lambda: association_of(ann.links[0]).direct and association_of(bob.links[0]).direct)
        reader, writer = await stream(ann, bob)
        sending = asyncio.create_task(send_all(writer, DATA))
        head = await reader.readexactly(100_000)
        cut(ann.links[0], bob.links[0])
        assert head + await reader.read() == DATA
        await sending
        assert not ann.of(LinkDown)


async def test_a_direct_path_that_is_gone_is_replaced_by_the_relay_and_then_by_another() -> None:
    async with running_server(stun=True) as server, linked_pair(server) as (ann, bob):
        await until(lambda: association_of(ann.links[0]).direct and association_of(bob.links[0]).direct)
        reader, writer = await stream(ann, bob)
        session = association_of(ann.links[0]).direct
        assert isinstance(session, IceSession)
        before = len(ann.of(PathChanged))
        session.sockets[0].transport.abort()
        await until(lambda: len(ann.of(PathChanged)) > before)
        assert ann.of(PathChanged)[before].path.reason == "the direct path no longer works"
        sending = asyncio.create_task(send_all(writer, DATA))
        assert await reader.read() == DATA
        await sending
        await until(lambda: ann.of(PathChanged)[-1].path.path == "direct")
        assert (len(ann.links), ann.of(LinkDown), bob.of(LinkDown)) == (1, [], [])


async def test_a_relayed_link_survives_a_server_that_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "SIGNALING_FIRST", 0.01)
    async with running_server() as server:
        port = server.port
        pair = linked_pair(server, relay="only")
        ann, bob = await pair.__aenter__()
        reader, writer = await stream(ann, bob)
        sending = asyncio.create_task(send_all(writer, DATA))
        head = await reader.readexactly(100_000)
    try:
        await until(lambda: ann.of(Failure) and bob.of(Failure))
        async with running_server(port=port):
            await until(lambda: len(ann.of(Joined)) == 2 and len(bob.of(Joined)) == 2)
            assert head + await reader.read() == DATA
            await sending
            assert (len(ann.links), len(bob.links), ann.of(LinkDown)) == (1, 1, [])
    finally:
        await pair.__aexit__(None, None, None)


async def test_a_server_without_a_relay_leaves_the_direct_path() -> None:
    async with running_server(stun=True, relay="never") as server, linked_pair(server) as (ann, _):
        assert ann.links[0].path.path == "direct"


async def test_an_agent_that_allows_only_the_relay_says_why_there_is_no_link_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(negotiation, "ROUND_TIMEOUT", 0.1)
    async with (
        running_server(relay="never") as server,
        watched(server, "ann", relay="only") as ann,
        watched(server, "bob", relay="only"),
    ):
        await until(lambda: ann.of(Failure))
        assert ann.of(Failure)[0].error == "no_path"
        assert "only a relay is allowed" in ann.of(Failure)[0].message
        assert not ann.links


async def test_a_server_that_allows_only_its_relay_is_obeyed() -> None:
    async with running_server(stun=True, relay="only") as server, linked_pair(server) as (ann, _):
        assert ann.links[0].path.path == "relay"
        assert ann.links[0].path.reason == "only the relay is allowed"


async def test_a_server_that_allows_only_its_relay_and_an_agent_that_allows_none_part() -> None:
    async with running_server(stun=True, relay="only") as server:
        with pytest.raises(Refused, match="--relay never"):
            async with watched(server, "ann", relay="never"):
                pass


@pytest.mark.parametrize("secret", [None, bytes(16)], ids=["without a secret", "with a secret"])
async def test_a_failure_says_what_the_peer_has_proved(secret: bytes | None) -> None:
    """Where only a relay is allowed and the server has none."""
    async with (
        running_server(relay="never") as server,
        watched(server, "ann", secret=secret, relay="only") as ann,
        watched(server, "bob", secret=secret, relay="only"),
    ):
        await until(lambda: ann.of(Failure))
        failure = ann.of(Failure)[0]
        assert (failure.error, failure.name, failure.authenticated) == ("no_path", "bob", secret is not None)
        assert ("(unauthenticated): no path" in sentence(failure)) == (secret is None)


async def test_the_relay_is_where_the_server_says_it_is() -> None:
    """Behind a proxy of its own, at another port."""
    async with cutting_proxy(0) as proxy:
        elsewhere = f"ws://127.0.0.1:{proxy.port}/relay"
        async with running_server(stun=True, relay_url=elsewhere) as server:
            proxy.target = server.port
            async with linked_pair(server, relay="only") as (ann, bob):
                reader, writer = await stream(ann, bob)
                writer.write(b"by the other port")
                assert await reader.readexactly(17) == b"by the other port"
                assert {each.links[0].path.remote for each in (ann, bob)} == {f"127.0.0.1:{proxy.port}"}


async def test_a_relay_where_nobody_may_be_sent_is_told_of_once_and_links_do_without() -> None:
    async with running_server(stun=True, relay_url="ws://224.0.0.1/relay") as server, linked_pair(server) as (ann, bob):
        assert ann.links[0].path.path == "direct"
        for each in (ann, bob):
            assert not each.agent.has_relay
            (told,) = [failure for failure in each.of(Failure) if failure.error == "relay_not_used"]
            assert "ws://224.0.0.1/relay" in told.message
