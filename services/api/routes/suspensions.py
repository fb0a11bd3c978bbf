"""Suspensions: what sends nothing for a time, by an operator's word or by a reply rule."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from services.api.access import Db, PlatformAdmin, ReadCampaigns
from services.api.forms import Form, Id, Line, Moment
from services.api.lane_targets import refused, target_of
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1", tags=["lanes"], route_class=TransactionRoute)
COLUMNS = "id, pool, source_ip, provider, origin, reason, until, created_at"
HOLDS = "(until IS NULL OR until > now())"
LONGEST_S = 366 * 86_400

SUSPEND_SQL = f"""
INSERT INTO suspensions (pool, source_ip, provider, origin, reason, until) VALUES ($1, $2, $3, 'operator', $4, $5)
ON CONFLICT (pool, source_ip, provider, origin) DO UPDATE
SET reason = excluded.reason, until = excluded.until, created_at = now() RETURNING {COLUMNS}"""

RESUME_SQL = f"""
WITH lifted AS (
    DELETE FROM suspensions WHERE ($1::text IS NULL OR pool = $1) AND ($2::text IS NULL OR source_ip = $2)
      AND ($3::text IS NULL OR provider = $3) AND {HOLDS} RETURNING {COLUMNS})
SELECT * FROM lifted ORDER BY id"""


class TargetForm(Form):
    """Which lanes are meant; what is left out stands for any, and at least one is needed."""

    pool: Annotated[Line | None, Field(description="A pool's name")] = None
    source_ip: Annotated[Line | None, Field(description="An IPv4 or IPv6 address, in any spelling")] = None
    provider: Annotated[Line | None, Field(description="A provider's name, or `mx:HOST` for a destination of none")] = (
        None
    )


class SuspensionForm(TargetForm):
    """What to suspend, why, and until when; without a time until it is resumed."""

    reason: Annotated[Line, Field(min_length=1, description="For whoever asks why nothing is sent")]
    for_s: Annotated[int | None, Field(ge=1, le=LONGEST_S, description="Seconds from now on")] = None
    until: Annotated[Moment | None, Field(description="RFC 3339; instead of for_s")] = None


def _end_of(form: SuspensionForm) -> datetime | None:
    now = datetime.now(UTC)
    if form.for_s is not None and form.until is not None:
        raise refused("#/until", "give for_s or until, not both")
    if form.for_s is not None:
        return now + timedelta(seconds=form.for_s)
    if form.until is not None and not now < form.until <= now + timedelta(seconds=LONGEST_S):
        raise refused("#/until", "must be in the future, a year at the most")
    return form.until


@router.get("/suspensions", operation_id="listSuspensions")
async def listed(
    db: Db,
    _who: ReadCampaigns,
    limit: Limit = 100,
    cursor: Cursor = None,
    expired: Annotated[bool, Query(description="Show those too that ended within the last day")] = False,
) -> dict[str, Any]:
    """Suspensions that hold, in order of id: an operator's (`operator`) and those of reply rules (`rule`)."""
    rows = await db.fetch(
        f"SELECT {COLUMNS} FROM suspensions WHERE id > $1 AND ($3 OR {HOLDS}) ORDER BY id LIMIT $2",
        after(cursor),
        limit + 1,
        expired,
    )
    return page(rows, limit)


@router.post("/suspensions", status_code=201, operation_id="suspendLanes")
async def suspend(db: Db, _who: PlatformAdmin, form: SuspensionForm) -> dict[str, Any]:
    """Suspend a pool, a source IP, a provider or what they have in common: within 2 seconds no SMTP transaction begins.

    What is under way is finished. The mail waits in the ledger, with the reason on each message. The same target again
    replaces its reason and its end.
    """
    end = _end_of(form)
    target = await target_of(db, form.pool, form.source_ip, form.provider)
    row = await db.fetchrow(SUSPEND_SQL, *target, form.reason, end)
    return dict(row or {})


@router.delete("/suspensions/{suspension_id}", status_code=204, operation_id="liftSuspension")
async def lift(db: Db, _who: PlatformAdmin, suspension_id: Id) -> None:
    """Lift one suspension; sending goes on within 2 seconds, unless another one holds."""
    if not await db.fetchval("DELETE FROM suspensions WHERE id = $1 RETURNING id", suspension_id):
        raise not_found("suspension")


@router.post("/lanes/resume", operation_id="resumeLanes")
async def resume(db: Db, _who: PlatformAdmin, form: TargetForm) -> dict[str, Any]:
    """Lift every suspension of exactly this target or of a part of it, by whomever; within 2 seconds sending goes on.

    `{"provider": "gmail"}` lifts gmail's own suspension and those of gmail from single pools and source IPs, but not
    the one of a whole source IP. The answer says what was lifted; nothing is no error.
    """
    rows = await db.fetch(RESUME_SQL, *await target_of(db, form.pool, form.source_ip, form.provider))
    return {"lifted": [dict(row) for row in rows]}
