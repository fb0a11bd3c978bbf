"""The audit log: looked at, taken out, checked."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from services.api.access import Db, ReadAudit
from services.api.audit_export import as_json, streamed
from services.api.audit_lines import Anchor, Filter, found, verify
from services.api.audit_trail import hashed
from services.api.file_kind import FileKind
from services.api.forms import Moment, Name
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=TransactionRoute)
_FIRST = 2**63 - 1
Since = Annotated[Moment | None, Query(description="From this moment on (RFC 3339)")]
Until = Annotated[Moment | None, Query(description="Before this moment (RFC 3339)")]
Format = Annotated[FileKind, Query(alias="format", description="csv for spreadsheets, ndjson for programs")]
Number = Annotated[int | None, Query(ge=1, le=_FIRST)]


@router.get("", operation_id="listAudit")
async def listed(
    db: Db,
    who: ReadAudit,
    limit: Limit = 100,
    cursor: Cursor = None,
    since: Since = None,
    until: Until = None,
    actor: Annotated[Literal["key", "operator", "scheduler"] | None, Query()] = None,
    key_id: Number = None,
    user_id: Number = None,
    action: Annotated[Name | None, Query(description="An operation's id, such as launchCampaign")] = None,
    object_type: Annotated[Name | None, Query(description="A resource, such as campaigns")] = None,
    object_id: Annotated[Name | None, Query(description="The ids in its address, such as 21 or 3/17")] = None,
    object_text: Annotated[
        Name | None, Query(description="Instead of object_id: what stands hashed in the log, such as an e-mail address")
    ] = None,
) -> dict[str, Any]:
    """Who did what, the newest first. `seq` and `hash` are null for a moment, until the line is in the chain."""
    if object_text is not None:
        object_id = await hashed(db, who.tenant_id, object_text)
    which = Filter(
        since=since, until=until, actor=actor, key_id=key_id, user_id=user_id, action=action, object_type=object_type,
        object_id=object_id,
    )  # fmt: skip
    rows = await found(db, who.tenant_id, which, after(cursor) or _FIRST, limit + 1)
    return page([as_json(row) for row in rows], limit, key="entry_id")


@router.get("/export", operation_id="exportAudit", response_class=StreamingResponse)
async def export(
    who: ReadAudit,
    request: Request,
    file: Format = FileKind.CSV,
    since: Since = None,
    until: Until = None,
) -> StreamingResponse:
    """The log in the order of its chain, as a file; that it was taken out is written down."""
    return StreamingResponse(
        streamed(request.app.state.database, who.tenant_id, file, Filter(since=since, until=until)),
        media_type=file.media_type,
        headers={"Content-Disposition": f'attachment; filename="audit.{file}"'},
    )


@router.get("/verify", operation_id="verifyAudit")
async def check(
    db: Db,
    who: ReadAudit,
    anchor: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9]{1,18}:[0-9a-f]{64}$",
            description="`<seq>:<hash>` of a head that was written down elsewhere: the chain must still have it",
        ),
    ] = None,
) -> dict[str, Any]:
    """Follow the chain from its first line to its head; `broken` names the first place that does not hold.

    Lines of the last moment (`pending`) are not in the chain yet. Whoever removes the end of the log together with its
    head is found out by an `anchor`: the scheduler logs each head every hour as `audit_head`.
    """
    verdict = await verify(db, who.tenant_id, anchor_of(anchor))
    broken = verdict.broken
    return {
        "ok": broken is None,
        "lines": verdict.lines,
        "head": {"seq": verdict.head_seq, "hash": verdict.head_hash.hex()},
        "pending": verdict.pending,
        "broken": broken and {"seq": broken.seq, "what": broken.what, "detail": broken.detail},
    }


def anchor_of(text: str | None) -> Anchor | None:
    """The anchor that ``<seq>:<hash>`` is.

    Raises:
        Problem: 422.
    """
    if text is None:
        return None
    seq, _, digest = text.partition(":")
    if int(seq) < 1:
        raise Problem(422, "invalid-request", "An anchor is of line 1 or a later one.")
    return Anchor(int(seq), bytes.fromhex(digest))
