"""Everything that is held about one person, as one JSON document: format ``hayabin.person-export/1``.

Promises: what the certificate of an erasure would call erased or anonymised is in it: contact, history, subscriptions,
consents, messages with their attempts and events, suppressions, sign-ups. Messages are found as an erasure finds them.
At most ``MAX_MESSAGES``, the newest; ``messages_left_out`` says how many more there are.
Fails: database errors come out; the step is done again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from hayabin.database.engine import Connection
from services.api.people_jobs.jobs import Job
from services.api.people_jobs.person import Person, find, ledger_page

FORMAT: Final = "hayabin.person-export/1"
MAX_MESSAGES: Final = 10_000
PAGES_A_TURN: Final = 5
KEPT_DAYS: Final = 7

_CONTACTS_SQL = """
SELECT id, address AS email, name, locale, time_zone, stage, flags, attributes, created_at, updated_at
FROM contacts WHERE tenant_id = $1 AND id = ANY($2) ORDER BY id"""
_HISTORY_SQL = """
SELECT at, source, field, old, new FROM contact_changes WHERE tenant_id = $1 AND contact_id = ANY($2) ORDER BY id"""
_SUBSCRIPTIONS_SQL = """
SELECT l.id AS list_id, l.name AS list, m.state, m.consent, m.updated_at
FROM list_members m JOIN lists l ON l.id = m.list_id
WHERE l.tenant_id = $1 AND m.contact_id = ANY($2) ORDER BY l.id"""
_MOVES_SQL = """
SELECT list_id, was, state, action, source, changed_at
FROM subscription_changes WHERE tenant_id = $1 AND contact_id = ANY($2) ORDER BY id"""
_CONSENTS_SQL = """
SELECT list_id, action, basis, source, wording, ip, user_agent, note, occurred_at, recorded_at
FROM consents WHERE tenant_id = $1 AND address_key = ANY($2) ORDER BY id"""
_SUPPRESSIONS_SQL = """
SELECT address_key AS email, list_id, reason, source, created_at, expires_at
FROM suppressions WHERE tenant_id = $1 AND address_key = ANY($2) ORDER BY address_key, list_id"""
_SIGN_UPS_SQL = """
SELECT kind, state, form_id, form_version, list_ids, address AS email, name, attributes, locale, ip, user_agent,
       created_at, expires_at, settled_at
FROM confirmations WHERE tenant_id = $1 AND (address_key = ANY($2) OR contact_id = ANY($3)) ORDER BY id"""
_ACTIVITY_SQL = """
SELECT last_received_at, last_opened_at, last_clicked_at
FROM contact_activity WHERE tenant_id = $1 AND contact_id = ANY($2)"""
_MESSAGES_SQL = """
SELECT m.id, m.campaign_id, c.name AS campaign, v.subject, r.wire AS recipient, r.name, r.variables, m.state, m.reason,
       m.attempt AS attempts_begun, m.changed_at
FROM messages m JOIN campaigns c ON c.id = m.campaign_id LEFT JOIN template_versions v ON v.id = c.template_version_id
LEFT JOIN recipients r ON r.message_id = m.id WHERE m.id = ANY($1) ORDER BY m.id"""
_ATTEMPTS_SQL = """
SELECT message_id, attempt, finished_at, state, reason, phase, code, enhanced, reply, mx, address, tls_version
FROM attempts WHERE message_id = ANY($1) ORDER BY message_id, attempt"""
_TRANSCRIPTS_SQL = """
SELECT message_id, attempt, lines FROM transcripts WHERE message_id = ANY($1) ORDER BY message_id, attempt"""
_EVENTS_SQL = """
SELECT message_id, kind, link, detail, occurred_at FROM events WHERE message_id = ANY($1) ORDER BY id"""

_END_SQL = """
UPDATE person_jobs SET state = 'completed', step = '', finished_at = now(), address_key = NULL, notes = '{}',
    result = $2, counts = $3, expires_at = now() + make_interval(days => $4) WHERE id = $1"""


async def take_step(job: Job) -> bool:
    """Look through some pages of the ledger, or write the document; false once all is done."""
    async with job.connection.transaction():
        if not job.notes:
            person = await find(job.connection, job.tenant_id, job.address_key)
            job.notes.update({**person.to_notes(), "through": 0, "messages": []})
        person = Person.from_notes(job.tenant_id, job.notes)
        for _ in range(PAGES_A_TURN):
            page = await ledger_page(job.connection, person, job.notes["through"])
            job.notes["through"] = page.through_id
            job.notes["messages"] += page.ids
            if page.last:
                await _end(job, person)
                return False
        await job.save("ledger")
    return True


async def _end(job: Job, person: Person) -> None:
    document = await document_of(job.connection, person, job.notes["messages"])
    job.counts = {
        name: {"exported": len(rows)} for name, rows in document.items() if isinstance(rows, list) and name != "emails"
    }
    body = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    await job.connection.execute(_END_SQL, job.id, body, job.counts, KEPT_DAYS)


async def document_of(connection: Connection, person: Person, message_ids: Sequence[int]) -> dict[str, Any]:
    """The document about a person whose messages are these."""

    async def rows(statement: str, *arguments: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await connection.fetch(statement, *arguments)]

    tenant_id, ids, keys = person.tenant_id, person.contact_ids, person.keys
    shown = list(message_ids)[-MAX_MESSAGES:]
    return {
        "format": FORMAT,
        "made_at": datetime.now(UTC),
        "emails": keys,
        "contacts": await rows(_CONTACTS_SQL, tenant_id, ids),
        "contact_history": await rows(_HISTORY_SQL, tenant_id, ids),
        "activity": await rows(_ACTIVITY_SQL, tenant_id, ids),
        "subscriptions": await rows(_SUBSCRIPTIONS_SQL, tenant_id, ids),
        "subscription_history": await rows(_MOVES_SQL, tenant_id, ids),
        "consents": await rows(_CONSENTS_SQL, tenant_id, keys),
        "suppressions": await rows(_SUPPRESSIONS_SQL, tenant_id, keys),
        "sign_ups": await rows(_SIGN_UPS_SQL, tenant_id, keys, ids),
        "messages": await _messages(connection, shown),
        "messages_left_out": len(message_ids) - len(shown),
    }


async def _messages(connection: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Messages, each with its attempts and events."""
    messages = {
        row["id"]: {**dict(row), "variables": _read(row["variables"]), "attempts": [], "events": []}
        for row in await connection.fetch(_MESSAGES_SQL, list(ids))
    }
    said = {
        (row["message_id"], row["attempt"]): row["lines"] for row in await connection.fetch(_TRANSCRIPTS_SQL, list(ids))
    }
    for name, statement in (("attempts", _ATTEMPTS_SQL), ("events", _EVENTS_SQL)):
        for row in await connection.fetch(statement, list(ids)):
            values = dict(row)
            message_id = values.pop("message_id")
            if name == "attempts":
                values["transcript"] = said.get((message_id, values["attempt"]), "").splitlines()
            if message_id in messages:
                messages[message_id][name].append(values)
    return list(messages.values())


def _read(variables: str | None) -> Any:
    return None if variables is None else orjson.loads(variables)
