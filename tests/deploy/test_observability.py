"""Alerts, dashboards and the collector: one alert one file one runbook, and nothing is asked for that nobody exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from services.dispatcher.settings import DispatcherSettings
from tests.deploy.promql import exported, problems, selectors, shipped_rules
from tests.deploy.rendering import ROOT, rendered

FOLDER = ROOT / "deploy" / "observability"
ALERTS = sorted((FOLDER / "alerts").glob("*.yaml"))
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
RUNBOOK_SECTIONS = ["What it means", "What is affected", "Look", "Do", "Afterwards"]


def the_rule(path: Path) -> dict[str, Any]:
    """The one rule of an alert file."""
    (group,) = yaml.safe_load(path.read_text())["groups"]
    (rule,) = group["rules"]
    found: dict[str, Any] = rule
    return found


@pytest.mark.parametrize("path", ALERTS, ids=lambda p: p.stem)
def test_alert_speaks_of_metrics_that_exist(path: Path) -> None:
    """Names, labels and states in the expression and in the texts are those that the processes export."""
    rule = the_rule(path)

    assert problems(rule["expr"]) == []
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert all(any(label in labels for labels in exported().values()) for label in named)


@pytest.mark.parametrize("path", ALERTS, ids=lambda p: p.stem)
def test_alert_has_a_runbook_that_says_what_to_do(path: Path) -> None:
    """The alert's name is the file's, its annotations are complete, and the runbook has every section filled."""
    rule = the_rule(path)
    runbook = ROOT / rule["annotations"]["runbook"]

    assert rule["alert"] == "Hayabin" + "".join(part.title() for part in path.stem.split("-"))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description", "runbook"} == set(rule["annotations"])
    assert runbook == ROOT / "docs" / "runbooks" / f"{path.stem}.md"
    text = runbook.read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    sections = dict(re.findall(r"^## ([^\n]+)\n+(.+?)(?=\n## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == RUNBOOK_SECTIONS
    assert all(len(body.strip()) > 20 for body in sections.values())


def test_runbook_without_an_alert_is_none() -> None:
    """Every alert runbook belongs to an alert file (the index aside)."""
    runbooks = {p.stem for p in (ROOT / "docs" / "runbooks").glob("*.md") if p.read_text().startswith("# Hayabin")}

    assert runbooks == {path.stem for path in ALERTS}


@pytest.mark.parametrize("path", ALERTS, ids=lambda p: p.stem)
def test_metrics_that_a_runbook_names_exist(path: Path) -> None:
    """A runbook that sends somebody to a metric which is not there costs time at the wrong moment."""
    text = (ROOT / "docs" / "runbooks" / f"{path.stem}.md").read_text()

    known = set(exported()) | {name.removesuffix("_bucket") for name in exported()}
    assert set(re.findall(r"\bhayabin_[a-z_]*[a-z]\b", text)) <= known


def _panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_dashboard_speaks_of_metrics_that_exist(path: Path) -> None:
    """Every query of every panel, with Grafana's variables filled in."""
    dashboard = json.loads(path.read_text())
    found = {}
    for panel in _panels(dashboard):
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", "mail")
            assert "$" not in expression
            found[panel["title"]] = problems(expression)

    assert len(found) >= 12
    assert {title: what for title, what in found.items() if what} == {}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_dashboard_can_be_imported(path: Path) -> None:
    """Ids are unique, panels do not overlap, each has a title and a unit, and the data source is chosen at import."""
    dashboard = json.loads(path.read_text())
    panels = list(_panels(dashboard))
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not mine & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= mine
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"]

    assert len({p["id"] for p in panels}) == len(panels)
    assert dashboard["uid"]
    assert "id" not in dashboard
    assert {v["name"] for v in dashboard["templating"]["list"]} == {"datasource", "namespace"}


def test_lane_alert_leaves_out_the_rules_that_suspend_for_less_than_an_hour() -> None:
    """A shipped rule that stays away for an hour or longer wants somebody to look; what passes by itself does not."""
    rule = the_rule(FOLDER / "alerts" / "lane-suspended.yaml")
    left_out = {
        name
        for selected in selectors(promql_parser.parse(rule["expr"]))
        for label, value in selected.matchers
        if label == "rule"
        for name in value.split("|")
    }

    assert left_out == {r.name for r in shipped_rules() if max(r.suspend_lane_s or 0, r.suspend_source_s or 0) < 3600}


def test_taken_over_alert_stands_below_the_bound_of_the_dispatcher() -> None:
    """Four fifths of the default: of the setting, and of the chart's value."""
    rule = the_rule(FOLDER / "alerts" / "taken-over-near-bound.yaml")
    threshold = float(rule["expr"].rpartition(">")[2])
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "hayabin" / "values.yaml").read_text())

    assert threshold == 0.8 * DispatcherSettings.model_fields["detached_mails"].default
    assert threshold == 0.8 * chart["dispatcher"]["detachedMails"]


def test_readiness_alert_sees_the_pools_of_the_chart_and_nothing_else_of_it() -> None:
    """The name of each pool's StatefulSet fits the selector."""
    rule = the_rule(FOLDER / "alerts" / "source-ip-unavailable.yaml")
    (pattern,) = {
        value
        for s in selectors(promql_parser.parse(rule["expr"]))
        for label, value in s.matchers
        if label == "statefulset"
    }
    names = {o["metadata"]["name"]: o["kind"] for o in rendered("production").workloads()}

    assert {name for name in names if re.fullmatch(pattern, name)} == {
        name for name, kind in names.items() if kind == "StatefulSet"
    }


def test_problems_are_found_in_a_wrong_expression() -> None:
    """The checks above can fail: a metric, a label, a state that nobody exports."""
    assert problems("rate(hayabin_outcomes[5m])") == ["no metric hayabin_outcomes"]
    assert problems('hayabin_outcomes_total{lane="x"}') == ["hayabin_outcomes_total has no label lane"]
    assert problems('hayabin_tls_sessions_total{result=~"failed-.+"}') == []
    assert problems('hayabin_tls_sessions_total{result=~"lost-.+"}') == [
        "hayabin_tls_sessions_total has no result lost-.+"
    ]
    assert problems('hayabin_lane_postponed_messages_total{reason="resting"}')
    assert problems('hayabin_outcomes_total{state="delivered"}') == ["hayabin_outcomes_total has no state delivered"]
    assert problems("sum by (lane) (hayabin_outcomes_total)") == ["nothing has the label lane"]
    with pytest.raises(ValueError, match="unclosed"):
        problems("sum(")


def test_collector_wires_what_it_defines() -> None:
    """Every pipeline's parts are configured, every part is used, memory is limited first and batches come last."""
    config = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    pipelines = config["service"]["pipelines"]

    for kind in ("receivers", "processors", "exporters"):
        used = {part for pipeline in pipelines.values() for part in pipeline[kind]}
        assert used == set(config[kind])
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter"
        assert pipeline["processors"][-1] == "batch"


def test_collector_takes_what_the_chart_sends() -> None:
    """The port of the example's OTLP endpoint is the one that the collector listens on, by HTTP."""
    config = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    listening = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    sent = rendered("production").one("ConfigMap", "hb-hayabin-renderer")["data"]["HAYABIN_OTLP_ENDPOINT"]

    assert sent.rpartition(":")[2] == listening


def test_alerts_count_on_the_job_label_that_the_chart_gives() -> None:
    """``job="hayabin"`` in the rules is what the ServiceMonitor's jobLabel makes."""
    objects = rendered("production")
    (monitor,) = objects.of("ServiceMonitor")
    service = objects.one("Service", "hb-hayabin-admin")

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "hayabin"
    assert {e["port"] for e in monitor["spec"]["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}
