"""What a PromQL expression speaks of, and whether Hayabin says it: metric names, labels, label values.

Fails: ``ValueError`` from the parser for an expression that is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from hayabin.domain.message import MessageState
from hayabin.telemetry import metrics
from services.bounce.match import FactKind, UnmatchedReason

SCRAPED = frozenset({"job", "instance", "namespace", "pod", "service", "app_kubernetes_io_component", "hayabin_pool"})
"""Labels that the scrape adds (the chart's ServiceMonitor, Prometheus itself)."""
FOREIGN = {"up": SCRAPED}
VALUES = {
    ("hayabin_outcomes_total", "state"): {state.value for state in MessageState},
    ("hayabin_bounce_inbound_total", "kind"): {kind.value for kind in (*FactKind, *UnmatchedReason)},
}


def exported() -> dict[str, frozenset[str]]:
    """Every sample name of Hayabin with its labels."""
    found: dict[str, frozenset[str]] = dict(FOREIGN)
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        name, labels = metric._name, frozenset(metric._labelnames) | SCRAPED
        match metric:
            case Counter():
                found[f"{name}_total"] = labels
            case Histogram():
                found |= {f"{name}_count": labels, f"{name}_sum": labels, f"{name}_bucket": labels | {"le"}}
            case Gauge():
                found[name] = labels
    return found


@dataclass(frozen=True)
class Selected:
    """One selector of an expression: metric, label matchers."""

    metric: str
    matchers: tuple[tuple[str, str], ...]


def problems(expression: str) -> list[str]:
    """What of an expression no process exports; empty when all is well."""
    known = exported()
    tree = promql_parser.parse(expression)
    found = []
    labels: set[str] = set()
    for selected in selectors(tree):
        if selected.metric not in known:
            found.append(f"no metric {selected.metric}")
            continue
        labels |= known[selected.metric]
        for label, value in selected.matchers:
            if label not in known[selected.metric]:
                found.append(f"{selected.metric} has no label {label}")
            allowed = VALUES.get((selected.metric, label))
            if allowed is not None and not set(value.split("|")) <= allowed:
                found.append(f"{selected.metric} has no {label} {value}")
    return found + [f"nothing has the label {label}" for label in sorted(set(grouped_by(tree)) - labels)]


def selectors(tree: promql_parser.Expr) -> list[Selected]:
    """Every vector selector."""
    return [
        Selected(node.name or "", tuple((m.name, m.value) for m in node.matchers.matchers))
        for node in _nodes(tree)
        if isinstance(node, promql_parser.VectorSelector)
    ]


def grouped_by(tree: promql_parser.Expr) -> Iterator[str]:
    """Labels of ``by (…)`` and ``on (…)``."""
    for node in _nodes(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            yield from node.modifier.labels
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            yield from node.modifier.matching.labels


def _nodes(tree: promql_parser.Expr) -> list[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []

    def visit(node: promql_parser.Expr) -> None:
        found.append(node)

    promql_parser.walk(tree, visit)
    return found
