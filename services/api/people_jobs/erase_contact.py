"""First steps of an erasure: nobody mails the person from here on, then who they are to the marketers goes.

Promises: the gate is closed in the first transaction, before anything else is done: the address is among the erased
and the suppressed, so what the feeder, a renderer or a dispatcher has in hand of this person is refused. The contact
goes in the second, with memberships and history. Both may be done again: the second time they find what a transaction
wrote that had begun before the first, such as a page of an import.
Fails: database errors come out; nothing of that step was done.
"""

from hayabin.database import consent, erasing
from hayabin.domain.suppression import SuppressionReason
from services.api.people_jobs.jobs import Became, Job
from services.api.people_jobs.person import Person, find

_CLOSE_SQL = """
INSERT INTO suppressions (tenant_id, address_key, list_id, reason, source)
SELECT $1, key, 0, $3, $4 FROM unnest($2::text[]) AS k(key)
ON CONFLICT (tenant_id, address_key, list_id)
DO UPDATE SET reason = excluded.reason, source = excluded.source, expires_at = NULL"""

_THROUGH_SQL = """
SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 AND NOT EXISTS (
    SELECT 1 FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
      AND a.xact_start < $2::text::timestamptz)"""

_CONTACTS_SQL = "SELECT id, address, wire FROM contacts WHERE tenant_id = $1 AND address_key = ANY($2) FOR UPDATE"

_OTHERS_HISTORY_SQL = """
UPDATE contact_changes SET old = NULL, new = NULL
WHERE tenant_id = $1 AND field IN ('email', 'merged')
  AND lower(CASE field WHEN 'merged' THEN old ->> 'email' ELSE old #>> '{}' END) = ANY($2)"""
"""Somebody else's contact that had the address before."""

_CONFIRMATIONS_SQL = """
DELETE FROM confirmations WHERE tenant_id = $1 AND (address_key = ANY($2) OR contact_id = ANY($3))
RETURNING address, wire"""


async def close_the_gate(job: Job) -> None:
    """Nobody is mailed, added or imported under the address from the commit on."""
    person = await find(job.connection, job.tenant_id, job.address_key)
    await erasing.remember(job.connection, job.tenant_id, person.keys)
    await job.connection.execute(
        _CLOSE_SQL, job.tenant_id, person.keys, SuppressionReason.ERASED, f"person_job:{job.id}"
    )
    job.notes.update(person.to_notes())


async def remove_contact(job: Job) -> None:
    """The contact and all that hangs on it, sign-ups included; what is a record of consent keeps the keyed hash."""
    connection, tenant_id = job.connection, job.tenant_id
    person = Person.from_notes(tenant_id, job.notes)
    for row in await connection.fetch(_CONTACTS_SQL, tenant_id, person.keys):
        person.contact_ids = sorted({*person.contact_ids, row["id"]})
        person.written = sorted({*person.written, row["address"], row["wire"]})
    ids = person.contact_ids
    await job.run("list_members", Became.ERASED, "DELETE FROM list_members WHERE contact_id = ANY($1)", ids)
    await job.run("contact_changes", Became.ERASED, "DELETE FROM contact_changes WHERE contact_id = ANY($1)", ids)
    words = sorted({word.lower() for word in (*person.keys, *person.written)})
    await job.run("contact_changes", Became.ANONYMISED, _OTHERS_HISTORY_SQL, tenant_id, words)
    await forget_traces(job, person)
    gone = await connection.fetch(_CONFIRMATIONS_SQL, tenant_id, person.keys, ids)
    job.count("confirmations", Became.ERASED, len(gone))
    person.written = sorted({*person.written, *(row[name] for row in gone for name in ("address", "wire"))})
    await job.run(
        "contacts", Became.ERASED, "DELETE FROM contacts WHERE tenant_id = $1 AND id = ANY($2)", tenant_id, ids
    )
    job.notes.update(person.to_notes())
    await note_transaction(job)


async def forget_traces(job: Job, person: Person) -> None:
    """What others write about the person by the contact's id and the address: activity, and the consent ledger."""
    connection, tenant_id = job.connection, job.tenant_id
    await job.run(
        "contact_activity",
        Became.ERASED,
        "DELETE FROM contact_activity WHERE tenant_id = $1 AND contact_id = ANY($2)",
        tenant_id,
        person.contact_ids,
    )
    for address_key, hash_ in zip(person.keys, await erasing.hashes(connection, tenant_id, person.keys), strict=True):
        rows = await consent.anonymise(connection, tenant_id, address_key, hash_)
        job.count("consents", Became.ANONYMISED, rows)


async def note_transaction(job: Job) -> None:
    """Remember this transaction, for ``others_are_through``."""
    job.notes["transaction"] = str(await job.connection.fetchval("SELECT pg_current_xact_id()::text"))
    job.notes.pop("committed_by", None)


async def others_are_through(job: Job) -> bool:
    """Whether every transaction has ended that began before the noted one, and might put back what that took away.

    One that has written nothing yet has no number, and may have read what it is going to write: it is known by when it
    began.
    """
    if "committed_by" not in job.notes:  # a step later, so the noted one is over
        job.notes["committed_by"] = await job.connection.fetchval("SELECT clock_timestamp()::text")
    through: bool = await job.connection.fetchval(_THROUGH_SQL, job.notes["transaction"], job.notes["committed_by"])
    return through


async def replace_suppressions(job: Job) -> None:
    """What stood under the address stands under its hash: the gate refuses what is anonymised in the ledger too."""
    person = Person.from_notes(job.tenant_id, job.notes)
    await job.run(
        "suppressions",
        Became.ANONYMISED,
        "DELETE FROM suppressions WHERE tenant_id = $1 AND address_key = ANY($2)",
        job.tenant_id,
        person.keys,
    )
    await job.connection.execute(
        _CLOSE_SQL, job.tenant_id, [stand_in(job)], SuppressionReason.ERASED, f"person_job:{job.id}"
    )


def stand_in(job: Job) -> str:
    """What stands for the address in the ledger and the suppressions."""
    return erasing.MARK + job.hash.hex()
