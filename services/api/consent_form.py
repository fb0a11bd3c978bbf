"""Consent as a request gives it.

Promises: evidence names where it comes from and a moment that has been; written consent and business relationships say
in a note what they are. Fails: 422 with the place.
"""

import ipaddress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from hayabin.database.consent import NOTE_MAX_CHARS, SOURCE_MAX_CHARS, Evidence
from hayabin.database.engine import Connection
from hayabin.domain.consent import ConsentAction, ConsentBasis, has_been
from hayabin.domain.tenant_settings import ConsentPolicy, TenantSettings
from services.api.access import Principal
from services.api.forms import Form, Line, Moment, printable
from services.api.problems import Problem


def _past(value: datetime) -> datetime:
    return has_been(value, datetime.now(UTC))


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value))


def _text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not have NUL")
    return value


Source = Annotated[str, Field(max_length=SOURCE_MAX_CHARS), AfterValidator(printable)]
Note = Annotated[str, Field(max_length=NOTE_MAX_CHARS), AfterValidator(_text)]
Consented = Annotated[Moment, AfterValidator(_past)]
"""When somebody consented."""
_NEEDS_A_NOTE = ("written", "existing_relationship")


class ConsentForm(Form):
    """How we know that people agreed."""

    basis: Literal["form", "import", "api", "written", "existing_relationship"]
    source: Annotated[Source, Field(description="Which form, event or system; empty: this API key")] = ""
    wording: Annotated[Source, Field(description="The version of the words that they agreed to")] = ""
    note: Annotated[Note, Field(description="Where the paper is, or which relationship; needed for those two")] = ""
    occurred_at: Consented | None = None
    ip: Annotated[str, Field(max_length=45), AfterValidator(_address)] | None = None
    user_agent: Line = ""

    @model_validator(mode="after")
    def _require_note(self) -> Self:
        if self.basis in _NEEDS_A_NOTE and not self.note.strip():
            raise ValueError("say in `note` where the paper is, or which relationship it is")
        return self

    def evidence(self, who: Principal, action: ConsentAction) -> Evidence:
        """What is kept of it."""
        return Evidence(
            action=action,
            basis=ConsentBasis(self.basis),
            source=self.source or source_of(who),
            wording=self.wording,
            ip=self.ip,
            user_agent=self.user_agent,
            note=self.note,
            occurred_at=self.occurred_at,
        )


def source_of(who: Principal) -> str:
    """The key that says so."""
    return f"api_key:{who.key_id}"


async def require_consent(db: Connection, who: Principal, consent: ConsentForm | None) -> None:
    """Pass silently where there is evidence, or the tenant needs none.

    Raises:
        Problem: 422.
    """
    if consent is not None:
        return
    stored: Any = await db.fetchval("SELECT settings FROM tenants WHERE id = $1", who.tenant_id)
    if TenantSettings.of(stored).consent_policy is ConsentPolicy.REQUIRED:
        errors = [{"pointer": "#/consent", "message": "say how you know that they agreed"}]
        raise Problem(422, "consent-required", "Nobody is subscribed here without evidence of consent.", errors=errors)
