"""Who did what: a line for each change, in the transaction of the change itself.

Promises: what was done and its line exist together or not at all; a replay of an ``Idempotency-Key`` does nothing and
has no line. A line has ids, names of fields and numbers, never a secret and no personal data: what a caller put into
the address (an e-mail address) is kept as a hash with the tenant's key. Reads are written only where they take personal
data or the trail itself out of the system: ``AUDITED_READS``. The scheduler links lines into the tenant's chain
(``scheduler.audit_duty``). Fails: database errors come out, and the change is rolled back with them.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import orjson
from fastapi import Request, Response
from opentelemetry import trace

from hayabin.database.engine import Connection
from services.api.access import Principal
from services.api.upload import is_upload

PLATFORM: Final = 0
"""Stands for the tenant where an operator did something to the installation as a whole."""
AUDITED_READS: Final = frozenset(
    {"downloadExport", "downloadImportErrors", "downloadPersonExport", "exportAudit", "exportConsents"}
)
"""Operations that change nothing and are written down all the same."""
_READING: Final = frozenset({"GET", "HEAD"})
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
_MAX_READ_BYTES: Final = 64 * 1024
_MAX_NAMES: Final = 50

_HASH_SQL = """
SELECT encode(sha256(audit_key || convert_to($2::text, 'UTF8')), 'hex') FROM tenants WHERE id = $1"""

_WRITE_SQL = """
INSERT INTO audit_pending (tenant_id, actor, key_id, user_id, action, object_type, object_id, trace_id, ip, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb)"""


class Actor(StrEnum):
    """What kind of somebody did it."""

    KEY = "key"  # a request with an API key
    OPERATOR = "operator"  # the command on the machine, with the database's password
    SCHEDULER = "scheduler"  # by itself, at its time


def writes(operation_id: str) -> bool:
    """Whether a read is written down, and so needs a transaction that may write."""
    return operation_id in AUDITED_READS


def tell(request: Request, **detail: Any) -> None:
    """Say more in the line of this request than its answer does; no secrets, no personal data."""
    told: dict[str, Any] = getattr(request.state, "audit_detail", {})
    request.state.audit_detail = {**told, **detail}


async def note(
    request: Request,
    connection: Connection,
    operation_id: str,
    response: Response,
    beside: tuple[str, float] | None = None,
) -> Any:
    """Write the line of an operation that was done, before its transaction ends.

    ``beside``: a statement that is done with it in one, and a value for it; it finds the tenant as $1, the value as
    $11. Returns what that gives.
    """
    if request.method in _READING and not writes(operation_id):
        return None
    who: Principal = request.state.principal
    answered = _members(response)
    object_type, object_id = await _object(request, connection, who.tenant_id, answered)
    detail = {**_fields(await _sent(request)), **(_told(request) or _outcome(answered, object_id))}
    context = trace.get_current_span().get_span_context()
    statement, more = (f"WITH line AS ({_WRITE_SQL}) {beside[0]}", beside[1:]) if beside else (_WRITE_SQL, ())
    return await connection.fetchval(
        statement,
        who.tenant_id,
        Actor.KEY,
        who.key_id,
        who.user_id,
        operation_id,
        object_type,
        object_id,
        format(context.trace_id, "032x") if context.is_valid else "",
        request.state.peer,
        _text(detail),
        *more,
    )


async def note_admin(connection: Connection, tenant_id: int, action: str, detail: Mapping[str, Any]) -> None:
    """Write a line for what an operator did by a command."""
    await connection.execute(_WRITE_SQL, tenant_id, Actor.OPERATOR, None, None, action, "", "", "", "", _text(detail))


async def note_campaign(
    connection: Connection, tenant_id: int, action: str, campaign_id: int, detail: Mapping[str, Any]
) -> None:
    """Write a line for what the scheduler did to a campaign by itself."""
    await connection.execute(
        _WRITE_SQL, tenant_id, Actor.SCHEDULER, None, None, action, "campaigns", str(campaign_id), "", "", _text(detail)
    )


def _text(detail: Mapping[str, Any]) -> str:
    """As text, which any connection takes, whatever it makes of JSON."""
    return orjson.dumps(dict(detail)).decode()


async def hashed(connection: Connection, tenant_id: int, text: str) -> str:
    """How a text that may be personal stands in the trail: the same text always the same, for this tenant alone."""
    return str(await connection.fetchval(_HASH_SQL, tenant_id, text))


async def _object(
    request: Request, connection: Connection, tenant_id: int, answered: Mapping[str, Any]
) -> tuple[str, str]:
    """The resource (as in ``/v1/<resource>``) and the ids in the address, or the id of what was made."""
    words = [
        str(value) if _PLAIN_ID.fullmatch(str(value)) else await hashed(connection, tenant_id, str(value))
        for value in request.path_params.values()
    ]
    made = answered.get("id")
    object_id = "/".join(words) or (str(made) if isinstance(made, int) else "")
    return request.url.path.split("/")[2], object_id


def _members(response: Response) -> Mapping[str, Any]:
    """The members of a small JSON answer."""
    body = getattr(response, "body", b"")
    if response.media_type not in (None, "application/json") or not 0 < len(body) <= _MAX_READ_BYTES:
        return {}
    try:
        answered = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answered if isinstance(answered, dict) else {}


def _outcome(answered: Mapping[str, Any], object_id: str) -> dict[str, Any]:
    """What was made; where the answer is no thing but numbers, these."""
    made = answered.get("id")
    if isinstance(made, int):
        return {} if str(made) == object_id.rpartition("/")[2] else {"made": made}
    counts = {name: value for name, value in answered.items() if type(value) is int and not name.endswith("_id")}
    return {"counts": counts} if counts and len(counts) <= _MAX_NAMES else {}


async def _sent(request: Request) -> bytes:
    """The body; an upload was read as a stream and is gone."""
    return b"" if is_upload(request) else await request.body()


def _fields(body: bytes) -> dict[str, Any]:
    """The names of the form's fields that were sent, which the form knows, so they are ours."""
    if not body:
        return {}
    try:
        form = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return {"fields": sorted(form)[:_MAX_NAMES]} if isinstance(form, dict) and form else {}


def _told(request: Request) -> dict[str, Any]:
    told: dict[str, Any] = getattr(request.state, "audit_detail", {})
    return told
