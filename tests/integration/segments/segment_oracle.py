"""What a segment's rules mean, said again in plain Python: the tests hold the SQL against it.

It reads the JSON tree itself, with loops and sets, and knows nothing of the code that it judges.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

Tree = dict[str, Any]


@dataclass
class Contact:
    """Somebody, with all that rules ask about."""

    id: int = 0
    address_key: str = "a@example.jp"
    attributes: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    locale: str = "ja"
    time_zone: str = ""
    flags: list[str] = field(default_factory=list)
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    lists: dict[int, tuple[str, str]] = field(default_factory=dict)
    """State and consent by list."""
    last: dict[str, datetime] = field(default_factory=dict)
    """When they last received, opened, clicked."""
    campaigns: dict[int, tuple[str, set[str]]] = field(default_factory=dict)
    """State of the message, and what was done with it, by campaign."""


@dataclass
class World:
    """The moment, and saved segments by id."""

    now: datetime
    segments: dict[int, Tree] = field(default_factory=dict)


def meets(tree: Tree, contact: Contact, world: World) -> bool:
    """Whether a contact meets rules."""
    if "all" in tree:
        return all(meets(one, contact, world) for one in tree["all"])
    if "any" in tree:
        return any(meets(one, contact, world) for one in tree["any"])
    if "not" in tree:
        return not meets(tree["not"], contact, world)
    if "segment" in tree:
        return meets(world.segments[tree["segment"]], contact, world)
    if "list" in tree:
        return on_list(tree, contact)
    if "activity" in tree:
        return did(tree, contact, world)
    return compared(tree, contact, world)


def on_list(tree: Tree, contact: Contact) -> bool:
    """How they stand with a list, or any."""
    rows = [row for list_id, row in contact.lists.items() if tree["list"] in ("any", list_id)]
    match tree["is"]:
        case "state_in":
            return any(state in tree["value"] for state, _ in rows)
        case "consent_in":
            return any(state == "subscribed" and basis in tree["value"] for state, basis in rows)
        case _:
            return any(state == "subscribed" and basis != "unspecified" for state, basis in rows)


def did(tree: Tree, contact: Contact, world: World) -> bool:
    """What they did."""
    kind, what = tree["activity"], tree["is"]
    if what.startswith("not_"):
        return not did({**tree, "is": what[4:]}, contact, world)
    if what == "never":
        return kind not in contact.last
    if what == "ever":
        return kind in contact.last
    if what == "within_last_days":
        return kind in contact.last and contact.last[kind] >= world.now - timedelta(days=tree["value"])
    mine = [contact.campaigns[one] for one in tree["value"] if one in contact.campaigns]
    if kind == "received":
        return any(state in ("accepted", "complained", "unknown") for state, _ in mine)
    return any({"opened": "open", "clicked": "click"}[kind] in kinds for _, kinds in mine)


def compared(tree: Tree, contact: Contact, world: World) -> bool:
    """An attribute or a field, compared."""
    what = tree["is"]
    contrary = {"not_equals": "equals", "not_in": "in", "is_not_set": "is_set", "contains_none": "contains_any",
                "not_within_last_days": "within_last_days"}  # fmt: skip
    if what in contrary:
        return not compared({**tree, "is": contrary[what]}, contact, world)
    if "field" in tree:
        found, kind = field_of(tree["field"], contact)
    else:
        found, kind = contact.attributes.get(tree["attribute"]), tree["type"]
    if what == "is_set":
        return found not in (None, "") if "attribute" in tree else found not in ("", [])
    return OF_TYPE[kind](tree, found, world)


def field_of(name: str, contact: Contact) -> tuple[Any, str]:
    """The value of a field and its type."""
    match name:
        case "domain":
            return contact.address_key.rpartition("@")[2], "string"
        case "created_at":
            return contact.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "datetime"
        case "flags":
            return contact.flags, "list"
        case _:
            return getattr(contact, name), "string"


def of_string(tree: Tree, found: Any, _: World) -> bool:
    """Texts, exactly."""
    if not isinstance(found, str):
        return False
    value = tree["value"]
    tests: dict[str, Callable[[], bool]] = {
        "equals": lambda: found == value, "in": lambda: found in value,
        "contains": lambda: value in found, "starts_with": lambda: found.startswith(value),
    }  # fmt: skip
    return tests[tree["is"]]()


def of_number(tree: Tree, found: Any, _: World) -> bool:
    """Numbers; true and false are none."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    value = tree["value"]
    tests: dict[str, Callable[[], bool]] = {
        "equals": lambda: found == value, "in": lambda: found in value, "less_than": lambda: found < value,
        "at_most": lambda: found <= value, "more_than": lambda: found > value, "at_least": lambda: found >= value,
        "between": lambda: value[0] <= found <= value[1],
    }  # fmt: skip
    return tests[tree["is"]]()


def of_boolean(tree: Tree, found: Any, _: World) -> bool:
    """True and false."""
    return isinstance(found, bool) and found == tree["value"]


def of_list(tree: Tree, found: Any, _: World) -> bool:
    """Lists of texts."""
    if not isinstance(found, list):
        return False
    texts = {one for one in found if isinstance(one, str)}
    wanted = set(tree["value"])
    return wanted <= texts if tree["is"] == "contains_all" else bool(wanted & texts)


def of_day(tree: Tree, found: Any, world: World) -> bool:
    """Dates, where the moment is."""
    today = world.now.date()
    try:
        day = date.fromisoformat(found) if isinstance(found, str) and len(found) == 10 else None
    except ValueError:
        day = None
    if day is None:
        return False
    if tree["is"] == "anniversary_today":
        leap = (day.month, day.day) == (2, 29) and (today + timedelta(days=1)).strftime("%m%d") == "0301"
        return (day.month, day.day) == (today.month, today.day) or leap
    return in_range(tree, day, today, date.fromisoformat)


def of_moment(tree: Tree, found: Any, world: World) -> bool:
    """Moments, to the second."""
    try:
        moment = datetime.fromisoformat(found) if isinstance(found, str) and found.endswith("Z") else None
    except ValueError:
        moment = None
    if moment is None:
        return False
    return in_range(
        tree,
        moment,
        world.now.replace(microsecond=0),
        lambda value: datetime.fromisoformat(value).astimezone(UTC).replace(microsecond=0),
    )


def in_range(tree: Tree, found: Any, now: Any, read: Callable[[str], Any]) -> bool:
    """A day or a moment, compared."""
    value: Any = tree["value"]
    tests: dict[str, Callable[[], bool]] = {
        "equals": lambda: found == read(value), "before": lambda: found < read(value),
        "on_or_before": lambda: found <= read(value), "after": lambda: found > read(value),
        "on_or_after": lambda: found >= read(value), "between": lambda: read(value[0]) <= found <= read(value[1]),
        "within_last_days": lambda: now - timedelta(days=value) <= found <= now,
        "in_next_days": lambda: now <= found <= now + timedelta(days=value),
    }  # fmt: skip
    return tests[tree["is"]]()


OF_TYPE: dict[str, Callable[[Tree, Any, World], bool]] = {
    "string": of_string, "number": of_number, "boolean": of_boolean, "list": of_list, "date": of_day,
    "datetime": of_moment,
}  # fmt: skip
