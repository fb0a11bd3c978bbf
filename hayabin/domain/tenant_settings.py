"""What a tenant decides for all its campaigns; kept as JSON in ``tenants.settings``.

Promises: a name that is missing in the JSON has the default below; a default changes nothing for a tenant that never
asked. Fails: never, as what is stored was checked by the API; but for a time zone that newer data no longer has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from hayabin.domain import time_zones


class ConsentPolicy(StrEnum):
    """Who may be in an audience, by what is known of their consent."""

    RECORDED = "recorded"
    """Whoever is subscribed; a subscription without evidence is recorded as ``unspecified``."""
    REQUIRED = "required"
    """Only who is subscribed with evidence."""


class LegalChecks(StrEnum):
    """What becomes of a launch whose mail lacks what the law wants shown."""

    OFF = "off"
    WARN = "warn"
    BLOCK = "block"
    """Refused, but for who has the right ``campaigns:override`` and says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """See the module; 0 and empty texts mean "not set"."""

    consent_policy: ConsentPolicy = ConsentPolicy.RECORDED
    frequency_cap_messages: int = 0
    """Bulk mails that a person may have within ``frequency_cap_days``."""
    frequency_cap_days: int = 7
    same_content_days: int = 0
    """Who had the same content within so many days does not get it again."""
    approval_above: int = -1
    """An audience larger than this needs an approval; -1: none does."""
    two_approvals_above: int = -1
    """An audience larger than this needs the approvals of two people, by personal keys; -1: none does."""
    undo_s: int = 0
    """How long a launch waits before its first mail, to be taken back."""
    expected_count_percent: float = 10.0
    """How far the audience may be from the ``expected_count`` of a launch."""
    legal_checks: LegalChecks = LegalChecks.WARN
    sender_name: str = ""
    postal_address: str = ""
    contact: str = ""
    """Where complaints and questions go: an address, URL or telephone number."""
    quota_per_month: int = 0
    quota_per_day: int = 0
    quota_per_s: int = 0
    time_zone: str = "Asia/Tokyo"
    """Of the IANA database: where "today" is for rules of segments about dates."""
    consent_retention_days: int = 0
    """How long the consent ledger is kept, 1095 (three years) at the least; 0: for ever."""

    def local(self, moment: datetime) -> datetime:
        """The moment in the tenant's time zone."""
        return moment.astimezone(time_zones.zone(self.time_zone))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The settings that ``tenants.settings`` holds; unknown names are of a newer release."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        if "consent_policy" in values:
            values["consent_policy"] = ConsentPolicy(values["consent_policy"])
        if "legal_checks" in values:
            values["legal_checks"] = LegalChecks(values["legal_checks"])
        return cls(**values)
