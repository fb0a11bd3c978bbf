"""What a user says of an import, in the query of the upload or in the form that starts it.

Promises: everything has a default, with which an upload is read as it always was. A tenant whose policy requires
consent is asked for it before a byte of the file is read.
Fails: 422 ``invalid-mapping``, 422 ``consent-required``, 422 ``invalid-request``; each says what to send.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Query
from pydantic import Field

from hayabin.domain.consent import ConsentBasis
from hayabin.domain.tenant_settings import ConsentPolicy, TenantSettings
from hayabin.domain.transfer import ImportMode
from services.api.access import Db, Principal
from services.api.consent_form import Consented
from services.api.forms import Form, Line, Reference
from services.api.imports.file_form import Delimiter, FileEncoding, FileFormat
from services.api.imports.header_mapping import Target, check_mapping
from services.api.problems import Problem

MAX_MAPPING_CHARS = 20_000
Mapped = Annotated[dict[str, Annotated[str, Field(max_length=120)]], Field(max_length=100)]


class ConsentForm(Form):
    """How you know that these people want your mail; kept with each of them in the consent ledger."""

    basis: Annotated[ConsentBasis, Field(strict=False)]
    source: Annotated[Line, Field(description="Where the consent is kept, such as `paper forms, fair of May 2026`")] = (
        ""
    )
    wording: Annotated[Line, Field(description="The version of the words that they agreed to")] = ""
    at: Annotated[Consented | None, Field(description="When; or map a column to `consented_at`")] = None

    def stored(self) -> dict[str, Any]:
        """As ``import_jobs.consent`` has it."""
        found = {"basis": self.basis.value, "source": self.source, "wording": self.wording,
                 "at": None if self.at is None else self.at.isoformat()}  # fmt: skip
        return {name: value for name, value in found.items() if value and value != ConsentBasis.UNSPECIFIED}


class StartForm(Form):
    """How an uploaded file is imported; `mapping` left out: as the preview shows it."""

    mapping: Annotated[
        Mapped | None,
        Field(description="Column → email, name, locale, stage, time_zone, consented_at, attribute:NAME or skip"),
    ] = None
    mode: Annotated[ImportMode, Field(strict=False)] = ImportMode.UPSERT
    list_id: Reference | None = None
    consent: ConsentForm | None = None
    format: Annotated[FileFormat | None, Field(strict=False)] = None
    encoding: Annotated[FileEncoding | None, Field(strict=False)] = None
    delimiter: Annotated[Delimiter | None, Field(strict=False)] = None
    dry_run: Annotated[bool, Field(description="Read and check every row, change nothing, come back to `preview`")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """The same, as the query of an upload says it."""

    mode: ImportMode
    mapping: dict[str, str] | None
    format: FileFormat | None
    encoding: FileEncoding | None
    delimiter: Delimiter | None
    consent: dict[str, Any]
    dry_run: bool


def upload_options(
    mode: Annotated[ImportMode, Query(description="What becomes of rows")] = ImportMode.UPSERT,
    mapping: Annotated[
        str,
        Query(
            max_length=MAX_MAPPING_CHARS, description='JSON: {"column": "email", …}; left out: by the names of columns'
        ),
    ] = "",
    format: Annotated[FileFormat | None, Query(description="Left out: found out")] = None,  # noqa: A002 - its name
    encoding: Annotated[FileEncoding | None, Query(description="Left out: found out")] = None,
    delimiter: Annotated[Delimiter | None, Query(description="Left out: found out")] = None,
    consent_basis: Annotated[ConsentBasis, Query(description="How you know that they want your mail")] = (
        ConsentBasis.UNSPECIFIED
    ),
    consent_source: Annotated[str, Query(max_length=300, description="Where the consent is kept")] = "",
    consent_wording: Annotated[str, Query(max_length=200, description="Version of the words agreed to")] = "",
    consented_at: Annotated[Consented | None, Query(description="When, RFC 3339; or map a column to it")] = None,
    dry_run: Annotated[bool, Query(description="Only upload and look at it: see the preview, then start it")] = False,
) -> UploadOptions:
    """Read the query of an upload."""
    form = ConsentForm.model_validate(
        {"basis": consent_basis, "source": _line(consent_source), "wording": _line(consent_wording), "at": consented_at}
    )
    return UploadOptions(mode, mapping_of(mapping), format, encoding, delimiter, form.stored(), dry_run)


def _line(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def mapping_of(text: str) -> dict[str, str] | None:
    """The mapping that a query says; None for an empty text.

    Raises:
        Problem: 422.
    """
    if not text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid_mapping(f"it is no JSON: {error}"[:300]) from error
    if not isinstance(found, dict) or not all(isinstance(target, str) for target in found.values()):
        raise invalid_mapping("it is no object of texts")
    require_mapping(found)
    return found


def require_mapping(mapping: dict[str, str]) -> None:
    """Pass silently where a mapping can be used with some file.

    Raises:
        Problem: 422.
    """
    wrong = check_mapping(mapping)
    if wrong is not None:
        raise invalid_mapping(wrong)


def invalid_mapping(why: str) -> Problem:
    """422 with what is wrong."""
    return Problem(422, "invalid-mapping", f"The mapping cannot be used: {why}")


async def require_consent(
    db: Db, who: Principal, *, subscribes: bool, consent: dict[str, Any], mapping: dict[str, str] | None
) -> None:
    """Pass silently where nobody is subscribed, the policy does not ask, or the evidence is complete.

    Raises:
        Problem: 422 ``consent-required``.
    """
    if not subscribes:
        return
    stored = await db.fetchval("SELECT settings FROM tenants WHERE id = $1", who.tenant_id)
    if TenantSettings.of(stored or {}).consent_policy is not ConsentPolicy.REQUIRED:
        return
    missing = []
    if consent.get("basis", ConsentBasis.UNSPECIFIED) == ConsentBasis.UNSPECIFIED:
        bases = ", ".join(basis for basis in ConsentBasis if basis is not ConsentBasis.UNSPECIFIED)
        missing.append({"pointer": "query:consent_basis", "message": f"say how you know: {bases}"})
    if not consent.get("source"):
        missing.append({"pointer": "query:consent_source", "message": "say where the consent is kept"})
    if not consent.get("at") and Target.CONSENTED_AT not in (mapping or {}).values():
        missing.append({"pointer": "query:consented_at", "message": "say when, or map a column to consented_at"})
    if missing:
        raise Problem(
            422,
            "consent-required",
            "Nobody is subscribed without evidence of their consent: this is your tenant's policy. Nothing was read.",
            errors=missing,
        )
