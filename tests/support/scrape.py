"""What a monitoring system reads of a server."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.server_running import http
from visavis_server.app import SignalingServer

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, "the same series twice"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """Return the value of one series."""
        return self.samples[name, frozenset(labels.items())]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    @property
    def labels(self) -> dict[str, set[str]]:
        """The labels of each name."""
        found: dict[str, set[str]] = {}
        for name, labels in self.samples:
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found

    @property
    def values(self) -> set[str]:
        """Every value of every label."""
        return {value for _, labels in self.samples for _, value in labels}


async def scrape(server: SignalingServer) -> Scrape:
    """Read the metrics of a server that serves them."""
    assert server.observers.endpoint is not None
    response = await http(server.observers.endpoint.port, "/metrics")
    assert response.status == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.body.decode())
