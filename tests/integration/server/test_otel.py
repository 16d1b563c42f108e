"""Metrics exported to a collector: a real OTLP receiver over HTTP reads what a real server sends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from tests.support.conditions import until
from tests.support.scrape import Samples, Scrape, scrape
from tests.support.server_running import http, joined, running_server, server_process
from visavis_server.app import SignalingServer
from visavis_server.core.errors import SettingsError
from visavis_server.setup.configuration import read_settings
from visavis_server.setup.settings import Settings


class Collector:
    """What a receiver has got."""

    def __init__(self) -> None:
        self.url = ""
        self.status = HTTPStatus.OK
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        assert (request.method, request.path) == ("POST", "/v1/metrics")
        assert request.content_type == "application/x-protobuf"
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.requests.append(ExportMetricsServiceRequest.FromString(await request.read()))
        body = ExportMetricsServiceResponse().SerializeToString()
        return web.Response(status=self.status, body=body, content_type="application/x-protobuf")

    @property
    def metrics(self) -> dict[str, Metric]:
        """Those of the latest request."""
        (resource,) = self.requests[-1].resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "visavis_server"
        return {metric.name: metric for metric in scope.metrics}

    @property
    def resource(self) -> dict[str, str]:
        return _attributes(self.requests[-1].resource_metrics[0].resource.attributes)

    async def another(self) -> None:
        """Wait for an export that is made from now on; one that is under way may have been made before."""
        seen = len(self.requests)
        await until(lambda: len(self.requests) >= seen + 2)


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    server = web.Server(made.handle)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listener.close()
        await server.shutdown(0.1)


def _attributes(found: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in found}


def as_prometheus(metrics: dict[str, Metric]) -> Samples:
    """Return what a scrape would show."""
    samples: Samples = {}
    for name, metric in metrics.items():
        kind = metric.WhichOneof("data")
        for point in getattr(metric, str(kind)).data_points:
            labels = _attributes(point.attributes)
            if kind != "histogram":
                full = f"{name}_total" if kind == "sum" else name
                samples[full, frozenset(labels.items())] = point.as_double
                continue
            seen = 0
            for bound, count in zip([*point.explicit_bounds, "+Inf"], point.bucket_counts, strict=True):
                seen += count
                samples[f"{name}_bucket", frozenset((labels | {"le": str(bound)}).items())] = seen
            samples[f"{name}_sum", frozenset(labels.items())] = point.sum
            samples[f"{name}_count", frozenset(labels.items())] = point.count
    return samples


def lasting(found: Scrape | Samples) -> Samples:
    """Return the samples of the server, those aside that change while nothing happens."""
    samples = found.samples if isinstance(found, Scrape) else found
    return {
        key: value
        for key, value in samples.items()
        if key[0].startswith("visavis_") and not key[0].startswith("visavis_event_loop_lag")
    }


async def test_a_collector_gets_every_series_of_the_scrape_with_the_same_value() -> None:
    async with (
        collector() as at,
        running_server(metrics_port=0, stun=True, otel_endpoint=at.url, otel_interval=0.05) as server,
        await joined(server, "canary-room") as a,
        await joined(server, "canary-room") as b,
    ):
        await a.receive()
        for number in range(3):
            a.send(type="OFFER", target_id=b.peer_id, payload={"n": number})
            await b.receive()
        await a.request(type="canary-type")
        await http(server.port, "/health")
        await at.another()
        scraped = await scrape(server)
        assert lasting(as_prometheus(at.metrics)) == lasting(scraped)
        assert scraped("visavis_messages_forwarded_total", type="OFFER") == 3
        assert at.metrics.keys() >= {"visavis_event_loop_lag_seconds", "process_open_fds", "python_info"}
        forwarded = at.metrics["visavis_messages_forwarded"].sum
        assert forwarded.is_monotonic
        assert forwarded.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        (point,) = (p for p in forwarded.data_points if _attributes(p.attributes) == {"type": "OFFER"})
        assert 0 < point.start_time_unix_nano < point.time_unix_nano
        assert at.metrics["visavis_forward_seconds"].unit == "s"
        assert at.metrics["visavis_rooms"].WhichOneof("data") == "gauge"
        assert b"canary" not in at.requests[-1].SerializeToString()
        assert at.resource["service.name"] == "visavis-server"


async def test_what_happened_last_is_exported_at_the_end() -> None:
    async with collector() as at:
        async with running_server(otel_endpoint=at.url, otel_interval=3600) as server:
            async with await joined(server, "r"):
                pass
            assert not at.requests
        assert as_prometheus(at.metrics)["visavis_connections_opened_total", frozenset({("kind", "signaling")})] == 1


async def test_a_collector_that_fails_is_one_line_in_the_log_until_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "visavis_server")
    async with collector() as at:
        at.status = HTTPStatus.FORBIDDEN
        async with running_server(otel_endpoint=at.url, otel_interval=0.02):
            for _ in range(3):
                await at.another()
            lines = [record.getMessage() for record in caplog.records if "export" in record.getMessage()]
            assert len(lines) == 1
            assert lines[0].startswith(f"metrics cannot be exported to {at.url}: ")
            assert "403" in lines[0]
            at.status = HTTPStatus.OK
            await until(lambda: any("exported again" in record.getMessage() for record in caplog.records))


async def test_a_collector_that_never_answers_does_not_hold_up_the_exit() -> None:
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with server_process("--otel-endpoint", f"http://127.0.0.1:{port}", "--otel-interval", "0.1") as process:
        code, log = await process.stop()
    assert code == 0
    assert "the collector does not answer" in log
    silent.close()


async def test_the_standard_environment_names_the_collector_headers_and_service() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20canary",
        "OTEL_SERVICE_NAME": "signal-eu",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging",
    }
    async with collector() as at:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"{at.url}/"
        async with server_process("--otel-interval", "0.05", **environment) as process:
            await until(lambda: bool(at.requests))
            code, log = await process.stop()
        assert code == 0
        assert at.headers[-1]["authorization"] == "Bearer canary"
        assert "canary" not in log
        assert at.resource["service.name"] == "signal-eu"
        assert at.resource["deployment.environment.name"] == "staging"
        assert at.resource["service.instance.id"]


def test_a_flag_goes_before_the_standard_environment_which_can_be_switched_off() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}
    assert read_settings([], environment).otel_endpoint == "http://a:4318"
    assert read_settings([], environment | {"VISAVIS_OTEL_ENDPOINT": "http://b"}).otel_endpoint == "http://b"
    assert read_settings(["--otel-endpoint", "http://c"], environment).otel_endpoint == "http://c"
    assert read_settings([], environment | {"OTEL_SDK_DISABLED": "TRUE"}).otel_endpoint is None
    assert read_settings([], {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}).otel_endpoint is None
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        read_settings([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"})


async def test_why_a_collector_cannot_be_reached_is_said_and_the_server_goes_on() -> None:
    limit = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
    async with server_process("--otel-endpoint", "http://127.0.0.1:9", "--otel-interval", "0.05", **limit) as process:
        assert "refused" in await process.said("cannot be exported")
        assert (await http(process.port, "/health")).status == 200


async def test_without_the_extra_the_command_names_it_and_nothing_listens() -> None:
    # as on a machine where the extra is not installed: the import fails
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from visavis_server.cli import main\n"
        "sys.exit(main(['--port', '0', '--stun', 'off', '--otel-endpoint', 'http://127.0.0.1:4318']))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 2
    assert out == b""
    assert err.decode().startswith("visavis-server: --otel-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) needs OpenTelemetry")
    assert "pip install 'visavis[otel]'" in err.decode()


async def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded() -> None:
    code = (
        "import sys, visavis_server.cli, visavis_server.app\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


async def test_a_collector_that_is_not_there_keeps_no_server_from_starting_or_stopping() -> None:
    server = SignalingServer(Settings(host="127.0.0.1", port=0, stun=False, otel_endpoint="http://127.0.0.1:9"))
    await server.start()
    await server.close()
