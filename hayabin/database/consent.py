"""The consent ledger: who agreed to what, when, and how we know.

Promises: rows are added and never changed; the database refuses UPDATE, DELETE and TRUNCATE
(``consents_append_only``), but for two things: the erasure of a person replaces address, IP, user agent and note by a
keyed hash, once; and rows that are older than both three years and what the tenant keeps them for may go. Call within
the transaction of what the evidence is for.
Fails: database errors as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hayabin.database.engine import Connection, Pool
from hayabin.domain.consent import ConsentAction, ConsentBasis

RETENTION_MIN_DAYS: Final = 1095
"""Three years; the trigger knows the number too."""
SOURCE_MAX_CHARS: Final = 200
USER_AGENT_MAX_CHARS: Final = 500
NOTE_MAX_CHARS: Final = 2000
IP_MAX_CHARS: Final = 45

COLUMNS: Final = "action, basis, source, wording, ip, user_agent, note, occurred_at"

_RECORD_SQL = f"""
INSERT INTO consents (tenant_id, contact_id, address_key, list_id, {COLUMNS})
SELECT $1, c.id, c.address_key, $2, $4, $5, $6, $7, $8, $9, $10, COALESCE($11, now())
FROM contacts c WHERE c.tenant_id = $1 AND c.id = ANY($3) ORDER BY c.id"""  # noqa: S608 - a constant of ours

_RECORD_ADDRESS_SQL = f"""
INSERT INTO consents (tenant_id, contact_id, address_key, list_id, {COLUMNS})
SELECT $1, (SELECT id FROM contacts c WHERE c.tenant_id = $1 AND c.address_key = $3), $3, $2,
       $4, $5, $6, $7, $8, $9, $10, COALESCE($11, now())"""  # noqa: S608 - a constant of ours

_LAST_WORD_SQL = """
SELECT action FROM consents WHERE tenant_id = $1 AND address_key = $2 AND list_id = $3 ORDER BY id DESC LIMIT 1"""

_ANONYMISE_SQL = """
UPDATE consents SET address_hash = $3, address_key = '', ip = NULL, user_agent = '', note = ''
WHERE tenant_id = $1 AND address_key = $2 AND address_hash IS NULL"""

_RETENTIONS_SQL = """
SELECT id, (settings ->> 'consent_retention_days')::int AS days FROM tenants
WHERE (settings ->> 'consent_retention_days')::int > 0 ORDER BY id"""

_FORGET_SQL = """
DELETE FROM consents WHERE id IN (
    SELECT id FROM consents WHERE tenant_id = $1 AND recorded_at < now() - make_interval(days => $2) LIMIT $3)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was done about a consent, and how we know."""

    action: ConsentAction
    basis: ConsentBasis
    source: str
    """Which form, import job, API key or mail: ``form:3``, ``import:17``, ``api_key:5``, ``message:912``."""
    wording: str = ""
    """The version of the words that they agreed to."""
    ip: str | None = None
    user_agent: str = ""
    note: str = ""
    occurred_at: datetime | None = None
    """When they did it; None: now."""
    by_link: bool = False
    """They followed the link of a mail of ours: the mailbox works, whatever was reported of it. Not kept."""

    def columns(self) -> tuple[str, str, str, str, str | None, str, str, datetime | None]:
        """The values of ``COLUMNS``, as long as they may be."""
        return (
            self.action.value,
            self.basis.value,
            _stored(self.source, SOURCE_MAX_CHARS),
            _stored(self.wording, SOURCE_MAX_CHARS),
            None if self.ip is None else _stored(self.ip, IP_MAX_CHARS),
            _stored(self.user_agent, USER_AGENT_MAX_CHARS),
            _stored(self.note, NOTE_MAX_CHARS),
            self.occurred_at,
        )


def _stored(text: str, most: int) -> str:
    """What people's programs send, as Postgres takes it."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:most]


async def record(
    connection: Connection, tenant_id: int, list_id: int, contact_ids: Sequence[int], evidence: Evidence
) -> None:
    """Add a row for each contact of the tenant; ``list_id`` 0 stands for every mail."""
    await connection.execute(_RECORD_SQL, tenant_id, list_id, list(contact_ids), *evidence.columns())


async def record_address(
    connection: Connection, tenant_id: int, list_id: int, address_key: str, evidence: Evidence
) -> None:
    """Add a row for an address, whose contact may be gone."""
    await connection.execute(_RECORD_ADDRESS_SQL, tenant_id, list_id, address_key, *evidence.columns())


async def record_opt_out(
    connection: Connection, tenant_id: int, list_id: int, address_key: str, evidence: Evidence
) -> None:
    """Add a row for an address that wants no mail, unless that is its last word on the list already."""
    last = await connection.fetchval(_LAST_WORD_SQL, tenant_id, address_key, list_id)
    if last != ConsentAction.OPT_OUT:
        await record_address(connection, tenant_id, list_id, address_key, evidence)


async def anonymise(connection: Connection, tenant_id: int, address_key: str, address_hash: bytes) -> int:
    """Replace an address by its keyed hash in all rows, and what else may tell who it was; returns how many."""
    status: str = await connection.execute(_ANONYMISE_SQL, tenant_id, address_key, address_hash)
    return int(status.rpartition(" ")[2])


async def retentions(pool: Pool) -> list[tuple[int, int]]:
    """The tenants that do not keep everything for ever, and for how many days they do."""
    return [(row["id"], row["days"]) for row in await pool.fetch(_RETENTIONS_SQL)]


async def forget(pool: Pool, tenant_id: int, days: int, limit: int) -> int:
    """Remove up to ``limit`` rows of a tenant that are older than that, and than three years; returns how many."""
    status: str = await pool.execute(_FORGET_SQL, tenant_id, max(days, RETENTION_MIN_DAYS), limit)
    return int(status.rpartition(" ")[2])
