"""Rules that are counted: the common ones, which have a goal, and dearer ones, which do not."""

from typing import Any

from benchmarks.segments_parts.population import Population

Tree = dict[str, Any]


def common(population: Population) -> dict[str, Tree]:
    """One thing each, and combinations of two and three."""
    gold: Tree = {"attribute": "plan", "is": "equals", "value": "gold"}
    middle_aged: Tree = {"attribute": "age", "is": "between", "value": [30, 50]}
    stage: Tree = {"field": "stage", "is": "in", "value": ["見積", "成約"]}
    subscribed: Tree = {"list": population.lists[0], "is": "state_in", "value": ["subscribed"]}
    opened: Tree = {"activity": "opened", "is": "within_last_days", "value": 30}
    nothing_received: Tree = {"activity": "received", "is": "not_within_last_days", "value": 90}
    return {
        "attribute equals": gold,
        "number between": middle_aged,
        "stage": stage,
        "list state": subscribed,
        "opened in 30 days": opened,
        "nothing received in 90 days": nothing_received,
        "stage and number": {"all": [stage, middle_aged]},
        "list and opened": {"all": [subscribed, opened]},
        "attribute and nothing received": {"all": [gold, nothing_received]},
        "attribute, stage and opened": {"all": [gold, stage, opened]},
        "list, number and nothing received": {"all": [subscribed, middle_aged, nothing_received]},
        "opened or stage": {"any": [opened, stage]},
        "list, and not opened": {"all": [subscribed, {"not": opened}]},
    }


def dearer(population: Population) -> dict[str, Tree]:
    """What looks into the ledger, or at each text."""
    last = list(population.campaigns[:3])
    return {
        "company contains": {"attribute": "company", "is": "contains", "value": "商事 77"},
        "joined after": {"attribute": "joined", "type": "date", "is": "after", "value": "2024-01-01"},
        "domain": {"field": "domain", "is": "equals", "value": "d17.example"},
        "opened one campaign": {"activity": "opened", "is": "in_campaigns", "value": last[:1]},
        "received none of three": {"activity": "received", "is": "not_in_campaigns", "value": last},
        "any list, with evidence": {"list": "any", "is": "has_consent"},
    }
