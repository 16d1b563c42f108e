"""The server's counts as metrics: made when a monitoring system asks, so that nothing is spent on them before."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from visavis_server import __version__
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.door import Door
from visavis_server.core.relay.relay import DropCause, Relay
from visavis_server.core.signaling.counts import Histogram, ResumeResult
from visavis_server.core.signaling.overview import Overview
from visavis_server.sockets.acceptor import Visitor
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.stun import StunResponder
from visavis_shared.errors import ErrorCode

LAG_BOUNDS: Final = (1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: timers have a resolution of 1 ms, and at 2.5 s clients begin to miss answers."""
_DROP_CAUSES: Final = get_args(DropCause)


@dataclass
class Sources:
    """What the metrics are read from; all of it belongs to one event loop."""

    overview: Overview
    refusals: Mapping[Cause, int]
    relay: Relay | None
    door: Door[Visitor]
    connections: Mapping[str, Connections]
    """By kind: `signaling`, and `relay` where there is one."""
    stun: StunResponder | None
    responses: Counter[tuple[str, int]]
    """HTTP answers by route (rest.route_of) and status."""
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS))
    """Seconds by which timers are late."""


class ServerCollector(Collector):
    """Makes metric families from the counts; to be used on the event loop that they belong to."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        loop = asyncio.get_running_loop()
        build = _gauge("visavis_build_info", "Version of the server.", ("version", "python", "loop"))
        build.add_metric((__version__, platform.python_version(), type(loop).__module__.partition(".")[0]), 1)
        yield build
        yield from self._clients()
        yield from self._messages()
        yield from self._relay(loop.time())
        yield _histogram(
            "visavis_event_loop_lag_seconds", "Time by which the event loop's timers are late.", {"": self._sources.lag}
        )

    def _clients(self) -> Iterator[Metric]:
        overview, relay, kinds = self._sources.overview, self._sources.relay, self._sources.connections
        relay_count = {} if relay is None else {"relay": relay.connections}
        yield _gauges(
            "visavis_connections",
            "WebSocket connections.",
            "kind",
            {kind: len(c.outboxes) for kind, c in kinds.items()},
        )
        yield _counters(
            "visavis_connections_opened",
            "WebSocket connections accepted.",
            "kind",
            {"signaling": overview.counts.connections, **relay_count},
        )
        yield _gauge("visavis_connections_pending", "Connections without a request yet.", value=len(self._sources.door))
        yield _gauge("visavis_rooms", "Rooms, empty ones included.", value=overview.room_count)
        members = overview.member_count
        yield _gauge("visavis_members", "Peers in rooms, those away for a moment included.", value=members)
        yield _gauge("visavis_draining", "1 while the server is about to stop.", value=overview.draining)
        yield _gauge(
            "visavis_peers_away",
            "Peers kept after their connection was lost.",
            value=overview.away_count,
        )
        yield _gauge(
            "visavis_mailbox_bytes",
            "Bytes kept for peers that may resume.",
            value=overview.mailbox_bytes,
        )
        yield _counters("visavis_resumes", "RESUME by result.", "result", _all(ResumeResult, overview.counts.resumes))
        closed = CounterMetricFamily("visavis_closed", "Connections closed by the server.", labels=("kind", "code"))
        for kind, each in kinds.items():
            for code, count in each.closed.items():
                closed.add_metric((kind, str(code)), count)
        yield closed
        queues = {kind: [outbox.unread for outbox in each.outboxes] for kind, each in kinds.items()}
        yield _gauges(
            "visavis_queue_bytes", "Bytes that clients have not read.", "kind", {k: sum(v) for k, v in queues.items()}
        )
        yield _gauges(
            "visavis_queue_max_bytes",
            "The same of the slowest client.",
            "kind",
            {kind: max(sizes, default=0) for kind, sizes in queues.items()},
        )

    def _messages(self) -> Iterator[Metric]:
        sources, counts = self._sources, self._sources.overview.counts
        received = {**counts.received, "invalid": counts.invalid}
        yield _counters("visavis_messages_received", "Messages of clients.", "type", received)
        yield _counters("visavis_messages_refused", "Messages refused whatever their cause.", "type", counts.refused)
        yield _counters("visavis_messages_forwarded", "Messages forwarded to a peer.", "type", counts.forwarded)
        yield _counter(
            "visavis_messages_undelivered",
            "Directed messages kept for a peer that did not come back.",
            counts.undelivered,
        )
        yield _counters("visavis_errors", "ERROR messages sent.", "code", _all(ErrorCode, counts.errors))
        refusals = _all(Cause, sources.refusals)
        if sources.stun is not None:
            refusals["stun_rate"] = sources.stun.refused_count
        yield _counters("visavis_refusals", "What was refused, by cause.", "cause", refusals)
        yield _histogram(
            "visavis_forward_seconds",
            "Time from reading a message to writing it to its target's connection, at the most.",
            {kind: connections.delays for kind, connections in sources.connections.items()},
            "kind",
        )
        responses = CounterMetricFamily(
            "visavis_http_responses", "HTTP answers other than upgrades.", labels=("route", "status")
        )
        for (route, status), count in sources.responses.items():
            responses.add_metric((route, str(status)), count)
        yield responses
        outcomes = CounterMetricFamily(
            "visavis_link_outcomes",
            "Links as agents report them; each of the two reports its side.",
            labels=("path", "reason", "local_nat", "remote_nat"),
        )
        for key, count in counts.outcomes.items():
            outcomes.add_metric(key, count)
        yield outcomes
        if sources.stun is not None:
            answers = {"answered": sources.stun.answered, "ignored": sources.stun.ignored}
            yield _counters("visavis_stun_datagrams", "Datagrams to the STUN ports.", "result", answers)

    def _relay(self, now: float) -> Iterator[Metric]:
        relay = self._sources.relay
        if relay is None:
            return
        yield _gauge("visavis_relay_pairs", "Pairs with traffic of late.", value=relay.active_pairs(now))
        yield _counter("visavis_relay_bytes", "Bytes forwarded by the relay.", relay.relayed)
        yield _counter("visavis_relay_messages", "Messages forwarded by the relay.", relay.delivered)
        yield _counters(
            "visavis_relay_drops", "Messages dropped by the relay.", "cause", _all(_DROP_CAUSES, relay.drops)
        )


class Exposition:
    """Writes all metrics, those of the process included, as text."""

    CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
    """The format that every monitoring system reads."""

    def __init__(self, sources: Sources) -> None:
        self._collector = ServerCollector(sources)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def server_families(self) -> list[Metric]:
        """Return the server's metrics as they are now; to be called on its event loop."""
        return list(self._collector.collect())

    def process_families(self) -> list[Metric]:
        """Return those of the process; on any thread."""
        return list(self._process.collect())

    async def text(self) -> bytes:
        """Return the metrics as they are now; the writing is done beside the event loop."""
        return await asyncio.to_thread(self._write, self.server_families())

    def _write(self, families: list[Metric]) -> bytes:
        registry = CollectorRegistry()
        registry.register(_Collected(families))
        return bytes(generate_latest(registry)) + bytes(generate_latest(self._process))


class LagMeter:
    """Measures by how much the timers of an event loop are late."""

    INTERVAL: Final = 0.25
    """Seconds between two measurements: cheap, and a stall of a second is seen whenever it comes."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self.INTERVAL
        self._handle = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - self._due))
        self._due = now + self.INTERVAL
        self._handle = self._loop.call_at(self._due, self._measure)

    def close(self) -> None:
        """Measure no more. Idempotent."""
        self._handle.cancel()


class _Collected(Collector):
    """Families that have been made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _all(keys: Iterable[str], found: Mapping[Any, int]) -> dict[str, int]:
    """Return the count of every key, 0 where there is none yet, so that rates are right from the first event on."""
    return {str(key): found.get(key, 0) for key in keys}


def _gauge(name: str, text: str, labels: tuple[str, ...] = (), value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels or None, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counters(name: str, text: str, label: str, values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((str(key),), value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _histogram(name: str, text: str, values: Mapping[str, Histogram], label: str | None = None) -> Metric:
    family = HistogramMetricFamily(name, text, labels=(label,) if label else ())
    for key, histogram in values.items():
        buckets = [("+Inf" if bound == float("inf") else repr(bound), n) for bound, n in histogram.cumulative()]
        family.add_metric((key,) if label else (), buckets, histogram.total)
    return family
