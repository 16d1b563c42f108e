"""The dashboard and the alerts ask for what a real server tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.scrape import Scrape, scrape
from tests.support.server_running import http, joined, running_server
from visavis_shared.nat import NatKind
from visavis_shared.outcomes import LinkOutcome, OutcomePath, OutcomeReason

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "visavis.json").read_text(encoding="utf-8"))
ALERTS: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
OF_THE_SCRAPER: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds, as it does the metric `up`."""


async def sample() -> Scrape:
    """Return what a server tells that has done a bit of everything that makes a series."""
    async with running_server(metrics_port=0, stun=True) as server, await joined(server, "r"):
        await http(server.port, "/health")
        server._switchboard.closed[1011] += 1
        server.hub.counts.add_outcomes(
            [LinkOutcome(path=OutcomePath.DIRECT, reason=OutcomeReason.NONE, nat=NatKind.NONE)]
        )
        return await scrape(server)


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def queries() -> list[str]:
    found = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    found += [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    return found


def selectors(query: str) -> list[tuple[str, dict[str, str]]]:
    """Return the metrics of a query with what they are selected by."""
    found = []
    for name, selected in re.findall(r"\b((?:visavis|process|up)\w*)(?:\{([^}]*)\})?", query):
        labels = dict(re.findall(r'(\w+)(?:=|!=|=~)"([^"]*)"', selected))
        found.append((name, labels))
    return found


async def test_every_query_names_metrics_and_labels_that_exist() -> None:
    found = await sample()
    assert len(queries()) > 40
    for query in queries():
        assert selectors(query), query
        known = set(OF_THE_SCRAPER) | {"le"}
        for name, labels in selectors(query):
            if name == "up":
                continue
            assert name in found.names, query
            assert labels.keys() <= found.labels[name] | OF_THE_SCRAPER, query
            for label in labels.keys() - OF_THE_SCRAPER - {"path", "status", "code"}:
                for value in labels[label].split("|"):
                    assert value in found.values, query
            known |= found.labels[name]
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in grouped.split(",")} <= known, query


async def test_every_metric_of_ours_is_shown() -> None:
    found = await sample()
    shown = {name for query in queries() for name, _ in selectors(query)}
    ours = {name for name in found.names if name.startswith("visavis_")}
    assert {name for name in ours if not name.endswith(("_sum", "_count", "_created"))} <= shown


async def test_every_metric_of_ours_stands_in_the_documentation() -> None:
    found = await sample()
    text = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in found.names:
        if name.startswith("visavis_"):
            shown = re.sub("_(bucket|sum|count)$", "", name.removeprefix("visavis_"))
            assert f"`{shown}`" in text, name
            for label in found.labels[name] - {"le"}:
                assert f"`{label}`" in text, label


def test_the_words_of_outcomes_in_queries_are_words_of_the_protocol() -> None:
    for query in queries():
        for name, labels in selectors(query):
            if name == "visavis_link_outcomes_total" and "path" in labels:
                assert OutcomePath(labels["path"])


def test_the_dashboard_has_no_data_source_of_its_own_and_no_two_panels_in_one_place() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used <= variables | {"__rate_interval", "__range"}


def test_every_alert_says_what_and_what_then() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} == set(rule["annotations"])
