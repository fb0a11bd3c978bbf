"""How many mails a tenant may have sent: a day, a month.

Promises: days and months are those of UTC, by the database's clock. A launch takes what it is counted to send, of the
day on which it begins, and two launches at once cannot both take the last of it; when its audience is in the ledger the
scheduler puts what will really be sent in its place, so an estimate stands for seconds. Nothing is counted over the
ledger: there is one row for each launch. A test takes its mails, too; confirmations of sign-ups do not. What is
cancelled later is not given back.
Fails: ``QuotaExceeded`` says which, how much is left and when it begins anew; nothing was taken then.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from hayabin.database.engine import Connection, Pool
from hayabin.domain.tenant_settings import TenantSettings
from services.api.problems import Problem

QUOTA_LOCK: Final = 7246010
_TODAY = "(clock_timestamp() AT TIME ZONE 'UTC')::date"
_USED_SQL = f"""
SELECT {_TODAY} AS today, clock_timestamp() AS now,
       COALESCE(sum(mails) FILTER (WHERE day = {_TODAY}), 0)::bigint AS day,
       COALESCE(sum(mails), 0)::bigint AS month
FROM quota_uses WHERE tenant_id = $1 AND day >= date_trunc('month', {_TODAY}::timestamp)::date"""  # noqa: S608 - ours

_TAKE_SQL = f"""
INSERT INTO quota_uses (campaign_id, tenant_id, day, mails) VALUES ($1, $2, {_TODAY}, $3)
ON CONFLICT (campaign_id) DO NOTHING"""  # noqa: S608 - ours

_SETTLE_SQL = """
UPDATE quota_uses q SET settled = true, mails = greatest(c.audience - COALESCE((
    SELECT sum(n) FROM (
        SELECT n FROM counters k WHERE k.campaign_id = c.id AND k.name = 'suppressed'
        UNION ALL
        SELECT n FROM counter_deltas d WHERE d.campaign_id = c.id AND d.name = 'suppressed') both_parts), 0), 0)
FROM campaigns c
WHERE q.campaign_id = c.id AND NOT q.settled AND NOT c.filling AND c.launched_at IS NOT NULL
RETURNING q.campaign_id"""


class Period(StrEnum):
    """What a quota is for."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Quota:
    """One of a tenant's quotas, as it stands."""

    period: Period
    limit: int
    """0: none."""
    used: int
    resets_at: datetime
    now: datetime

    @property
    def remaining(self) -> int | None:
        """How many mails are left; None: any number."""
        return max(0, self.limit - self.used) if self.limit else None

    @property
    def resets_in_s(self) -> int:
        """Whole seconds until it begins anew."""
        return max(1, -int(-(self.resets_at - self.now).total_seconds() // 1))


class QuotaExceeded(Exception):
    """A launch is larger than what is left of a quota."""

    def __init__(self, quota: Quota, wanted: int) -> None:
        """Keep what the answer says."""
        super().__init__(f"{wanted} mails, {quota.remaining} left of the {quota.period}")
        self.quota = quota
        self.wanted = wanted

    def problem(self) -> Problem:
        """What the API answers."""
        quota = self.quota
        hint = (
            "Ask your administrator for a larger quota, or send to fewer people."
            if self.wanted > quota.limit
            else f"It begins anew at {quota.resets_at.isoformat()}."
        )
        return Problem(
            429,
            "quota-exceeded",
            f"This would send {self.wanted} mails; {quota.remaining} of {quota.limit} are left of the {quota.period}. "
            f"{hint}",
            headers={
                "Retry-After": str(quota.resets_in_s),
                **limit_headers(quota.limit, quota.remaining or 0, quota.resets_in_s),
            },
            members={
                "quota": quota.period,
                "limit": quota.limit,
                "remaining": quota.remaining,
                "wanted": self.wanted,
                "reset_at": quota.resets_at.isoformat(),
            },
        )


def limit_headers(limit: int, remaining: int, reset_s: int) -> dict[str, str]:
    """What is left of a limit, as header fields.

    Source: the IETF draft "RateLimit header fields for HTTP", version 05.
    """
    return {"RateLimit-Limit": str(limit), "RateLimit-Remaining": str(remaining), "RateLimit-Reset": str(reset_s)}


async def quotas_of(connection: Connection, tenant_id: int, settings: TenantSettings) -> tuple[Quota, Quota]:
    """Of the day and of the month, as they stand."""
    row: Any = await connection.fetchrow(_USED_SQL, tenant_id)
    today: date = row["today"]
    tomorrow = _midnight(today + timedelta(days=1))
    next_month = _midnight((today.replace(day=1) + timedelta(days=32)).replace(day=1))
    return (
        Quota(Period.DAY, settings.quota_per_day, row["day"], tomorrow, row["now"]),
        Quota(Period.MONTH, settings.quota_per_month, row["month"], next_month, row["now"]),
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def has_quota(settings: TenantSettings) -> bool:
    """Whether a launch has to be counted for them."""
    return bool(settings.quota_per_day or settings.quota_per_month)


async def require_room(connection: Connection, tenant_id: int, settings: TenantSettings, mails: int) -> None:
    """Pass silently where so many mails are left; until the transaction ends nobody else takes any.

    Raises:
        QuotaExceeded: see the module.
    """
    if not has_quota(settings):
        return
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashint8($2))", QUOTA_LOCK, tenant_id)
    for quota in await quotas_of(connection, tenant_id, settings):
        if quota.remaining is not None and mails > quota.remaining:
            raise QuotaExceeded(quota, mails)


async def take(connection: Connection, tenant_id: int, campaign_id: int, mails: int) -> None:
    """Take mails for a launch, in its transaction; ``require_room`` came before."""
    await connection.execute(_TAKE_SQL, campaign_id, tenant_id, mails)


async def settle(pool: Pool) -> int:
    """Put what is really sent in the place of estimates, for launches whose audience is in the ledger; how many."""
    return len(await pool.fetch(_SETTLE_SQL))
