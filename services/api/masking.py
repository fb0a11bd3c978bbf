"""Personal data as a caller may see it: all of it, or enough to recognise what one knows already.

Promises: whoever lacks ``contacts:read_personal`` gets no address, no name and no attribute that is flagged personal
whole; whoever has it gets everything. Domains stay: what becomes of mail depends on them.
Fails: never; members that a row has not are ignored.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from asyncpg import Record

from hayabin.database.engine import Connection
from hayabin.domain.masking import masked_address, masked_text
from services.api.access import Principal, Scope

ADDRESSES: Final = ("email", "recipient")
NAMES: Final = ("name",)
_ADDRESS_LIKE = re.compile(
    r"(?:\"[^\"\s@]{1,64}\"|[^\s<>()\[\],;:\"@=/?&%]{1,64})(@|%40)([^\s<>()\[\],;:\"@/?&%]{1,255})", re.IGNORECASE
)


async def personal_names(db: Connection, who: Principal) -> frozenset[str]:
    """The attributes that are masked for the caller; none where they may see personal data."""
    if who.may(Scope.CONTACTS_READ_PERSONAL):
        return frozenset()
    rows = await db.fetch("SELECT name FROM attribute_definitions WHERE tenant_id = $1 AND personal", who.tenant_id)
    return frozenset(row["name"] for row in rows)


def shown(row: Mapping[str, Any] | Record, who: Principal, personal: frozenset[str]) -> dict[str, Any]:
    """A row with ``email``, ``recipient``, ``name``, ``address`` and ``attributes`` as the caller may see them."""
    found = dict(row)
    if who.may(Scope.CONTACTS_READ_PERSONAL):
        return found
    for name in ("email", "recipient", "address"):
        if isinstance(found.get(name), str):
            found[name] = masked_address(found[name])
    if isinstance(found.get("name"), str):
        found["name"] = masked_text(found["name"])
    if isinstance(found.get("attributes"), Mapping):
        found["attributes"] = shown_attributes(found["attributes"], personal)
    return found


def shown_attributes(attributes: Mapping[str, Any], personal: frozenset[str]) -> dict[str, Any]:
    """Attributes with the personal ones masked, and whatever looks like an address in the others."""
    return {
        name: masked_value(value) if name in personal else without_addresses(value)
        for name, value in attributes.items()
    }


def shown_change(row: Mapping[str, Any] | Record, who: Principal, personal: frozenset[str]) -> dict[str, Any]:
    """A row of a contact's history as the caller may see it."""
    found = dict(row)
    if who.may(Scope.CONTACTS_READ_PERSONAL):
        return found
    field = str(found["field"])
    hidden = field in ("email", "name", "merged") or field.removeprefix("attributes.") in personal
    mask = masked_value if hidden else without_addresses
    return {**found, "old": mask(found["old"]), "new": mask(found["new"])}


def masked_value(value: Any) -> Any:
    """A personal value that says no more than that it is there; texts keep their first character."""
    match value:
        case None:
            return None
        case str():
            return masked_address(value) if "@" in value else masked_text(value)
        case list():
            return [masked_value(item) for item in value]
        case dict():
            return {name: masked_value(item) for name, item in value.items()}
        case _:
            return "•••"


def without_addresses(value: Any) -> Any:
    """Free text, or what is made of it, with the addresses in it masked."""
    match value:
        case str():
            return _ADDRESS_LIKE.sub(lambda found: f"{found[0].lstrip(chr(34))[:1]}•••{found[1]}{found[2]}", value)
        case list():
            return [without_addresses(item) for item in value]
        case dict():
            return {name: without_addresses(item) for name, item in value.items()}
        case _:
            return value


def without_words(value: Any, words: Iterable[str]) -> Any:
    """Free text of others (replies, transcripts, links) with addresses and these words masked, however they are spelt.

    ``words``: what is known to be personal of whoever the text is about; words inside of words stay.
    """
    spelt = {form for word in words if word.strip() for form in (word, quote(word), quote(word, safe="@"))}
    if not spelt:
        return without_addresses(value)
    # longest first, or a part of an address would be masked and its rest stay
    parts = "|".join(_whole(form) for form in sorted(spelt, key=len, reverse=True))
    return _replaced(value, re.compile(parts, re.IGNORECASE))


def _whole(form: str) -> str:
    """The pattern of a word that is no part of a longer one; Japanese has no spaces that would tell."""
    return rf"(?<![^\W_]){re.escape(form)}(?![^\W_])" if form.isascii() else re.escape(form)


def texts_in(value: Any) -> list[str]:
    """All texts and numbers in a value, as they could be written elsewhere."""
    match value:
        case None | bool():
            return []
        case list():
            return [text for item in value for text in texts_in(item)]
        case dict():
            return [text for item in value.values() for text in texts_in(item)]
        case _:
            return [str(value)]


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    match value:
        case str():
            return pattern.sub("•••", without_addresses(value))
        case list():
            return [_replaced(item, pattern) for item in value]
        case dict():
            return {name: _replaced(item, pattern) for name, item in value.items()}
        case _:
            return value
