"""The dashboard and the alerts ask for what a real server tells."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as grafana
from grafana_foundation_sdk.models import prometheus
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
        server.switchboard.closed[1011] += 1
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


def differences(shipped: Any, understood: Any, where: str = "") -> list[str]:
    """Return what of a document its reader has left out or read as something else."""
    if isinstance(shipped, dict) and isinstance(understood, dict):
        keys = [(f"{where}.{key}", value, understood.get(key)) for key, value in shipped.items()]
        return [found for path, value, read in keys for found in differences(value, read, path)]
    if isinstance(shipped, list) and isinstance(understood, list) and len(shipped) == len(understood):
        pairs = enumerate(zip(shipped, understood, strict=True))
        return [found for index, (a, b) in pairs for found in differences(a, b, f"{where}[{index}]")]
    return [] if shipped == understood else [f"{where}: {shipped!r} is read as {understood!r}"]


def unknown_words(node: object, where: str = "") -> list[str]:
    """Return the values that are none of the words which the model has for them."""
    if isinstance(node, list):
        return [found for index, each in enumerate(node) for found in unknown_words(each, f"{where}[{index}]")]
    if not type(node).__module__.startswith("grafana_foundation_sdk.models"):
        return []
    found = []
    for name, hint in get_type_hints(type(node)).items():
        value = getattr(node, name)
        choices = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and issubclass(kind, Enum)]
        if not choices:
            found += unknown_words(value, f"{where}.{name}")
        elif value is not None and not any(value in {each.value for each in kind} for kind in choices):
            found.append(f"{where}.{name}: {value!r}")
    return found


def understood(document: dict[str, Any]) -> grafana.Dashboard:
    """Read a dashboard by Grafana's own model."""
    plugins.register_default_plugins()
    return grafana.Dashboard.from_json(document)


def test_grafanas_own_model_understands_every_member_of_the_dashboard() -> None:
    model = understood(DASHBOARD)
    assert differences(DASHBOARD, json.loads(JSONEncoder().encode(model))) == []
    assert unknown_words(model) == []
    shown = [panel for panel in model.panels or () if isinstance(panel, grafana.Panel)]
    assert len(shown) > 20
    for panel in shown:
        assert panel.targets, panel.title
        assert all(isinstance(target, prometheus.Dataquery) for target in panel.targets), panel.title
        assert not isinstance(panel.options, dict), f"{panel.type_val} is no kind of panel"
        refs = [target.ref_id for target in panel.targets if isinstance(target, prometheus.Dataquery)]
        assert len(set(refs)) == len(refs), panel.title
    assert model.templating.list_val is not None
    sources = {variable.name: variable for variable in model.templating.list_val}
    assert sources["datasource"].type_val == grafana.VariableType.DATASOURCE
    assert sources["datasource"].query == "prometheus"


def test_what_grafana_would_ignore_is_found() -> None:
    document = json.loads(json.dumps(DASHBOARD))
    document["panels"][1]["options"] |= {"colourMode": "none", "colorMode": "rainbow"}
    model = understood(document)
    found = differences(document, json.loads(JSONEncoder().encode(model)))
    assert found == [".panels[1].options.colourMode: 'none' is read as None"]
    assert unknown_words(model) == [".panels[1].options.color_mode: 'rainbow'"]


@pytest.mark.parametrize("query", queries())
def test_every_query_is_promql(query: str) -> None:
    """Syntax and types, as Prometheus has them; what Grafana fills in is a duration."""
    filled = query.replace("$__rate_interval", "1m").replace("$__range", "6h")
    assert isinstance(promql_parser.parse(filled), promql_parser.Expr)


def test_every_alert_waits_for_a_duration_and_names_labels_that_its_query_keeps() -> None:
    for rule in (rule for group in ALERTS["groups"] for rule in group["rules"]):
        assert promql_parser.parse_duration(rule.get("for", "1m"))
        kept = OF_THE_SCRAPER.union(*(found.split(", ") for found in re.findall(r"by \(([^)]*)\)", rule["expr"])))
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= kept, rule["alert"]
        if aggregations := re.findall(r"by \(([^)]*)\)", rule["expr"]):
            assert all(used <= set(found.split(", ")) for found in aggregations), rule["alert"]


def test_every_alert_says_what_and_what_then() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} == set(rule["annotations"])


def requirements(lock: str) -> dict[str, str]:
    """Return the versions that a lock file names; each must come with a hash."""
    text = (DEPLOY / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("--hash=sha256:" in line for line in lines)
    found = [re.match(r"([\w.-]+)==(\S+)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_images_install_what_the_project_asks_for_and_nothing_without_a_hash(lock: str) -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    build = "build" in lock
    asked = project["build-system"]["requires"] if build else project["project"]["dependencies"]
    versions = requirements(lock)
    for line in asked:
        wanted = Requirement(line)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), f"{line}: run scripts/lock"
