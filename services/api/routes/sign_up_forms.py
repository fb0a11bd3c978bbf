"""Sign-up forms: what people fill in to get a tenant's mail, and the words that they agree to.

Promises: what people see and agree to has a version, which grows with each change and is kept for good, since consents
name it. Deleting a form closes it; its versions stay.
Fails: as ``services.api.sign_up_form`` says; 409 for a name that is taken.
"""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from services.api.access import Db, Principal, ReadContacts, WriteContacts
from services.api.forms import Id
from services.api.paging import Cursor, Limit, after, page, page_of
from services.api.problems import Problem, not_found
from services.api.routes import campaign_rows
from services.api.sign_up_embed import embed, form_url
from services.api.sign_up_form import SETTINGS, VERSIONED, Language, SignUpForm, SignUpFormChange, checked
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/forms", tags=["sign_up_forms"], route_class=TransactionRoute)

_COLUMNS = f"id, public_id, version, {', '.join(SETTINGS)}, created_at, updated_at"

_INSERT_SQL = f"""
INSERT INTO sign_up_forms (tenant_id, public_id, {", ".join(SETTINGS)})
VALUES ($1, $2, {", ".join(f"${place + 3}" for place in range(len(SETTINGS)))})
RETURNING {_COLUMNS}"""

_UPDATE_SQL = f"""
UPDATE sign_up_forms SET version = $3, {", ".join(f"{name} = ${place + 4}" for place, name in enumerate(SETTINGS))},
    updated_at = now()
WHERE tenant_id = $1 AND id = $2 RETURNING {_COLUMNS}"""

_VERSION_SQL = """
INSERT INTO sign_up_form_versions (form_id, number, tenant_id, list_ids, double_opt_in, fields, wording)
SELECT id, version, tenant_id, list_ids, double_opt_in, fields, wording FROM sign_up_forms WHERE id = $1"""


async def _require(db: Db, who: Principal, form_id: int, *, lock: bool = False) -> dict[str, Any]:
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM sign_up_forms WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL"
        + (" FOR UPDATE" if lock else ""),
        who.tenant_id,
        form_id,
    )
    if row is None:
        raise not_found("form")
    return dict(row)


@router.post("", status_code=201, operation_id="createForm")
async def create(db: Db, who: WriteContacts, form: Annotated[SignUpForm, Body()]) -> dict[str, Any]:
    """Create a sign-up form; it is open at once, at `/f/<public_id>` of the tracker."""
    values = await checked(db, who, form)
    await campaign_rows.require_verified(db, values["domain_id"], override=form.allow_unverified_domain)
    row = await db.fetchrow(_INSERT_SQL, who.tenant_id, secrets.token_urlsafe(16), *(values[name] for name in SETTINGS))
    made = dict(row or {})
    await db.execute(_VERSION_SQL, made["id"])
    return made


@router.get("", operation_id="listForms")
async def listed(db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Sign-up forms in order of id, without those that were deleted."""
    open_forms = f"SELECT {_COLUMNS} FROM sign_up_forms WHERE tenant_id = $1 AND deleted_at IS NULL"
    return await page_of(db, who.tenant_id, open_forms, limit, cursor)


@router.get("/{form_id}", operation_id="getForm")
async def get(db: Db, who: ReadContacts, form_id: Id) -> dict[str, Any]:
    """One sign-up form."""
    return await _require(db, who, form_id)


@router.patch("/{form_id}", operation_id="changeForm")
async def change(db: Db, who: WriteContacts, form_id: Id, form: SignUpFormChange) -> dict[str, Any]:
    """Change a form; a change of lists, fields, wording or double opt-in is a new version."""
    stored = await _require(db, who, form_id, lock=True)
    changes = {name: value for name, value in form.model_dump(exclude_unset=True).items() if value is not None}
    whole = SignUpForm.model_validate({name: stored[name] for name in SETTINGS if name != "domain_id"} | changes)
    values = await checked(db, who, whole)
    if values["domain_id"] != stored["domain_id"]:
        await campaign_rows.require_verified(db, values["domain_id"], override=form.allow_unverified_domain)
    newer = any(values[name] != stored[name] for name in VERSIONED)
    version = stored["version"] + newer
    row = await db.fetchrow(_UPDATE_SQL, who.tenant_id, form_id, version, *(values[name] for name in SETTINGS))
    if newer:
        await db.execute(_VERSION_SQL, form_id)
    return dict(row or {})


@router.delete("/{form_id}", status_code=204, operation_id="deleteForm")
async def delete(db: Db, who: WriteContacts, form_id: Id) -> None:
    """Close a form for good: its page is gone, and links of confirmations that are under way end."""
    await _require(db, who, form_id, lock=True)
    await db.execute(
        "UPDATE sign_up_forms SET deleted_at = now() WHERE tenant_id = $1 AND id = $2", who.tenant_id, form_id
    )


@router.get("/{form_id}/versions", operation_id="listFormVersions")
async def versions(db: Db, who: ReadContacts, form_id: Id, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """What people saw and agreed to, by version; of deleted forms too, as consents name them."""
    rows = await db.fetch(
        "SELECT number, list_ids, double_opt_in, fields, wording, created_at FROM sign_up_form_versions "
        "WHERE tenant_id = $1 AND form_id = $2 AND number > $3 ORDER BY number LIMIT $4",
        who.tenant_id,
        form_id,
        after(cursor),
        limit + 1,
    )
    if not rows and not await db.fetchval(
        "SELECT true FROM sign_up_forms WHERE tenant_id = $1 AND id = $2", who.tenant_id, form_id
    ):
        raise not_found("form")
    return page(rows, limit, key="number")


@router.get("/{form_id}/embed", operation_id="embedForm")
async def embedded(
    request: Request, db: Db, who: ReadContacts, form_id: Id, language: Language = "ja"
) -> dict[str, Any]:
    """HTML to put into a page of your own, and the address of the form's own page; no script is needed."""
    form = await _require(db, who, form_id)
    if language not in form["wording"]:
        raise Problem(
            422,
            "invalid-request",
            "The form has no words in this language.",
            errors=[{"pointer": "query:language", "message": f"one of {', '.join(sorted(form['wording']))}"}],
        )
    public_url: str = request.app.state.settings.public_url
    return {
        "language": language,
        "version": form["version"],
        "url": form_url(public_url, form["public_id"], language),
        "html": embed(form, language, public_url),
    }
