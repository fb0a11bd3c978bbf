"""What the parts of the walk over all operations are given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hayabin.database.engine import Database


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk that has begun.

    ``does(name, query="", **more)`` sends the documented request of an operation, members replaced by ``more``, and
    holds its answer against the documented one. ``ids`` fill the paths, and hold what was made so far: ``contact_id``,
    ``list_id``, ``template_id``, ``domain_id``, ``campaign_id`` (a draft).
    """

    does: Callable[..., Awaitable[Any]]
    ids: dict[str, Any]
    database: Database
