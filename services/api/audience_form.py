"""The audience in the form of a campaign: lists, segments and campaigns by id.

Promises: what is stored was checked: everything that it names is the tenant's, somebody is included, no segment goes in
circles. The list that unsubscribing is for is ``list_id``, or the first list that is included.
Fails: ``Problem`` 422 with a pointer to each id.
"""

from typing import Annotated, Any

from pydantic import Field

from hayabin.database import segment_users, segments
from services.api.access import Db, Principal
from services.api.forms import Form, Reference
from services.api.problems import Problem

MAX_PARTS = 20
Ids = Annotated[list[Reference], Field(max_length=MAX_PARTS, default_factory=list)]
_KINDS = {
    "include_lists": "list",
    "include_segments": "segment",
    "exclude_lists": "list",
    "exclude_segments": "segment",
    "exclude_campaigns": "campaign",
}


class AudienceForm(Form):
    """Everybody of the includes who is in none of the excludes."""

    include_lists: Ids
    include_segments: Ids
    exclude_lists: Ids
    exclude_segments: Ids
    exclude_campaigns: Ids


async def audience_columns(
    db: Db, who: Principal, list_id: int | None, form: AudienceForm | None
) -> tuple[int | None, dict[str, list[int]]]:
    """``list_id`` and ``audience_definition`` of a campaign.

    Raises:
        Problem: 422, see the module; a ``list_id`` alone is looked at by ``campaign_rows.require_references``.
    """
    if form is None:
        if list_id is None:
            errors = [{"pointer": "#/list_id", "message": "give a list, or an audience"}]
            raise Problem(422, "invalid-request", "The campaign has no audience.", errors=errors)
        return list_id, {}
    definition = {name: list(dict.fromkeys(ids)) for name, ids in form.model_dump().items() if ids}
    includes = definition.get("include_lists", [])
    if not includes and "include_segments" not in definition:
        errors = [{"pointer": "#/audience", "message": "include a list or a segment"}]
        raise Problem(422, "invalid-request", "The audience includes nobody.", errors=errors)
    await _require_known(db, who, form)
    for segment_id in [*form.include_segments, *form.exclude_segments]:
        await segments.stored(db, who.tenant_id, segment_id, hold=True)  # or it might be deleted before we commit
    return list_id or (includes[0] if includes else None), definition


async def _require_known(db: Db, who: Principal, form: AudienceForm) -> None:
    missing = await segment_users.missing(
        db,
        who.tenant_id,
        [*form.include_lists, *form.exclude_lists],
        form.exclude_campaigns,
        [*form.include_segments, *form.exclude_segments],
    )
    ids: dict[str, Any] = form.model_dump()
    errors = [
        {"pointer": f"#/audience/{name}/{place}", "message": f"there is no such {kind}"}
        for name, kind in _KINDS.items()
        for place, one in enumerate(ids[name])
        if (kind, one) in missing
    ]
    if errors:
        raise Problem(422, "invalid-request", "The audience names what is not there.", errors=errors)
