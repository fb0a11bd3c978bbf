"""What a campaign's audience is made of, read from the database: definition, segments, the tenant's policies.

Promises: three or four look-ups by key, whatever the size of the audience; what is read is of one moment only as far as
the caller's transaction makes it so. The policies are those of the moment at which a page is filled.
Fails: ``CampaignMissing`` of ``launch`` is the caller's to say: None here; ``SegmentMissing`` and ``SegmentTooDeep`` of
``segments``; database errors as they are.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from hayabin.database import segments
from hayabin.database.audience_sql import Audience
from hayabin.database.engine import Connection
from hayabin.domain.audience import AudienceDefinition
from hayabin.domain.campaign import MessageClass
from hayabin.domain.segment import Rule
from hayabin.domain.tenant_settings import ConsentPolicy, TenantSettings

FINGERPRINT_SQL: Final = (
    "sha256(convert_to(json_build_array(v.kind, v.subject, v.source, v.text_source)::text, 'UTF8'))"
)
_READ_SQL = f"""
SELECT c.id, c.tenant_id, c.list_id, c.class, c.audience_definition::text AS definition, t.settings::text AS settings,
       COALESCE(c.fingerprint, {FINGERPRINT_SQL}) AS fingerprint, COALESCE(c.launched_at, now()) AS at
FROM campaigns c JOIN tenants t ON t.id = c.tenant_id JOIN template_versions v ON v.id = c.template_version_id
WHERE c.id = $1"""  # noqa: S608 - a constant of ours

_SAME_CONTENT_SQL = """
SELECT id FROM campaigns
WHERE tenant_id = $1 AND fingerprint = $2 AND id <> $3 AND kind = 'campaign' AND launched_at > $4 ORDER BY id DESC
LIMIT 200"""

_CAPPED_SQL = """
SELECT id FROM campaigns
WHERE tenant_id = $1 AND id <> $2 AND kind = 'campaign' AND class = 'bulk' AND launched_at IS NOT NULL
  AND (completed_at IS NULL AND state <> 'cancelled' OR COALESCE(completed_at, updated_at) > $3) ORDER BY id DESC
LIMIT 1000"""


async def audience_of(connection: Connection, campaign_id: int, *, hold: bool = False) -> Audience | None:
    """The audience that a campaign has by what stands in the database; None where there is no such campaign.

    ``hold``: its segments stay as they are until the transaction ends.
    """
    row = await connection.fetchrow(_READ_SQL, campaign_id)
    if row is None:
        return None
    definition = AudienceDefinition.of(orjson.loads(row["definition"]), row["list_id"])
    settings = TenantSettings.of(orjson.loads(row["settings"]))
    limits = await _limits(connection, row, settings)
    nested: dict[int, Rule] = {}
    for segment_id in definition.segment_ids:
        loaded = await segments.stored(connection, row["tenant_id"], segment_id, hold=hold)
        nested |= {**loaded.nested, segment_id: loaded.rule}
    return Audience(
        campaign_id=row["id"],
        tenant_id=row["tenant_id"],
        list_id=row["list_id"],
        definition=definition,
        nested=nested,
        now=settings.local(row["at"]),
        needs_evidence=settings.consent_policy is ConsentPolicy.REQUIRED,
        **limits,
    )


async def hold_segments(connection: Connection, campaign_id: int) -> None:
    """Let nobody change the segments that a campaign names, however far around, until the transaction ends."""
    await audience_of(connection, campaign_id, hold=True)


async def _limits(connection: Connection, row: Any, settings: TenantSettings) -> dict[str, Any]:
    """What the frequency cap and ``same_content_days`` look at; nothing where the tenant has set neither."""
    limits: dict[str, Any] = {}
    launched: datetime = row["at"]
    if settings.same_content_days > 0:
        since = launched - timedelta(days=settings.same_content_days)
        found = await connection.fetch(_SAME_CONTENT_SQL, row["tenant_id"], row["fingerprint"], row["id"], since)
        limits = {
            "same_content_days": settings.same_content_days,
            "same_content": tuple(one["id"] for one in found),
        }
    if settings.frequency_cap_messages > 0 and row["class"] == MessageClass.BULK:
        since = launched - timedelta(days=settings.frequency_cap_days)
        found = await connection.fetch(_CAPPED_SQL, row["tenant_id"], row["id"], since)
        limits |= {
            "cap": settings.frequency_cap_messages,
            "cap_since": since,
            "cap_campaigns": tuple(one["id"] for one in found),
        }
    return limits
