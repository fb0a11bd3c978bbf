"""Stages (商談の段階): where people stand in the business with them, in the tenant's own words and order."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import AfterValidator, Field

from services.api.access import Db, ReadContacts, WriteContacts
from services.api.attribute_fit import one_at_a_time
from services.api.forms import Form, printable
from services.api.problems import Problem
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/stages", tags=["attributes"], route_class=TransactionRoute)


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names) or any(name != name.strip() for name in names):
        raise ValueError("names differ, and have no white space around them")
    return names


StageName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]


class StagesForm(Form):
    """All stages, first to last."""

    names: Annotated[list[StageName], Field(max_length=50), AfterValidator(_different)]


@router.get("", operation_id="listStages")
async def listed(db: Db, who: ReadContacts) -> dict[str, Any]:
    """The stages, first to last; while there are none, contacts may have any."""
    rows = await db.fetch("SELECT name FROM contact_stages WHERE tenant_id = $1 ORDER BY position", who.tenant_id)
    return {"names": [row["name"] for row in rows]}


@router.put("", operation_id="replaceStages")
async def replace(
    db: Db, who: WriteContacts, form: Annotated[StagesForm, Body(examples=[{"names": ["見込み", "商談", "成約"]}])]
) -> dict[str, Any]:
    """Replace the stages by these; 409 where contacts have one that would be gone."""
    await one_at_a_time(db, who.tenant_id)
    gone = await db.fetch(
        "SELECT stage, count(*) AS contacts FROM contacts WHERE tenant_id = $1 AND stage IN ("
        "SELECT name FROM contact_stages WHERE tenant_id = $1 AND name <> ALL($2)) GROUP BY stage ORDER BY stage",
        who.tenant_id,
        form.names,
    )
    if gone:
        errors = [{"pointer": "#/names", "message": f"{row['stage']}: {row['contacts']} contacts"} for row in gone]
        raise Problem(409, "stage-in-use", "Contacts have a stage that would be gone. Move them first.", errors=errors)
    await db.execute("DELETE FROM contact_stages WHERE tenant_id = $1", who.tenant_id)
    await db.execute(
        "INSERT INTO contact_stages (tenant_id, name, position) "
        "SELECT $1, name, place FROM unnest($2::text[]) WITH ORDINALITY AS s(name, place)",
        who.tenant_id,
        form.names,
    )
    return {"names": form.names}
