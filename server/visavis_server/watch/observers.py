"""Who watches the server: an HTTP port for a monitoring system, and a collector that is sent to; nobody by default."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from visavis_server.core.errors import SettingsError
from visavis_server.setup.configuration import OTEL_ENVIRONMENT
from visavis_server.setup.settings import Settings
from visavis_server.sockets.listening import CannotListen, reason
from visavis_server.watch.metrics import Exposition, LagMeter, Sources
from visavis_server.watch.metrics_endpoint import MetricsEndpoint

if TYPE_CHECKING:
    from visavis_server.watch.otel import OtelExport

logger = logging.getLogger(__name__)


class Observers:
    """Those that the settings name."""

    def __init__(self, settings: Settings, is_ready: Callable[[], bool]) -> None:
        """`is_ready` tells whether the server takes connections."""
        self.endpoint: MetricsEndpoint | None = None
        """Where metrics are served, if anywhere."""
        self._settings = settings
        self._is_ready = is_ready
        self._export: OtelExport | None = None
        self._lag: LagMeter | None = None

    async def open(self) -> None:
        """Serve metrics, which has nothing to show until `show` is called.

        Raises CannotListen or SettingsError, with nothing left open.
        """
        if self._settings.otel_endpoint is not None:
            self._export = _new_export(self._settings.otel_endpoint, self._settings.otel_interval)
        if self._settings.metrics_port is not None:
            self.endpoint = await _open_endpoint(self._settings, self._is_ready)

    def show(self, sources: Sources) -> None:
        """Show what is counted, if somebody watches."""
        if self.endpoint is None and self._export is None:
            return
        self._lag = LagMeter(sources.lag)
        exposition = Exposition(sources)
        if self.endpoint is not None:
            self.endpoint.measure(exposition)
        if self._export is not None:
            self._export.start(exposition)

    async def close(self) -> None:
        """Send what has not been sent, and end."""
        if self._export is not None:
            await self._export.close()
        if self._lag is not None:
            self._lag.close()
        await self.abandon()

    async def abandon(self) -> None:
        """End where the server has not started."""
        if self.endpoint is not None:
            await self.endpoint.close()


async def _open_endpoint(settings: Settings, is_ready: Callable[[], bool]) -> MetricsEndpoint:
    """Raises CannotListen."""
    endpoint = MetricsEndpoint(is_ready)
    host, port = settings.metrics_host, settings.metrics_port or 0
    shown = f"[{host}]" if ":" in host else host
    try:
        await endpoint.start(host, port)
    except OSError as error:
        where = f"{shown}:{port}"
        raise CannotListen(
            f"cannot serve metrics on {where}: {reason(error)} (see --metrics-host, --metrics-port)"
        ) from error
    logger.info("metrics on http://%s:%d/metrics", shown, endpoint.port)
    return endpoint


def _new_export(endpoint: str, interval: float) -> OtelExport:
    """Raises SettingsError."""
    try:
        from visavis_server.watch.otel import OtelExport
    except ImportError as error:
        raise SettingsError(
            f"--otel-endpoint ({OTEL_ENVIRONMENT}) needs OpenTelemetry, which is not installed: "
            "pip install 'visavis[otel]'"
        ) from error
    return OtelExport(endpoint, interval)
