"""The listener of metrics: what stands in a scrape after something has happened, and who gets one."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.conditions import until
from tests.support.scrape import scrape
from tests.support.server_running import http, joined, running_server, server_process
from tests.support.ws_raw import CLOSE, TEXT, RawClient, upgrade_request
from visavis_server.app import SignalingServer
from visavis_server.setup.settings import Settings
from visavis_server.sockets.listening import CannotListen
from visavis_server.watch import metrics_endpoint
from visavis_shared.stun import binding_request


async def test_connections_rooms_and_messages_are_counted() -> None:
    async with running_server(metrics_port=0) as server:
        before = await scrape(server)
        assert before("visavis_connections", kind="signaling") == 0
        async with await joined(server, "canary-room") as a, await joined(server, "canary-room") as b:
            await a.receive()
            a.send(type="OFFER", target_id=b.peer_id, payload={})
            assert (await b.receive())["type"] == "OFFER"
            assert (await a.request(type="canary-type"))["type"] == "ERROR"
            during = await scrape(server)
        assert during("visavis_connections", kind="signaling") == 2
        assert during("visavis_connections_opened_total", kind="signaling") == 2
        assert (during("visavis_rooms"), during("visavis_members")) == (1, 2)
        assert during("visavis_messages_received_total", type="JOIN") == 2
        assert during("visavis_messages_received_total", type="invalid") == 1
        assert during("visavis_messages_forwarded_total", type="OFFER") == 1
        assert during("visavis_errors_total", code="INVALID_MESSAGE") == 1
        assert during("visavis_build_info", version="0.1.0", **_build(during.text)) == 1
        assert during("process_open_fds") > 2
        assert "canary" not in during.text
        assert a.peer_id not in during.text
        await until(lambda: not server.hub.rooms.peers)
        after = await scrape(server)
        assert (after("visavis_connections", kind="signaling"), after("visavis_rooms")) == (0, 1)
        assert after("visavis_members") == 0


def _build(text: str) -> dict[str, str]:
    (labels,) = (
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "visavis_build_info"
    )
    return {name: labels[name] for name in ("python", "loop")}


async def test_the_time_from_reading_to_writing_is_measured_for_every_directed_message() -> None:
    async with running_server(metrics_port=0) as server:
        async with await joined(server, "r") as a, await joined(server, "r") as b:
            await a.receive()
            for number in range(20):
                a.send(type="CANDIDATE", target_id=b.peer_id, payload={"n": number})
            for number in range(20):
                assert (await b.receive())["payload"] == {"n": number}
            measured = await scrape(server)
        assert measured("visavis_forward_seconds_count", kind="signaling") == 20
        assert measured("visavis_forward_seconds_bucket", kind="signaling", le="+Inf") == 20
        # read, handled and written within a turn of the loop: more than nothing, and not what a clock's origin would be
        assert 0 < measured("visavis_forward_seconds_sum", kind="signaling") < 20 * 10


async def test_a_client_that_does_not_read_is_seen_in_the_queue_and_then_as_a_refusal() -> None:
    async with running_server(metrics_port=0, message_rate=0, pair_rate=0, address_rate=0) as server:
        async with await joined(server, "r") as a, await joined(server, "r") as slow:
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            seen = 0.0
            while not (now := await scrape(server))("visavis_refusals_total", cause="unread"):
                assert now("visavis_queue_max_bytes", kind="signaling") <= now("visavis_queue_bytes", kind="signaling")
                seen = max(seen, now("visavis_queue_bytes", kind="signaling"))
                for _ in range(8):
                    a.send(type="OFFER", target_id=slow.peer_id, payload={"x": "y" * 30_000})
                await a.writer.drain()
        assert seen > 0
        assert now("visavis_closed_total", kind="signaling", code="1013") == 1


async def test_connections_that_the_server_closes_are_counted_by_its_code_and_others_are_not() -> None:
    async with running_server(metrics_port=0) as server:
        async with await joined(server, "r") as rude, await joined(server, "r") as polite:
            rude.send_frame(TEXT, b"{}", masked=False)
            assert (await rude.closed()).code == 1002
            polite.send_frame(CLOSE, (4321).to_bytes(2))
            assert (await polite.closed(answer=False)).code == 4321
        found = await scrape(server)
        assert found("visavis_closed_total", kind="signaling", code="1002") == 1
        assert "4321" not in found.values, "a label that a client has chosen"


async def test_without_a_relay_there_is_nothing_to_say_of_it() -> None:
    async with running_server(metrics_port=0, relay="never") as server:
        found = await scrape(server)
        assert not any(name.startswith("visavis_relay") for name in found.names)


async def test_http_answers_are_counted_by_route_and_status() -> None:
    async with running_server(metrics_port=0, allowed_origin=["https://app.example"]) as server:
        for path in ("/health", "/ready", "/api/rooms/canary", "/r/canary", "/api/admin/rooms", "/canary", "/ws"):
            await http(server.port, path)
        client = await RawClient.open(server.port)
        client.write(upgrade_request(Origin="https://evil.example"))
        assert "403" in await client.read_response()
        client.abort()
        found = await scrape(server)
    for route, status in (
        ("health", "200"),
        ("ready", "200"),
        ("room", "404"),
        ("invite", "200"),
        ("admin", "401"),
        ("other", "404"),
        ("ws", "400"),
        ("ws", "403"),
    ):
        assert found("visavis_http_responses_total", route=route, status=status) == 1, (route, status)
    assert found("visavis_refusals_total", cause="origin") == 1
    assert "canary" not in found.text


async def test_another_name_than_ours_is_counted() -> None:
    async with running_server(metrics_port=0, allowed_host=["signal.example.org"]) as server:
        assert (await http(server.port, "/health")).status == 403
        assert (await scrape(server))("visavis_refusals_total", cause="host") == 1


async def test_stun_is_counted() -> None:
    async with running_server(metrics_port=0, stun=True) as server:
        assert server.stun_ports is not None
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", server.stun_ports[0])
        )
        transport.sendto(binding_request(bytes(12)))
        transport.sendto(b"not STUN")
        name, found = "visavis_stun_datagrams_total", await scrape(server)
        while found(name, result="answered") + found(name, result="ignored") < 2:
            found = await scrape(server)
        transport.close()
        assert (found(name, result="answered"), found(name, result="ignored")) == (1, 1)


async def test_the_public_port_has_no_metrics_and_without_the_option_no_port_has() -> None:
    async with running_server(metrics_port=0) as server:
        assert (await http(server.port, "/metrics")).status == 404
    async with running_server() as server:
        assert server.observers.endpoint is None


async def test_the_port_answers_what_it_has_and_nothing_else() -> None:
    async with running_server(metrics_port=0) as server:
        assert server.observers.endpoint is not None
        port = server.observers.endpoint.port
        assert (await http(port, "/health")).json["status"] == "ok"
        assert (await http(port, "/ready")).json["status"] == "ready"
        assert (await http(port, "/")).status == 404
        assert (await http(port, "/metrics", "POST")).status == 405
        assert (await http(port, "/metrics", "HEAD")).body == b""


async def test_ready_is_refused_before_listening_and_while_draining_and_health_is_not() -> None:
    ready = False
    endpoint = metrics_endpoint.MetricsEndpoint(lambda: ready)
    await endpoint.start("127.0.0.1", 0)
    try:
        response = await http(endpoint.port, "/ready")
        assert (response.status, response.json["status"]) == (503, "not ready")
        assert (await http(endpoint.port, "/metrics")).status == 503
        assert (await http(endpoint.port, "/health")).status == 200
        ready = True
        assert (await http(endpoint.port, "/ready")).status == 200
    finally:
        await endpoint.close()
    async with running_server(metrics_port=0, drain_time=0.01) as server:
        assert server.observers.endpoint is not None
        async with await joined(server, "r", resume=True):
            server.hub.rooms.draining = True
            assert (await http(server.observers.endpoint.port, "/ready")).status == 503
            assert (await scrape(server))("visavis_draining") == 1


async def test_one_connection_too_many_pushes_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "CONNECTION_COUNT", 2)
    async with running_server(metrics_port=0) as server:
        assert server.observers.endpoint is not None
        idle = [await RawClient.open(server.observers.endpoint.port) for _ in range(2)]
        await scrape(server)
        await idle[0].ended()
        for client in idle:
            client.abort()


async def test_a_port_that_is_taken_is_said_with_the_option_and_leaves_nothing_open() -> None:
    async with running_server(metrics_port=0) as server:
        assert server.observers.endpoint is not None
        taken = server.observers.endpoint.port
        other = SignalingServer(Settings(host="127.0.0.1", port=0, stun=False, metrics_port=taken))
        with pytest.raises(CannotListen, match="--metrics-port"):
            await other.start()
        third = SignalingServer(Settings(host="127.0.0.1", port=server.port, stun=False, metrics_port=0))
        with pytest.raises(CannotListen, match="--port"):
            await third.start()
        assert third.observers.endpoint is not None
        with pytest.raises(ConnectionRefusedError):
            await http(third.observers.endpoint.port, "/health")


async def test_a_process_says_where_its_metrics_are_and_serves_them() -> None:
    async with server_process("--metrics-port", "0") as process:
        line = await process.said("metrics on")
        port = int(line.rpartition(":")[2].removesuffix("/metrics"))
        response = await http(port, "/metrics")
        assert b"visavis_event_loop_lag_seconds_count" in response.body
        assert (await process.stop())[0] == 0
