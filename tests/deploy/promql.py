"""What a PromQL expression speaks of, and whether Hayabin says it: metric names, labels, label values.

Fails: ``ValueError`` from the parser for an expression that is none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.message import MessageState
from hayabin.domain.reply_rules import ReplyRule
from hayabin.telemetry import metrics
from services.bounce.match import FactKind, UnmatchedReason
from services.dispatcher.lane import LaneState
from services.dispatcher.policy import load_policies
from services.dispatcher.postponing import BUSY
from services.dispatcher.tls_plan import PlanName, TlsResult


def shipped_rules() -> list[ReplyRule]:
    """Every reply rule of every shipped policy, each once."""
    policies = load_policies()
    rules = {rule.name: rule for name in (None, *PROVIDERS) for rule in policies.get(name).rules}
    return list(rules.values())


SCRAPED = frozenset({"job", "instance", "namespace", "pod", "service", "app_kubernetes_io_component", "hayabin_pool"})
"""Labels that the scrape adds (the chart's ServiceMonitor, Prometheus itself)."""
_STATEFUL_SET = SCRAPED | {"statefulset"}
_VOLUME = SCRAPED | {"persistentvolumeclaim"}
FOREIGN = {
    "up": SCRAPED,
    # kube-state-metrics
    "kube_statefulset_replicas": _STATEFUL_SET,
    "kube_statefulset_status_replicas_ready": _STATEFUL_SET,
    # the kubelet
    "kubelet_volume_stats_available_bytes": _VOLUME,
    "kubelet_volume_stats_capacity_bytes": _VOLUME,
    # RabbitMQ's plugin rabbitmq_prometheus
    "rabbitmq_alarms_memory_used_watermark": SCRAPED,
    "rabbitmq_alarms_free_disk_space_watermark": SCRAPED,
}
_UNNAMED = {LaneState.OPEN, LaneState.SLOWED, LaneState.RESTING}  # postponed as "busy", and not at all
VALUES = {
    ("hayabin_outcomes_total", "state"): {state.value for state in MessageState},
    ("hayabin_lane_postponed_messages_total", "reason"): {*(set(LaneState) - _UNNAMED), BUSY.reason, "dns"},
    ("hayabin_tls_sessions_total", "policy"): {plan.value for plan in PlanName},
    ("hayabin_tls_sessions_total", "result"): {result.value for result in TlsResult},
    ("hayabin_reply_rules_total", "rule"): {rule.name for rule in shipped_rules()},
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
            if allowed is not None and not all(_fits_one(part, allowed) for part in value.split("|")):
                found.append(f"{selected.metric} has no {label} {value}")
    return found + [f"nothing has the label {label}" for label in sorted(set(grouped_by(tree)) - labels)]


def _fits_one(pattern: str, allowed: set[str]) -> bool:
    return any(re.fullmatch(pattern, value) for value in allowed)


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
