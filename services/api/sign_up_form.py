"""What a sign-up form is made of, as the API takes it; checked against what the tenant has.

Promises: a form that passed ``checked`` can be shown, filled in and answered: its lists, fields, sender, pool and
templates are the tenant's own, and a template of the tenant's has the link in it that confirms.
Fails: ``Problem`` 422 with a pointer to each thing that is not there.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from services.api.access import Db, Principal
from services.api.attribute_types import AttributeType, definitions
from services.api.forms import Form, Line, Name, Reference, mailbox_of
from services.api.problems import Problem
from services.api.routes import campaign_rows

Language = Literal["ja", "en"]
_ORIGIN = re.compile(r"https?://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?", re.ASCII)
SETTINGS = (
    "name", "list_ids", "double_opt_in", "fields", "wording", "domain_id", "from_name", "from_address", "reply_to",
    "pool", "template_version_ids", "allowed_origins", "per_ip_per_hour", "per_address_per_day", "per_form_per_hour",
)  # fmt: skip
"""The columns that a form is written into."""
VERSIONED = ("list_ids", "double_opt_in", "fields", "wording")
"""What people see and agree to: a change of these is a new version."""


def _origin(value: str) -> str:
    if _ORIGIN.fullmatch(value) is None:
        raise ValueError("must be an origin as browsers name it, such as https://www.example.jp")
    return value


def _words(value: str) -> str:
    if any((character < " " and character != "\n") or "\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not have control characters or half characters (lone surrogates)")
    return value


Words = Annotated[str, Field(max_length=2000), AfterValidator(_words)]
"""Text of some lines."""


class AskedField(Form):
    """A field beside the address: ``name``, or an attribute of type string."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,50}$")]
    label: Annotated[dict[Language, Name], Field(min_length=1)]
    required: bool = False


class Wording(Form):
    """The words of a form in one language; what is left empty has a default."""

    title: Name
    intro: Words = ""
    consent: Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_words)]
    """What people agree to by pressing the button."""
    button: Line = ""
    thanks: Words = ""


class SignUpForm(Form):
    """A sign-up form."""

    name: Name
    list_ids: Annotated[list[Reference], Field(min_length=1, max_length=20)]
    double_opt_in: bool = True
    fields: Annotated[list[AskedField], Field(max_length=20)] = []  # noqa: RUF012 - pydantic copies defaults
    wording: Annotated[dict[Language, Wording], Field(min_length=1)]
    from_name: Line
    from_address: Line
    reply_to: Line = ""
    pool: Line = "main"
    template_version_ids: dict[Language, Reference] = {}  # noqa: RUF012
    """Confirmation mails of your own, with `{{ confirm_url }}` in them; Hayabin's where there is none."""
    allowed_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], Field(max_length=50)] = []  # noqa: RUF012
    """Sites that may use it, as browsers name them; any where empty."""
    per_ip_per_hour: Annotated[int, Field(ge=1, le=10_000)] = 20
    per_address_per_day: Annotated[int, Field(ge=1, le=100)] = 3
    per_form_per_hour: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    allow_unverified_domain: bool = False


class SignUpFormChange(Form):
    """What may change; what is left out stays."""

    name: Name | None = None
    list_ids: Annotated[list[Reference] | None, Field(min_length=1, max_length=20)] = None
    double_opt_in: bool | None = None
    fields: Annotated[list[AskedField] | None, Field(max_length=20)] = None
    wording: Annotated[dict[Language, Wording] | None, Field(min_length=1)] = None
    from_name: Line | None = None
    from_address: Line | None = None
    reply_to: Line | None = None
    pool: Line | None = None
    template_version_ids: dict[Language, Reference] | None = None
    allowed_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]] | None, Field(max_length=50)] = None
    per_ip_per_hour: Annotated[int | None, Field(ge=1, le=10_000)] = None
    per_address_per_day: Annotated[int | None, Field(ge=1, le=100)] = None
    per_form_per_hour: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    allow_unverified_domain: bool = False


async def checked(db: Db, who: Principal, form: SignUpForm) -> dict[str, Any]:
    """The values of ``SETTINGS``.

    Raises:
        Problem: see the module.
    """
    sender = mailbox_of(form.from_address, "#/from_address")
    reply_to = mailbox_of(form.reply_to, "#/reply_to").wire if form.reply_to else ""
    domain_id = await campaign_rows.require_domain_of(db, who, sender)
    errors = [
        *await _of_lists(db, who, form),
        *await _of_fields(db, who, form),
        *await _of_templates(db, who, form),
    ]
    if not await db.fetchval("SELECT true FROM ip_pools WHERE name = $1 AND state = 'active' FOR SHARE", form.pool):
        errors.append({"pointer": "#/pool", "message": "there is no such active pool"})
    if errors:
        raise Problem(422, "invalid-request", "The form names what is not there.", errors=errors)
    values = form.model_dump()
    return {**values, "domain_id": domain_id, "from_address": sender.wire, "reply_to": reply_to}


async def _of_lists(db: Db, who: Principal, form: SignUpForm) -> list[dict[str, str]]:
    rows = await db.fetch(
        "SELECT id FROM lists WHERE tenant_id = $1 AND id = ANY($2) FOR KEY SHARE", who.tenant_id, form.list_ids
    )
    there = {row["id"] for row in rows}
    return [
        {"pointer": f"#/list_ids/{place}", "message": "there is no such list"}
        for place, list_id in enumerate(form.list_ids)
        if list_id not in there
    ]


async def _of_fields(db: Db, who: Principal, form: SignUpForm) -> list[dict[str, str]]:
    known = await definitions(db, who.tenant_id)
    errors = []
    names: set[str] = set()
    for place, field in enumerate(form.fields):
        defined = known.get(field.name)
        if field.name in names or field.name in {"email", "website"} or field.name.startswith("_hb"):
            errors.append({"pointer": f"#/fields/{place}/name", "message": "this name is taken"})
        elif field.name != "name" and defined is not None and defined.type is not AttributeType.STRING:
            errors.append({"pointer": f"#/fields/{place}/name", "message": "only attributes of type string are asked"})
        names.add(field.name)
    return errors


async def _of_templates(db: Db, who: Principal, form: SignUpForm) -> list[dict[str, str]]:
    errors = []
    for language, version_id in form.template_version_ids.items():
        row = await db.fetchrow(
            "SELECT v.published_at, v.compiled -> 'fields' ? 'confirm_url' AS confirms FROM template_versions v "
            "JOIN templates t ON t.id = v.template_id WHERE v.id = $1 AND t.tenant_id = $2",
            version_id,
            who.tenant_id,
        )
        pointer = f"#/template_version_ids/{language}"
        if row is None:
            errors.append({"pointer": pointer, "message": "there is no such version"})
        elif row["published_at"] is None:
            errors.append({"pointer": pointer, "message": "this version is a draft: publish it first"})
        elif not row["confirms"]:
            errors.append({"pointer": pointer, "message": "this version has no {{ confirm_url }}"})
    return errors
