"""Warm-ups: how much a new source IP may send to a provider on each day, until it is known there."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from hayabin.domain.warmup import MAX_DAYS, WarmupPlan
from services.api.access import Db, PlatformAdmin, ReadCampaigns
from services.api.forms import Form
from services.api.lane_targets import ANY, refused, source_ip_of, warmup_lane_of
from services.api.paging import Cursor, Limit, page, words_after
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/warmups", tags=["warm-ups"], route_class=TransactionRoute)
_COLUMNS = "source_ip, provider, start_per_day, growth, end_per_day, started_on, created_at"

# Of '*': the lane that used most, among those without a plan of their own.
_SELECT = f"""
SELECT {_COLUMNS}, concat_ws(' ', source_ip, provider) AS place, COALESCE((
    SELECT max(u.granted) FROM lane_usage u WHERE u.source_ip = w.source_ip AND u.day = $1
      AND (u.lane = w.provider OR (w.provider = '{ANY}' AND u.lane NOT LIKE 'mx:%' AND NOT EXISTS (
          SELECT 1 FROM warmups own WHERE own.source_ip = w.source_ip AND own.provider = u.lane)))), 0) AS used_today
FROM warmups w"""

_PUT_SQL = """
INSERT INTO warmups (source_ip, provider, start_per_day, growth, end_per_day, started_on)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (source_ip, provider) DO UPDATE SET start_per_day = excluded.start_per_day, growth = excluded.growth,
    end_per_day = excluded.end_per_day, started_on = excluded.started_on"""


class WarmupForm(Form):
    """A plan; day n (from 0, UTC) has a cap of start_per_day × growth^n, rounded down."""

    start_per_day: Annotated[int, Field(description="Messages on the first day")]
    growth: Annotated[float, Field(description="Factor from one day to the next, above 1 and up to 10")]
    end_per_day: Annotated[int, Field(description="Once the cap would be this, the plan is over: no cap any more")]
    started_on: Annotated[
        date | None, Field(strict=False, description="The first day (UTC), today if left out; before it no mail goes")
    ] = None


def _today() -> date:
    return datetime.now(UTC).date()


def _shown(row: dict[str, Any], today: date) -> dict[str, Any]:
    plan = WarmupPlan(row["start_per_day"], row["growth"], row["end_per_day"], row["started_on"])
    cap = plan.cap_on(today)
    shown = {name: value for name, value in row.items() if name != "place"}
    return {
        **shown,
        "day": (today - plan.started_on).days,
        "days": len(plan.schedule()),
        "cap_today": cap,
        "finished": cap is None,
    }


def _plan_of(form: WarmupForm, today: date) -> WarmupPlan:
    started_on = form.started_on or today
    if started_on > today + timedelta(days=MAX_DAYS):
        raise refused("#/started_on", "a year ahead at the most: before it no mail goes")
    try:
        return WarmupPlan(form.start_per_day, form.growth, form.end_per_day, started_on)
    except ValueError as error:
        member, _, message = str(error).partition(": ")
        raise refused(f"#/{member}", message) from error


@router.get("", operation_id="listWarmups")
async def listed(db: Db, _who: ReadCampaigns, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Warm-up plans by source IP and provider: the day (from 0; negative before the start), its cap and what was used.

    `cap_today` is null once the plan is `finished`. For `*` (every provider of this IP without a plan of its own, each
    by itself) `used_today` is the highest of them; it counts what dispatchers reserved, so it may be a little ahead.
    """
    today = _today()
    rows = await db.fetch(
        f"{_SELECT} WHERE (source_ip, provider) > ($2, $3) ORDER BY source_ip, provider LIMIT $4",
        today,
        *words_after(cursor, 2),
        limit + 1,
    )
    answer = page(rows, limit, key="place")
    return {**answer, "items": [_shown(item, today) for item in answer["items"]]}


@router.put("/{source_ip}/{provider}", operation_id="planWarmup")
async def put(db: Db, _who: PlatformAdmin, source_ip: str, provider: str, form: WarmupForm) -> dict[str, Any]:
    """Plan the warm-up of a source IP for a provider, for `other` (all other destinations together) or for `*`.

    What exceeds the day's cap goes by warm IPs of the pool; where there are none it waits, with the reason and the time
    on each message. The dispatchers take the plan over within 2 seconds; what was sent today counts.
    """
    address, lane = source_ip_of(source_ip, "path:source_ip"), warmup_lane_of(provider)
    today = _today()
    plan = _plan_of(form, today)
    await db.execute(_PUT_SQL, address, lane, plan.start_per_day, plan.growth, plan.end_per_day, plan.started_on)
    row = await db.fetchrow(f"{_SELECT} WHERE source_ip = $2 AND provider = $3", today, address, lane)
    return _shown(dict(row or {}), today)


@router.delete("/{source_ip}/{provider}", status_code=204, operation_id="endWarmup")
async def delete(db: Db, _who: PlatformAdmin, source_ip: str, provider: str) -> None:
    """End a warm-up: the source IP is taken for warm within 2 seconds."""
    if not await db.fetchval(
        "DELETE FROM warmups WHERE source_ip = $1 AND provider = $2 RETURNING provider",
        source_ip_of(source_ip, "path:source_ip"),
        warmup_lane_of(provider),
    ):
        raise not_found("warm-up")
