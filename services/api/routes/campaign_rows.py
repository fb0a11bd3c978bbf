"""Reading and writing campaigns: the SQL of the campaign routes.

Promises: every statement names the tenant; rows come back as plain dicts with the columns that the API shows.
Fails: ``Problem`` 404 for a campaign that is not the tenant's, 422 for references that are not there.
"""

from typing import Any

from services.api.access import Db, Principal
from services.api.forms import Mailbox
from services.api.problems import Problem, not_found

COLUMNS = (
    'id, name, class AS "class", kind, state, state_reason, template_version_id, list_id, domain_id, from_name, '
    "from_address, reply_to, pool, merge_policy, schedule_at, send_by, created_at, updated_at, launched_at, "
    "completed_at, audience, filling, audience_definition"
)
CONTENT = (
    "name", "class", "template_version_id", "list_id", "domain_id", "from_name", "from_address", "reply_to", "pool",
    "merge_policy", "send_by", "audience_definition",
)  # fmt: skip
"""What a draft is made of, in the order of the statements below."""

INSERT_SQL = f"""
INSERT INTO campaigns (tenant_id, {", ".join(CONTENT)})
VALUES ($1, {", ".join(f"${number + 2}" for number in range(len(CONTENT)))}) RETURNING {COLUMNS}"""

UPDATE_SQL = f"""
UPDATE campaigns SET {", ".join(f"{name} = ${number + 3}" for number, name in enumerate(CONTENT))}, updated_at = now()
WHERE tenant_id = $1 AND id = $2 AND state = 'draft' AND updated_at = ${len(CONTENT) + 3} RETURNING {COLUMNS}"""
"""Of a draft that nobody edited since it was read, or what they wrote would be lost."""

COPY_FOR_TEST_SQL = """
INSERT INTO campaigns (tenant_id, name, class, kind, template_version_id, domain_id, from_name, from_address, reply_to,
                       pool, merge_policy)
SELECT tenant_id, name, 'transactional', 'test', template_version_id, domain_id, from_name, from_address, reply_to,
       pool, merge_policy FROM campaigns WHERE id = $1 AND tenant_id = $2 RETURNING id"""

MESSAGES_SQL = """
SELECT m.id, r.wire AS recipient, r.contact_id, m.state, m.attempt AS attempts, m.next_attempt_at, m.reason,
       m.changed_at
FROM messages m CROSS JOIN LATERAL (SELECT wire, contact_id FROM recipients WHERE message_id = m.id OFFSET 0) r
WHERE m.campaign_id = $1 AND m.tenant_id = $5 AND m.id > $2 AND ($4::text IS NULL OR m.state = $4)
ORDER BY m.id LIMIT $3"""
"""OFFSET 0: each recipient is looked up; the planner would merge both tables from their beginning up to the cursor."""


async def require_campaign(db: Db, who: Principal, campaign_id: int) -> dict[str, Any]:
    """The campaign as it is shown.

    Raises:
        Problem: 404.
    """
    row = await db.fetchrow(
        f"SELECT {COLUMNS} FROM campaigns WHERE id = $1 AND tenant_id = $2", campaign_id, who.tenant_id
    )
    if row is None:
        raise not_found("campaign")
    return dict(row)


async def require_domain_of(db: Db, who: Principal, sender: Mailbox) -> int:
    """The id of the sender's domain.

    Raises:
        Problem: 422, the domain is not the tenant's.
    """
    domain_id = await db.fetchval(
        "SELECT id FROM domains WHERE tenant_id = $1 AND name = $2", who.tenant_id, sender.domain
    )
    if domain_id is None:
        raise Problem(
            422,
            "foreign-domain",
            f"{sender.domain} is none of your sending domains: add it with POST /v1/domains.",
            errors=[{"pointer": "#/from_address", "message": "not one of your domains"}],
        )
    return int(domain_id)


async def require_references(db: Db, who: Principal, template_version_id: int, list_id: int | None, pool: str) -> None:
    """Pass silently where the version is published and list and pool are there.

    Raises:
        Problem: 422, naming each that is not.
    """
    version = await db.fetchrow(
        "SELECT v.published_at FROM template_versions v JOIN templates t ON t.id = v.template_id "
        "WHERE v.id = $1 AND t.tenant_id = $2",
        template_version_id,
        who.tenant_id,
    )
    errors = []
    if version is None:
        errors.append({"pointer": "#/template_version_id", "message": "there is no such version"})
    elif version["published_at"] is None:
        errors.append({"pointer": "#/template_version_id", "message": "this version is a draft: publish it first"})
    list_sql = "SELECT id FROM lists WHERE id = $1 AND tenant_id = $2"
    if list_id is not None and not await db.fetchval(list_sql, list_id, who.tenant_id):
        errors.append({"pointer": "#/list_id", "message": "there is no such list"})
    if not await _is_active(db, pool):
        errors.append({"pointer": "#/pool", "message": "there is no such active pool"})
    if errors:
        raise Problem(422, "invalid-request", "The campaign names what is not there.", errors=errors)


async def require_verified(db: Db, domain_id: int, *, override: bool) -> None:
    """Pass silently where the domain is verified, or the caller takes the risk.

    Raises:
        Problem: 409.
    """
    row = await db.fetchrow("SELECT name, verified_at FROM domains WHERE id = $1", domain_id)
    if row is not None and row["verified_at"] is None and not override:
        raise Problem(
            409,
            "unverified-domain",
            f"{row['name']} is not verified: publish its DNS records and POST /v1/domains/{domain_id}/verify, or send "
            '{"allow_unverified_domain": true}.',
        )


async def require_active_pool(db: Db, pool: str) -> None:
    """Pass silently where the pool of a campaign still sends; it stays so until the transaction ends.

    Raises:
        Problem: 409.
    """
    if not await _is_active(db, pool):
        raise Problem(
            409, "pool-removed", f"The pool {pool} was removed: nothing would be sent. Choose another for the campaign."
        )


async def _is_active(db: Db, pool: str) -> bool:
    found = await db.fetchval("SELECT true FROM ip_pools WHERE name = $1 AND state = 'active' FOR SHARE", pool)
    return found is not None
