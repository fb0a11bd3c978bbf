"""Rights of one person over what is held about them: erasure and a copy, as jobs.

Promises: a job names its person by the keyed hash alone; asked for again while one is under way, that one is answered.
Any address may be named, a contact's or nobody's (any more). Certificates stay; exports can be had for seven days.
Fails: 404 for another tenant's jobs, 409 ``not-finished`` for what is not there yet, 410 ``expired`` for what is there
no more.
"""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import PlainTextResponse, Response

from hayabin.database import erasing
from services.api.access import Db, EraseContacts, Principal, Scope, require_scope
from services.api.forms import Form, Line, address_of
from services.api.paging import Cursor, Limit, after, page
from services.api.people_jobs.certificate import in_english, in_japanese
from services.api.people_jobs.jobs import Kind
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/people", tags=["people"], route_class=TransactionRoute)

_COLUMNS = (
    "id, kind, state, encode(hash, 'hex') AS address_hash, reason, error, created_at, started_at, finished_at, "
    "CASE WHEN kind = 'export' THEN expires_at END AS expires_at"
)
_OPEN_SQL = f"""
SELECT {_COLUMNS} FROM person_jobs WHERE tenant_id = $1 AND kind = $2 AND hash = $3 AND state IN ('queued', 'running')
ORDER BY id LIMIT 1"""
_INSERT_SQL = f"""
INSERT INTO person_jobs (tenant_id, kind, address_key, hash, reason, requested_by_key_id, requested_by_user_id)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}"""
_LIST_SQL = f"""
SELECT {_COLUMNS} FROM person_jobs WHERE tenant_id = $1 AND ($2 = 0 OR id < $2) ORDER BY id DESC LIMIT $3"""

PersonJobId = Annotated[int, Path(ge=1, le=2**63 - 1)]


async def _exporter(request: Request) -> Principal:
    """Who may take personal data out: the right to export or to erase, and to read what is personal."""
    principal: Principal = request.state.principal
    require_scope(principal, Scope.CONTACTS_READ_PERSONAL)
    if not principal.may(Scope.CONTACTS_ERASE):
        require_scope(principal, Scope.CONTACTS_EXPORT)
    return principal


async def _either(request: Request) -> Principal:
    """Who may have asked for a job."""
    principal: Principal = request.state.principal
    if not principal.may(Scope.CONTACTS_EXPORT):
        require_scope(principal, Scope.CONTACTS_ERASE)
    return principal


ExportPeople = Annotated[Principal, Depends(_exporter)]
SeePersonJobs = Annotated[Principal, Depends(_either)]


class PersonForm(Form):
    """One person, by an address."""

    email: Line
    reason: Line = ""
    """Such as the number of the person's request; their address in it is taken out with the erasure."""


class Language(StrEnum):
    """Of a text for people."""

    JA = "ja"
    EN = "en"


@router.post("/erase", status_code=202, operation_id="erasePerson")
async def erase(db: Db, who: EraseContacts, form: PersonForm) -> dict[str, Any]:
    """Erase one person everywhere; what stays is a keyed hash, so that a later import does not mail them.

    This cannot be taken back. Mails to the person stop with the first step of the job; the certificate is there when
    the job's state is `completed`.
    """
    return await _begun(db, who, Kind.ERASE, form)


@router.post("/export", status_code=202, operation_id="exportPerson")
async def export(db: Db, who: ExportPeople, form: PersonForm) -> dict[str, Any]:
    """Collect everything that is held about one person; needs `contacts:read_personal` too.

    The document (JSON, format `hayabin.person-export/1`) can be downloaded for seven days.
    """
    return await _begun(db, who, Kind.EXPORT, form)


async def _begun(db: Db, who: Principal, kind: Kind, form: PersonForm) -> dict[str, Any]:
    key = address_of(form.email, "#/email").key
    [address_hash] = await erasing.hashes(db, who.tenant_id, [key])
    lock = int.from_bytes(address_hash[:8], signed=True)
    await db.fetchval("SELECT pg_advisory_xact_lock($1)", lock)  # two requests at once: one job
    rows = await db.fetch(_OPEN_SQL, who.tenant_id, kind, address_hash) or await db.fetch(
        _INSERT_SQL, who.tenant_id, kind, key, address_hash, form.reason, who.key_id, who.user_id
    )
    return dict(rows[0])


@router.get("/jobs", operation_id="listPersonJobs")
async def listed(db: Db, who: SeePersonJobs, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Jobs about people, the newest first."""
    return page(await db.fetch(_LIST_SQL, who.tenant_id, after(cursor), limit + 1), limit)


@router.get("/jobs/{person_job_id}", operation_id="getPersonJob")
async def get(db: Db, who: SeePersonJobs, person_job_id: PersonJobId) -> dict[str, Any]:
    """A job about a person: how far it is, and what went wrong."""
    return dict(await _require(db, who, person_job_id, _COLUMNS))


@router.get("/jobs/{person_job_id}/certificate", operation_id="getErasureCertificate")
async def certificate(db: Db, who: SeePersonJobs, person_job_id: PersonJobId) -> dict[str, Any]:
    """The certificate of an erasure: rows by table, what is kept and why; `sha256` is over its other members.

    The digest is taken of the JSON with sorted names and without spaces.
    """
    return await _certificate(db, who, person_job_id)


@router.get(
    "/jobs/{person_job_id}/certificate/text",
    operation_id="getErasureCertificateText",
    response_class=PlainTextResponse,
)
async def certificate_text(
    db: Db, who: SeePersonJobs, person_job_id: PersonJobId, language: Annotated[Language, Query()] = Language.JA
) -> PlainTextResponse:
    """The certificate of an erasure for people, in Japanese or English."""
    issued = await _certificate(db, who, person_job_id)
    return PlainTextResponse(in_japanese(issued) if language is Language.JA else in_english(issued))


async def _certificate(db: Db, who: Principal, person_job_id: int) -> dict[str, Any]:
    row = await _require(db, who, person_job_id, "kind, certificate")
    if row["kind"] != Kind.ERASE:
        raise not_found("certificate: this job is an export")
    if row["certificate"] is None:
        raise _unfinished()
    issued: dict[str, Any] = row["certificate"]
    return issued


@router.get("/jobs/{person_job_id}/export", operation_id="downloadPersonExport")
async def download(db: Db, who: ExportPeople, person_job_id: PersonJobId) -> Response:
    """The document of an export; written down in the audit log."""
    row = await _require(db, who, person_job_id, "kind, state, result, expires_at <= now() AS expired")
    if row["kind"] != Kind.EXPORT:
        raise not_found("export: this job is an erasure")
    if row["state"] in ("queued", "running"):
        raise _unfinished()
    if row["result"] is None or row["expired"]:
        raise Problem(410, "expired", "The document is there no more. Ask for a new export.")
    headers = {"Content-Disposition": f'attachment; filename="person-{person_job_id}.json"'}
    return Response(row["result"], media_type="application/json", headers=headers)


async def _require(db: Db, who: Principal, person_job_id: int, columns: str) -> Any:
    row = await db.fetchrow(
        f"SELECT {columns} FROM person_jobs WHERE tenant_id = $1 AND id = $2", who.tenant_id, person_job_id
    )
    if row is None:
        raise not_found("job")
    return row


def _unfinished() -> Problem:
    return Problem(409, "not-finished", "The job is not finished: ask GET /v1/people/jobs/{id} for its state.")
