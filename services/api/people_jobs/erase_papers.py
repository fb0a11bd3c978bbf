"""What was written down about the person elsewhere: answers kept for replays, inbound mail, files of transfers.

Promises: of what mentions the address, inbound mail that changed nothing (quarantine) is dropped; a kept answer keeps
that its request was done and loses what it said; an export loses its file; an import that was not begun loses its file
and is told so, one that is running is waited for; rows of its errors lose the value. Tables are read in pages, and
content is searched here, not in the database, because it is compressed, encoded, or in another alphabet.
Fails: database errors come out; that page is done again.
"""

from typing import Final

import orjson

from services.api.people_jobs.jobs import Became, Job
from services.api.people_jobs.mentions import Mentions
from services.api.people_jobs.person import Person
from services.api.problems import MEDIA_TYPE

PAGE_ROWS: Final = 200
ANSWER_ERASED: Final = {
    "type": "/problems/erased",
    "title": "Erased",
    "status": 410,
    "detail": "The request was done; what it answered held data of a person who was erased since.",
    "instance": "",
}
IMPORT_ERASED: Final = (
    "The file held the data of a person who was erased before it was imported. Upload a file without them."
)

_KEYS_SQL = """
SELECT key, headers, body FROM idempotency_keys WHERE tenant_id = $1 AND key > $2 ORDER BY key LIMIT $3"""
_FORGET_ANSWER_SQL = """
UPDATE idempotency_keys SET status = 410, headers = $3, body = $4 WHERE tenant_id = $1 AND key = $2"""
_FORGET_KEY_SQL = "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key = $2"
_QUARANTINE_SQL = """
SELECT id, mail_from, rcpt_to, content FROM quarantine WHERE id > $1 ORDER BY id LIMIT $2"""
_ERRORS_SQL = """
SELECT e.job_id, e.line, e.value FROM import_errors e JOIN import_jobs j ON j.id = e.job_id
WHERE j.tenant_id = $1 AND (e.job_id, e.line) > ($2, $3) AND position('@' IN e.value) > 0
ORDER BY e.job_id, e.line LIMIT $4"""
_FORGET_ERROR_SQL = "UPDATE import_errors SET value = '' WHERE job_id = $1 AND line = ANY($2)"


async def forget_answers(job: Job) -> None:
    """Answers kept for replays of an ``Idempotency-Key``."""
    person = Person.from_notes(job.tenant_id, job.notes)
    mentions, after = person.mentions(), ""
    while rows := await job.connection.fetch(_KEYS_SQL, job.tenant_id, after, PAGE_ROWS):
        for row in rows:
            if mentions.in_text(row["key"]):  # the caller's own choice: then it has to go as a whole
                await job.run("idempotency_keys", Became.ERASED, _FORGET_KEY_SQL, job.tenant_id, row["key"])
            elif (
                mentions.in_bytes(row["body"])
                or _is_about(row["body"], person)
                or mentions.in_text(str(row["headers"]))
            ):
                await job.run(
                    "idempotency_keys",
                    Became.ANONYMISED,
                    _FORGET_ANSWER_SQL,
                    job.tenant_id,
                    row["key"],
                    {"content-type": MEDIA_TYPE},
                    orjson.dumps(ANSWER_ERASED),
                )
        after = rows[-1]["key"]


def _is_about(body: bytes | None, person: Person) -> bool:
    """Whether an answer shows the contact, its address masked perhaps."""
    if not body or not person.contact_ids or not body.startswith((b"{", b"[")):
        return False
    try:
        return _shows(orjson.loads(body), frozenset(person.contact_ids))
    except orjson.JSONDecodeError:
        return False


def _shows(value: object, contact_ids: frozenset[int]) -> bool:
    match value:
        case dict():
            contact = value.get("contact_id", value.get("id") if "email" in value or "attributes" in value else None)
            return contact in contact_ids or any(_shows(item, contact_ids) for item in value.values())
        case list():
            return any(_shows(item, contact_ids) for item in value)
        case _:
            return False


async def drop_quarantined(job: Job) -> None:
    """Inbound mail that changed nothing and was kept for a look; it belongs to no tenant."""
    mentions, after = Person.from_notes(job.tenant_id, job.notes).mentions(), 0
    while rows := await job.connection.fetch(_QUARANTINE_SQL, after, PAGE_ROWS):
        found = [
            row["id"]
            for row in rows
            if mentions.in_text(f"{row['mail_from']} {row['rcpt_to']}") or mentions.in_bytes(row["content"])
        ]
        await job.run("quarantine", Became.ERASED, "DELETE FROM quarantine WHERE id = ANY($1)", found)
        after = rows[-1]["id"]


async def forget_import_errors(job: Job) -> None:
    """Values of rows that an import refused."""
    mentions = Person.from_notes(job.tenant_id, job.notes).mentions()
    after = (0, -1)
    while rows := await job.connection.fetch(_ERRORS_SQL, job.tenant_id, *after, PAGE_ROWS * 10):
        found: dict[int, list[int]] = {}
        for row in rows:
            if mentions.in_text(row["value"]):
                found.setdefault(row["job_id"], []).append(row["line"])
        for import_id, lines in found.items():
            await job.run("import_errors", Became.ANONYMISED, _FORGET_ERROR_SQL, import_id, lines)
        after = (rows[-1]["job_id"], rows[-1]["line"])


async def mentioned_in_chunks(job: Job, statement: str, file_id: int, mentions: Mentions) -> bool:
    """Whether a file that is kept in chunks mentions the person, over the borders of chunks too."""
    number, tail = 0, b""
    while (chunk := await job.connection.fetchval(statement, file_id, number)) is not None:
        if mentions.in_bytes(tail + chunk):
            return True
        number, tail = number + 1, chunk[-2048:]
    return False
