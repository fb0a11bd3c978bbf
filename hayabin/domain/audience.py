"""Who a campaign goes to, as it is saved: what is included, what is excluded, and why somebody is left out.

Promises: ``AudienceDefinition.of`` reads what the API checked; a campaign with a list and nothing else is ``plain``.
Fails: never; unknown members are of a newer release.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self


class LeftOut(StrEnum):
    """Why somebody who is included gets no mail; in the ledger it is the reason of the state ``suppressed``.

    The order is that of the look: who falls under several has the first.
    """

    EXCLUDED = "excluded"
    """Of an excluded list, segment or campaign; the only one that does not enter the ledger."""
    UNSUBSCRIBED = "unsubscribed"
    """Was in the audience by its definition, and has left the list."""
    ERASED = "erased"
    """Had their data erased; came back by a contact that somebody else made."""
    SUPPRESSED = "suppressed"
    NO_CONSENT = "no_consent"
    """Subscribed nowhere, or without evidence where the tenant requires it."""
    SAME_CONTENT = "same_content"
    """Was sent the same content by another campaign within the tenant's ``same_content_days``."""
    FREQUENCY_CAP = "frequency_cap"
    """Has as many bulk mails as the tenant lets a person have within so many days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceDefinition:
    """Ids of what makes an audience: everybody of the includes who is in none of the excludes."""

    include_lists: tuple[int, ...] = ()
    """Who is subscribed to one of them."""
    include_segments: tuple[int, ...] = ()
    """Who meets the rules of one of them."""
    exclude_lists: tuple[int, ...] = ()
    """Whoever is or was on one of them, in whatever state."""
    exclude_segments: tuple[int, ...] = ()
    exclude_campaigns: tuple[int, ...] = ()
    """Who was or will be sent one of them."""

    @classmethod
    def of(cls, stored: Mapping[str, Any], list_id: int | None) -> Self:
        """The definition that a campaign has; without one it is its list."""
        if not stored:
            return cls(include_lists=() if list_id is None else (list_id,))
        return cls(**{field.name: tuple(stored.get(field.name, ())) for field in fields(cls)})

    @property
    def plain(self) -> bool:
        """Whether it is one list and nothing else."""
        rest = (self.include_segments, self.exclude_lists, self.exclude_segments, self.exclude_campaigns)
        return len(self.include_lists) == 1 and not any(rest)

    @property
    def segment_ids(self) -> tuple[int, ...]:
        """All segments that it names."""
        return self.include_segments + self.exclude_segments
