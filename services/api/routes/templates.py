"""Templates and their versions: a draft may be previewed, a published version never changes."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from pydantic import Field

from hayabin.content.compile import compile_template
from hayabin.content.compiled import CompiledTemplate, TemplateInvalid, TemplateKind
from hayabin.content.render import MergeFieldMissing, Renderer, RenderFailure, SystemVariables
from hayabin.domain.campaign import MergePolicy
from services.api.access import Db, Principal, ReadTemplates, Scope, WriteTemplates, require_scope
from services.api.forms import Attributes, Form, Id, Name, Reference, Text
from services.api.masking import personal_names, shown
from services.api.paging import Cursor, Limit, page_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/templates", tags=["templates"], route_class=TransactionRoute)
_EXAMPLE = {
    "name": "newsletter",
    "kind": "mjml",
    "subject": "{{ name }} 様、今月のお知らせ",
    "source": "<mjml><mj-body><mj-section><mj-column><mj-text>{{ name }} 様</mj-text></mj-column></mj-section>"
    "</mj-body></mjml>",
}


class VersionForm(Form):
    """Content of a version; the text part is made from the HTML where ``text`` is not given."""

    kind: Literal["mjml", "html", "text"]
    subject: Annotated[Text, Field(max_length=1000)]
    source: Text
    text: Text | None = None


class TemplateForm(VersionForm):
    """A template and its first version."""

    name: Name


class PreviewForm(Form):
    """Sample values for the merge fields; of a contact, where it is named, and then those that are given."""

    contact_id: Reference | None = None
    variables: Attributes = {}
    merge_policy: Literal["fallback", "skip", "block"] = "block"


async def _compiled(form: VersionForm) -> CompiledTemplate:
    kind = TemplateKind(form.kind)
    try:
        return await asyncio.to_thread(compile_template, kind, form.subject, form.source, form.text)
    except TemplateInvalid as error:
        raise Problem(
            422,
            "invalid-template",
            "The template cannot be compiled.",
            errors=[
                {"pointer": f"#{e.pointer.replace('/text_source', '/text')}", "line": e.line, "column": e.column,
                 "message": e.message}
                for e in error.errors
            ],
        ) from error  # fmt: skip


async def _add_version(db: Db, template_id: int, form: VersionForm) -> dict[str, Any]:
    compiled = await _compiled(form)
    row = await db.fetchrow(
        "INSERT INTO template_versions (template_id, number, kind, subject, source, text_source, compiled) "
        "SELECT $1, COALESCE(max(number), 0) + 1, $2, $3, $4, $5, $6 FROM template_versions WHERE template_id = $1 "
        "RETURNING id, number, kind, subject, created_at, published_at",
        template_id,
        form.kind,
        form.subject,
        form.source,
        form.text,
        compiled.to_json(),
    )
    fields = sorted(compiled.fields)
    return {**dict(row or {}), "fields": fields, "links": [link.url for link in compiled.links]}


async def _require(db: Db, who: Principal, template_id: int, *, lock: bool = False) -> dict[str, Any]:
    row = await db.fetchrow(
        "SELECT id, name, created_at FROM templates WHERE id = $1 AND tenant_id = $2" + (" FOR UPDATE" if lock else ""),
        template_id,
        who.tenant_id,
    )
    if row is None:
        raise not_found("template")
    return dict(row)


async def _values_of(db: Db, who: Principal, contact_id: int | None) -> dict[str, Any]:
    """What the merge fields would be for a contact, as the caller may see it."""
    if contact_id is None:
        return {}
    require_scope(who, Scope.CONTACTS_READ)
    row = await db.fetchrow(
        "SELECT address AS email, name, attributes FROM contacts WHERE id = $1 AND tenant_id = $2",
        contact_id,
        who.tenant_id,
    )
    if row is None:
        raise not_found("contact")
    seen = shown(row, who, await personal_names(db, who))
    return {**seen["attributes"], "email": seen["email"], "name": seen["name"]}


@router.post("", status_code=201, operation_id="createTemplate")
async def create(
    db: Db, who: WriteTemplates, form: Annotated[TemplateForm, Body(examples=[_EXAMPLE])]
) -> dict[str, Any]:
    """Create a template with its first version, a draft."""
    template_id = await db.fetchval(
        "INSERT INTO templates (tenant_id, name) VALUES ($1, $2) RETURNING id",
        who.tenant_id,
        form.name,
    )
    return {"id": template_id, "name": form.name, "version": await _add_version(db, template_id, form)}


@router.get("", operation_id="listTemplates")
async def listed(db: Db, who: ReadTemplates, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Templates in order of id."""
    return await page_of(
        db, who.tenant_id, "SELECT id, name, created_at FROM templates WHERE tenant_id = $1", limit, cursor
    )


@router.get("/{template_id}", operation_id="getTemplate")
async def get(db: Db, who: ReadTemplates, template_id: Id) -> dict[str, Any]:
    """A template and its newest versions (at most 50), without their sources."""
    template = await _require(db, who, template_id)
    versions = await db.fetch(
        "SELECT id, number, kind, subject, created_at, published_at FROM template_versions WHERE template_id = $1 "
        "ORDER BY number DESC LIMIT 50",
        template_id,
    )
    return {**template, "versions": [dict(version) for version in versions]}


@router.get("/{template_id}/versions/{number}", operation_id="getTemplateVersion")
async def get_version(db: Db, who: ReadTemplates, template_id: Id, number: Id) -> dict[str, Any]:
    """One version with its source, its merge fields and its links."""
    await _require(db, who, template_id)
    row = await db.fetchrow(
        "SELECT id, number, kind, subject, source, text_source AS text, compiled, created_at, published_at "
        "FROM template_versions WHERE template_id = $1 AND number = $2",
        template_id,
        number,
    )
    if row is None:
        raise not_found("version")
    compiled = CompiledTemplate.from_json(row["compiled"])
    shown = {name: value for name, value in row.items() if name != "compiled"}
    return {**shown, "fields": sorted(compiled.fields), "links": [link.url for link in compiled.links]}


@router.post("/{template_id}/versions", status_code=201, operation_id="addTemplateVersion")
async def add_version(db: Db, who: WriteTemplates, template_id: Id, form: VersionForm) -> dict[str, Any]:
    """Add a version, a draft."""
    await _require(db, who, template_id, lock=True)
    return await _add_version(db, template_id, form)


@router.post("/{template_id}/versions/{number}/publish", operation_id="publishTemplateVersion")
async def publish(db: Db, who: WriteTemplates, template_id: Id, number: Id) -> dict[str, Any]:
    """Publish a version: campaigns may use it, and it never changes again."""
    await _require(db, who, template_id)
    row = await db.fetchrow(
        "UPDATE template_versions SET published_at = COALESCE(published_at, now()) WHERE template_id = $1 "
        "AND number = $2 RETURNING id, number, kind, subject, created_at, published_at",
        template_id,
        number,
    )
    if row is None:
        raise not_found("version")
    return dict(row)


@router.post("/{template_id}/versions/{number}/preview", operation_id="previewTemplateVersion")
async def preview(db: Db, who: ReadTemplates, template_id: Id, number: Id, form: PreviewForm) -> dict[str, Any]:
    """Render a version with sample values, or as a contact would get it (`contact_id`; takes `contacts:read`).

    Without `contacts:read_personal` the contact's address, name and personal attributes are masked in it.
    """
    await _require(db, who, template_id)
    stored = await db.fetchval(
        "SELECT compiled FROM template_versions WHERE template_id = $1 AND number = $2", template_id, number
    )
    if stored is None:
        raise not_found("version")
    system = SystemVariables(
        track_url="https://links.example/c/preview",
        open_url="https://links.example/o/preview",
        unsubscribe_url="https://links.example/u/preview",
        link_mac=lambda _number, _url: "preview",
        preferences_url="https://links.example/p/preview",
        confirm_url="https://links.example/s/preview",
    )
    variables = {**await _values_of(db, who, form.contact_id), **form.variables}
    try:
        renderer = Renderer(CompiledTemplate.from_json(stored))
        content = await asyncio.to_thread(renderer.render, variables, system, MergePolicy(form.merge_policy))
    except MergeFieldMissing as error:
        raise Problem(
            422,
            "merge-field-missing",
            f"The sample values have no {error.field!r}.",
            errors=[{"pointer": f"#/variables/{error.field}", "message": "missing"}],
        ) from error
    except RenderFailure as error:
        raise Problem(422, error.reason.replace("_", "-"), error.detail) from error
    return {"subject": content.subject, "html": content.html, "text": content.text}
