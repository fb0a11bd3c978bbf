"""Random people and random rules about them, from a seed; texts are hostile on purpose.

Promises: the same seed gives the same; values are drawn from small sets, so that most rules divide the people.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tests.integration.segments.segment_oracle import Contact, Tree

NOW = datetime(2027, 2, 28, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=9)))
"""Where 29 February is celebrated, while it is still the 27th in UTC."""
TEXTS = [
    "gold", "silver", "", "サンプル商事", "100%", "a_b", "'; DROP TABLE contacts; --", "$1", "{}", '"', "\\", "' OR '1'='1",
    "%s", ":x", "?", "1", "true", "null", "2026-11-24",
]  # fmt: skip
NAMES = ["plan", "age", "vip", "born", "seen", "tags", "x' OR 1=1 --", 'é"$1', "a.b"]
TYPES = ["string", "number", "boolean", "date", "datetime", "list"]
STATES = ["pending", "subscribed", "unsubscribed", "bounced", "complained"]
BASES = ["form", "import", "api", "unspecified"]
MESSAGE_STATES = ["due", "accepted", "bounced", "unknown", "complained", "suppressed"]
FLAGS = ["role", "disposable"]


def a_day(dice: random.Random) -> str:
    """A date around now; often an anniversary."""
    near = (NOW + timedelta(days=dice.randint(-40, 40))).date().isoformat()
    return dice.choice(["2000-02-29", "1999-02-28", "1980-03-01", near, near, "0001-01-01", "9999-12-31"])


def a_moment(dice: random.Random) -> str:
    """A moment around now, as it is stored."""
    moment = NOW + timedelta(days=dice.randint(-40, 40), seconds=dice.choice([0, 0, 1]))
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def a_value(dice: random.Random, kind: str) -> Any:
    """A value of a type."""
    match kind:
        case "string":
            return dice.choice(TEXTS)
        case "number":
            return dice.choice([0, 1, -1, 2.5, 1.0, 1e15, 7, 2**53])
        case "boolean":
            return dice.random() < 0.5
        case "date":
            return a_day(dice)
        case "datetime":
            return a_moment(dice)
        case _:
            return [dice.choice(TEXTS) for _ in range(dice.randint(0, 3))]


def a_contact(dice: random.Random, number: int, lists: list[int], campaigns: list[int]) -> Contact:
    """Somebody; now and then an attribute has a value of another type, or one that no type has."""
    odd: list[Any] = [None, {"gold": 1}, ["gold"], "gold", 1, True, {}, "not-a-date", "2026/11/24", [1, "gold"]]
    attributes = {
        name: dice.choice(odd) if dice.random() < 0.25 else a_value(dice, dice.choice(TYPES))
        for name in NAMES
        if dice.random() < 0.75
    }
    return Contact(
        address_key=f"u{number}@{dice.choice(['example.jp', 'docomo.ne.jp', 'x.example'])}",
        attributes=attributes,
        stage=dice.choice(TEXTS),
        locale=dice.choice(["ja", "en", "en-GB"]),
        time_zone=dice.choice(["", "Asia/Tokyo"]),
        flags=[flag for flag in FLAGS if dice.random() < 0.3],
        created_at=NOW + timedelta(days=dice.randint(-40, 0), microseconds=dice.choice([0, 1, -678901])),
        lists={one: (dice.choice(STATES), dice.choice(BASES)) for one in lists if dice.random() < 0.5},
        last={
            kind: NOW + timedelta(days=-dice.randint(0, 40), microseconds=dice.choice([0, -1, 1]))
            for kind in ("received", "opened", "clicked")
            if dice.random() < 0.6
        },
        campaigns={
            one: (dice.choice(MESSAGE_STATES), {kind for kind in ("open", "click") if dice.random() < 0.4})
            for one in campaigns
            if dice.random() < 0.6
        },
    )


OPS = {
    "string": ["equals", "not_equals", "in", "not_in", "contains", "starts_with", "is_set", "is_not_set"],
    "number": ["equals", "not_equals", "in", "not_in", "less_than", "at_most", "more_than", "at_least", "between",
               "is_set", "is_not_set"],
    "boolean": ["equals", "not_equals", "is_set", "is_not_set"],
    "date": ["equals", "not_equals", "before", "on_or_before", "after", "on_or_after", "between", "within_last_days",
             "not_within_last_days", "in_next_days", "anniversary_today", "is_set", "is_not_set"],
    "datetime": ["equals", "not_equals", "before", "on_or_before", "after", "on_or_after", "between",
                 "within_last_days", "not_within_last_days", "in_next_days", "is_set", "is_not_set"],
    "list": ["contains_any", "contains_all", "contains_none", "is_set", "is_not_set"],
}  # fmt: skip
WITHOUT_VALUE = {"is_set", "is_not_set", "anniversary_today", "has_consent", "ever", "never"}


def a_comparison(dice: random.Random, subject: Tree, kind: str) -> Tree:
    """A leaf about an attribute or a field."""
    what = dice.choice(OPS[kind])
    tree = {**subject, "is": what}
    if what in WITHOUT_VALUE:
        return tree
    if what.endswith("_days"):
        return {**tree, "value": dice.randint(0, 40)}
    if what in ("in", "not_in") or kind == "list":
        item = "string" if kind == "list" else kind
        return {**tree, "value": [a_value(dice, item) for _ in range(dice.randint(1, 4))]}
    if what == "between":
        return {**tree, "value": [a_value(dice, kind), a_value(dice, kind)]}
    return {**tree, "value": a_value(dice, kind)}


SUBJECTS = ("attribute", "attribute", "attribute", "field", "list", "activity", "segment")


def a_leaf(
    dice: random.Random, lists: list[int], campaigns: list[int], segments: list[int], subjects: Sequence[str] = SUBJECTS
) -> Tree:
    """A rule without others in it."""
    match dice.choice(subjects):
        case "attribute":
            kind = dice.choice(TYPES)
            return a_comparison(dice, {"attribute": dice.choice(NAMES), "type": kind}, kind)
        case "field":
            name = dice.choice(["stage", "locale", "time_zone", "domain", "created_at", "flags"])
            kind = {"created_at": "datetime", "flags": "list"}.get(name, "string")
            return a_comparison(dice, {"field": name}, kind)
        case "list":
            what = dice.choice(["state_in", "consent_in", "has_consent"])
            tree = {"list": dice.choice([*lists, "any"]), "is": what}
            if what == "has_consent":
                return tree
            return {**tree, "value": dice.sample(STATES if what == "state_in" else BASES, dice.randint(1, 3))}
        case "segment" if segments:
            return {"segment": dice.choice(segments)}
        case _:
            what = dice.choice(["within_last_days", "not_within_last_days", "ever", "never", "in_campaigns",
                                "not_in_campaigns"])  # fmt: skip
            tree = {"activity": dice.choice(["received", "opened", "clicked"]), "is": what}
            if what in WITHOUT_VALUE:
                return tree
            if what.endswith("_days"):
                return {**tree, "value": dice.randint(0, 40)}
            return {**tree, "value": dice.sample(campaigns, dice.randint(1, len(campaigns)))}


def a_tree(
    dice: random.Random,
    depth: int,
    lists: list[int],
    campaigns: list[int],
    segments: list[int],
    subjects: Sequence[str] = SUBJECTS,
) -> Tree:
    """Rules, at most so deep."""
    if depth <= 1 or dice.random() < 0.3:
        return a_leaf(dice, lists, campaigns, segments, subjects)

    def inner() -> Tree:
        return a_tree(dice, depth - 1, lists, campaigns, segments, subjects)

    match dice.choice(["all", "any", "not"]):
        case "not":
            return {"not": inner()}
        case several:
            return {several: [inner() for _ in range(dice.randint(1, 3))]}
