"""Settings of a tenant: what it has decided for all its campaigns.

Promises: only what a tenant changed is kept, so a default that a later release changes reaches it; a value out of its
range or a name that is none is refused, and nothing is changed then.
"""

from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import AfterValidator, Field

from hayabin.database.consent import RETENTION_MIN_DAYS
from hayabin.domain import time_zones
from hayabin.domain.tenant_settings import TenantSettings
from services.api.access import Db, ReadCampaigns, TenantAdmin
from services.api.audit_trail import tell
from services.api.forms import Form, Line
from services.api.problems import Problem
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/settings", tags=["settings"], route_class=TransactionRoute)
Days = Annotated[int, Field(ge=1, le=365)]
Audience = Annotated[int, Field(ge=-1, le=10**9)]
Count = Annotated[int, Field(ge=0, le=10**12)]
_FREE_TEXT = frozenset({"sender_name", "postal_address", "contact"})
"""May name a person, so the audit log has only that they were changed."""

_CHANGE_SQL = """
UPDATE tenants SET settings = (settings || $2::jsonb) - $3::text[] WHERE id = $1 RETURNING settings"""


def _known_zone(name: str) -> str:
    if name not in time_zones.names():
        raise ValueError("no time zone of the IANA database, such as Asia/Tokyo")
    return name


class SettingsForm(Form):
    """What changes; `null` goes back to the default."""

    consent_policy: Annotated[
        Literal["recorded", "required"] | None,
        Field(description="`required`: only who is subscribed with evidence of consent is in an audience"),
    ] = None
    frequency_cap_messages: Annotated[
        Annotated[int, Field(ge=0, le=1000)] | None,
        Field(description="Bulk mails a person may have within frequency_cap_days; 0: any number"),
    ] = None
    frequency_cap_days: Days | None = None
    same_content_days: Annotated[
        Annotated[int, Field(ge=0, le=365)] | None,
        Field(description="Who had the same content within so many days does not get it again; 0: gets it"),
    ] = None
    approval_above: Annotated[
        Audience | None, Field(description="A larger audience needs an approval; -1: none does")
    ] = None
    two_approvals_above: Annotated[
        Audience | None, Field(description="A larger audience needs two people to approve, by personal keys; -1: never")
    ] = None
    undo_s: Annotated[
        Annotated[int, Field(ge=0, le=3600)] | None,
        Field(description="Seconds that a launch waits before its first mail, to be taken back"),
    ] = None
    expected_count_percent: Annotated[
        Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None,
        Field(description="How far an audience may be from the `expected_count` of its launch"),
    ] = None
    legal_checks: Literal["off", "warn", "block"] | None = None
    sender_name: Line | None = None
    postal_address: Line | None = None
    contact: Annotated[
        Line | None, Field(description="Where complaints and questions go: an address, URL or telephone number")
    ] = None
    quota_per_month: Annotated[Count | None, Field(description="Mails a calendar month (UTC); 0: any number")] = None
    quota_per_day: Annotated[Count | None, Field(description="Mails a calendar day (UTC); 0: any number")] = None
    quota_per_s: Annotated[
        Annotated[int, Field(ge=0, le=10_000)] | None,
        Field(description="Requests a second that send (launch, test, resume), of all keys; 0: any number"),
    ] = None
    time_zone: Annotated[
        Annotated[str, Field(max_length=100), AfterValidator(_known_zone)] | None,
        Field(description="Of the IANA database: where `today` is for rules of segments about dates"),
    ] = None
    consent_retention_days: Annotated[
        Annotated[int, Field(ge=RETENTION_MIN_DAYS, le=36_500)] | None,
        Field(description="Days that the consent ledger is kept, three years at the least; null: for ever"),
    ] = None


def shown(stored: dict[str, Any]) -> dict[str, Any]:
    """Every setting as it holds now, and which were changed."""
    names = {field.name for field in fields(TenantSettings)}
    return {**asdict(TenantSettings.of(stored)), "changed": sorted(names & stored.keys())}


@router.get("", operation_id="getSettings")
async def get(db: Db, who: ReadCampaigns) -> dict[str, Any]:
    """Every setting as it holds now; `changed` names those that are not at their defaults by themselves."""
    return shown(await db.fetchval("SELECT settings FROM tenants WHERE id = $1", who.tenant_id))


@router.patch("", operation_id="changeSettings")
async def change(db: Db, who: TenantAdmin, request: Request, form: Annotated[SettingsForm, Body()]) -> dict[str, Any]:
    """Change some settings; what is left out stays, `null` goes back to the default."""
    changes = form.model_dump(exclude_unset=True)
    kept = {name: value for name, value in changes.items() if value is not None}
    reset = sorted(changes.keys() - kept.keys())
    stored = await db.fetchval(_CHANGE_SQL, who.tenant_id, kept, reset)
    _require_sense(TenantSettings.of(stored))
    tell(request, changed={name: value for name, value in kept.items() if name not in _FREE_TEXT}, reset=reset)
    return shown(stored)


def _require_sense(settings: TenantSettings) -> None:
    """Pass silently where the settings go together.

    Raises:
        Problem: 422; the change is rolled back.
    """
    one, two = settings.approval_above, settings.two_approvals_above
    if two >= 0 and 0 <= two < one:
        errors = [{"pointer": "#/two_approvals_above", "message": "must not be below approval_above"}]
        raise Problem(422, "invalid-request", "Two approvals would be needed where one is not.", errors=errors)
