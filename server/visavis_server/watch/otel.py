"""Metrics pushed to an OpenTelemetry collector (OTLP over HTTP, protobuf): those that /metrics shows, at an interval.

Importing this needs the extra `visavis[otel]`. What is counted stays counted once: the families made for Prometheus are
handed to OpenTelemetry's own exporter, which also heeds the standard environment (OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT,
_CERTIFICATE, _COMPRESSION; OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES). There are no spans.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtelMetric
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric

from visavis_server import __version__
from visavis_server.setup.logs import fields
from visavis_server.watch.metrics import Exposition
from visavis_shared.ids import printable
from visavis_shared.tasks import own

logger = logging.getLogger(__name__)

METRICS_PATH: Final = "/v1/metrics"
"""What follows the endpoint (OTLP specification, "Endpoint URLs for OTLP/HTTP")."""
LAST_TIME: Final = 1.0
"""Seconds for the export at the end: a collector that does not answer must not hold up the exit."""
_UNITS: Final = {"_seconds": "s", "_bytes": "By"}
"""By the end of a name, as UCUM has them."""


class OtelExport:
    """Exports on one event loop; the network is used on a thread that nobody waits for at the exit."""

    def __init__(self, endpoint: str, interval: float) -> None:
        """Export to `endpoint` (without `/v1/metrics`) every `interval` seconds, once started."""
        self._endpoint = endpoint
        self._interval = interval
        self._exporter = OTLPMetricExporter(endpoint.rstrip("/") + METRICS_PATH)
        self._started_at = time.time_ns()
        own = {
            "service.name": "visavis-server",
            "service.version": __version__,
            # several servers behind one name are several sources of the same series
            "service.instance.id": str(uuid.uuid4()),
        }
        self._resource = Resource(own).merge(OTELResourceDetector().detect())
        self._reason = _Reason()
        self._failing = False
        self._exposition: Exposition | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, exposition: Exposition) -> None:
        """Export the metrics of a server that has started."""
        self._exposition = exposition
        self._task = own(self._run(exposition))

    async def close(self) -> None:
        """Export once more, for LAST_TIME at most, and stop."""
        if self._task is None or self._exposition is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(LAST_TIME):
                await self._export(self._exposition)
        except TimeoutError:
            self._log("the collector does not answer")
        self._exporter.shutdown()
        self._reason.close()

    async def _run(self, exposition: Exposition) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._export(exposition)

    async def _export(self, exposition: Exposition) -> None:
        families = exposition.server_families()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str | None] = loop.create_future()

        def settle(trouble: str | None) -> None:
            if not done.done():
                done.set_result(trouble)

        def export() -> None:
            self._reason.first = ""
            try:
                data = self._data([*families, *exposition.process_families()])
                ok = self._exporter.export(data) is MetricExportResult.SUCCESS
                trouble = None if ok else self._reason.first
            except Exception as error:  # noqa: BLE001 -- such as a certificate file that is gone; the next one may work
                trouble = printable(str(error))
            # the loop may have ended meanwhile
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, trouble)

        threading.Thread(target=export, name="otel-export", daemon=True).start()
        self._log(await done)

    def _log(self, reason: str | None) -> None:
        """Say when exporting begins to fail, and when it works again."""
        if self._failing == (reason is not None):
            return
        self._failing = reason is not None
        if reason is None:
            logger.info("metrics are exported again", extra=fields(event="export_works"))
        else:
            about = fields(event="export_failed", cause=reason)
            logger.warning("metrics cannot be exported to %s: %s", self._endpoint, reason, extra=about)

    def _data(self, families: Iterable[Metric]) -> MetricsData:
        now = time.time_ns()
        metrics = [_converted(family, self._started_at, now) for family in families if family.samples]
        scope = ScopeMetrics(InstrumentationScope("visavis_server", __version__), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


class _Reason(logging.Handler):
    """Takes what the exporter logs: this server's log has one line a failure, not one a retry."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""
        """What it said first of the export under way: why, where the rest is how often it has tried again."""
        self._logger = logging.getLogger(metric_exporter.__name__)
        self._propagated = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self.first = self.first or printable(record.getMessage())

    def close(self) -> None:
        """Give the exporter its log back."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        super().close()


def _converted(family: Metric, started_at: int, now: int) -> OtelMetric:
    """Return a family of Prometheus as a metric of OpenTelemetry; times in nanoseconds since the epoch."""
    data: Sum | Gauge | Histogram
    match family.type:
        case "counter":
            data = Sum(_numbers(family, started_at, now), AggregationTemporality.CUMULATIVE, is_monotonic=True)
        case "histogram":
            data = Histogram(_histograms(family, started_at, now), AggregationTemporality.CUMULATIVE)
        case _:
            data = Gauge(_numbers(family, None, now))
    unit = next((unit for end, unit in _UNITS.items() if family.name.endswith(end)), "")
    return OtelMetric(family.name, family.documentation, unit, data)


def _numbers(family: Metric, started_at: int | None, now: int) -> Sequence[NumberDataPoint]:
    return [NumberDataPoint(sample.labels, started_at, now, float(sample.value)) for sample in family.samples]  # type: ignore[arg-type]


def _histograms(family: Metric, started_at: int, now: int) -> Sequence[HistogramDataPoint]:
    """Return a point for each set of labels; Prometheus counts up to a bound, OpenTelemetry between two."""
    found: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        key = sample.labels.get("le", sample.name.removeprefix(family.name))
        found.setdefault(labels, {})[key] = sample.value
    points = []
    for labels, values in found.items():
        total, count = values.pop("_sum"), int(values.pop("_count"))
        cumulative = [int(value) for value in values.values()]
        between = [value - before for value, before in zip(cumulative, [0, *cumulative], strict=False)]
        bounds = [float(bound) for bound in values if bound != "+Inf"]
        # neither minimum nor maximum is known, and the protocol has them optional
        point = HistogramDataPoint(dict(labels), started_at, now, count, total, between, bounds, None, None)  # type: ignore[arg-type]
        points.append(point)
    return points
