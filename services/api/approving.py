"""What is approved of a campaign, by whom, and whether that is enough for a launch.

Promises: an approval holds for one hash, of the campaign's content, its sender, its audience definition with the rules
of every segment that it names, the template version, and the list's name, which the mail shows; whatever of these is
edited, the hash is another one and no earlier approval holds. When it is launched is not in the hash, so a schedule or
an undo window voids nothing; until when it may be sent (``send_by``) is, as it is edited with the campaign. The one who
edited the campaign last is never its only approver. One approval may be a person's or that of a key without a user;
where two people are needed such a key is nobody, as whoever has two of them would be two.
Fails: database errors come out.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from hayabin.database.engine import Connection
from hayabin.domain.audience import AudienceDefinition
from hayabin.domain.tenant_settings import TenantSettings
from services.api.access import Principal

FORMAT: Final = "hayabin-approval-1"
BOOKKEEPING: Final = frozenset({
    "state", "state_reason", "schedule_at", "created_at", "updated_at", "edited_by_key", "edited_by_user",
    "launched_at", "completed_at", "audience", "fingerprint", "filled_through_id", "fill_turns", "filling",
    "fed_through_id", "traceparent",
})  # fmt: skip
"""Columns of ``campaigns`` that say what became of it; every other one is approved, also those that a release adds."""

_VERSION_SQL = """
SELECT kind, subject, source, text_source,
       (SELECT COALESCE(NULLIF(public_name, ''), name) FROM lists WHERE id = $2) AS list_name
FROM template_versions WHERE id = $1"""
_RULES_SQL = """
WITH RECURSIVE named AS (
    SELECT id, rules FROM segments WHERE tenant_id = $1 AND id = ANY($2::bigint[])
    UNION
    SELECT s.id, s.rules FROM named n
    CROSS JOIN LATERAL jsonb_path_query(n.rules, '$.**.segment') AS inner_id
    JOIN segments s ON s.tenant_id = $1
        AND s.id = CASE jsonb_typeof(inner_id) WHEN 'number' THEN inner_id::bigint END)
SELECT id, rules FROM named ORDER BY id"""
_STANDING_SQL = """
SELECT approver, user_id FROM approvals
WHERE campaign_id = $1 AND tenant_id = $2 AND hash = $3 AND withdrawn_at IS NULL"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a campaign stands with its approvals."""

    hash: bytes
    audience: int | None
    """Counted only where a threshold asks for it."""
    needed: int
    missing: int
    only_editor: bool
    """There are enough, but all by who edited the campaign last."""

    @property
    def says(self) -> str:
        """What is missing, in a sentence."""
        if self.only_editor:
            return "Who edited the campaign last has approved it; somebody else has to."
        people = "another person" if self.missing < self.needed else "a person" if self.needed == 1 else "two people"
        how = ", each by a personal key," if self.needed > 1 else ""
        return f"The audience of {self.audience} needs the approval of {people}{how} for the campaign as it is now."


def approver_of(key_id: int | None, user_id: int | None) -> str:
    """Who counts as one: a person, with however many keys, or a key of no person."""
    return f"user:{user_id}" if user_id is not None else f"key:{key_id}"


def counts(needed: int, user_id: int | None) -> bool:
    """Whether an approval counts: of two people each has to be known as one."""
    return needed < 2 or user_id is not None


async def note_editor(connection: Connection, who: Principal, campaign_id: int) -> None:
    """Remember who wrote what stands in a campaign now."""
    await connection.execute(
        "UPDATE campaigns SET edited_by_key = $3, edited_by_user = $4 WHERE id = $1 AND tenant_id = $2",
        campaign_id,
        who.tenant_id,
        who.key_id,
        who.user_id,
    )


async def hash_of(connection: Connection, campaign: Mapping[str, Any]) -> bytes:
    """The hash of what is approved, as it is now; ``campaign`` is a whole row."""
    content = {name: _plain(value) for name, value in campaign.items() if name not in BOOKKEEPING}
    version = await connection.fetchrow(_VERSION_SQL, campaign["template_version_id"], campaign["list_id"])
    segments = AudienceDefinition.of(campaign["audience_definition"], campaign["list_id"]).segment_ids
    rules = await connection.fetch(_RULES_SQL, campaign["tenant_id"], list(segments)) if segments else []
    whole = [FORMAT, content, dict(version or {}), [[row["id"], row["rules"]] for row in rules]]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).digest()


def _plain(value: Any) -> Any:
    """A column as JSON has it; a moment the same in every time zone."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case bytes():
            return value.hex()
        case _:
            return value


def needed_for(settings: TenantSettings, audience: int) -> int:
    """How many people have to approve a launch to so many."""
    if 0 <= settings.two_approvals_above < audience:
        return 2
    return 1 if 0 <= settings.approval_above < audience else 0


def asks_for_audience(settings: TenantSettings) -> bool:
    """Whether approvals depend on how large the audience is."""
    return settings.approval_above >= 0 or settings.two_approvals_above >= 0


def missing_of(needed: int, approvers: Collection[str], editor: str | None) -> tuple[int, bool]:
    """How many approvals are missing, and whether that is only because they are all the editor's."""
    people = set(approvers)
    missing = max(0, needed - len(people))
    only_editor = needed > 0 and missing == 0 and people <= {editor}
    return (1, True) if only_editor else (missing, False)


async def standing_of(
    connection: Connection, campaign: Mapping[str, Any], settings: TenantSettings, audience: int | None
) -> Standing:
    """How a campaign stands; ``audience`` is its size where ``asks_for_audience``, else None."""
    current = await hash_of(connection, campaign)
    needed = needed_for(settings, audience) if audience is not None else 0
    rows = await connection.fetch(_STANDING_SQL, campaign["id"], campaign["tenant_id"], current)
    approvers = [row["approver"] for row in rows if counts(needed, row["user_id"])]
    edited = campaign["edited_by_key"] is not None
    editor = approver_of(campaign["edited_by_key"], campaign["edited_by_user"]) if edited else None
    missing, only_editor = missing_of(needed, approvers, editor)
    return Standing(hash=current, audience=audience, needed=needed, missing=missing, only_editor=only_editor)
