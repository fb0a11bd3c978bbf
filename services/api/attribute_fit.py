"""What contacts have already, held against a definition that is made or changed.

Promises: either every value fits, and is stored in the form of the new definition, or nothing is changed and the answer
says how many do not, by reason. Values are read in batches; the loop is left in between. Contacts that are written in
the very moment of the change may still be read by the definition before.
Fails: 409 ``values-do-not-fit``.
"""

import asyncio
from collections import Counter
from typing import Any, Final

from services.api.access import Db
from services.api.attribute_types import Definition, ValueInvalid, ValueProblem, typed
from services.api.problems import Problem

BATCH_ROWS: Final = 5000

_VALUES_SQL = """
SELECT id, attributes -> $2 AS value FROM contacts WHERE tenant_id = $1 AND attributes ? $2"""

_REWRITE_SQL = """
UPDATE contacts c SET attributes = jsonb_set(c.attributes, ARRAY[$2::text], g.new)
FROM unnest($3::bigint[], $4::jsonb[], $5::jsonb[]) AS g(id, old, new)
WHERE c.tenant_id = $1 AND c.id = g.id AND c.attributes -> $2 = g.old"""


async def require_fit(db: Db, tenant_id: int, definition: Definition) -> None:
    """Bring the values that contacts have into the form of a definition.

    Raises:
        Problem: 409, with how many contacts have values that do not fit; what was rewritten goes with the transaction.
    """
    misfits: Counter[ValueProblem] = Counter()
    rows: list[tuple[int, Any, Any]] = []
    seen = 0
    async for row in db.cursor(_VALUES_SQL, tenant_id, definition.name, prefetch=BATCH_ROWS):
        seen += 1
        try:
            stored = typed(definition, row["value"])
        except ValueInvalid as error:
            misfits[error.reason] += 1
        else:
            if not _same(stored, row["value"]):
                rows.append((row["id"], row["value"], stored))
        if len(rows) == BATCH_ROWS:
            await _rewrite(db, tenant_id, definition.name, [] if misfits else rows)
            rows = []
        if seen % 500 == 0:
            await asyncio.sleep(0)
    if misfits:
        raise Problem(
            409,
            "values-do-not-fit",
            f"{misfits.total()} of {seen} contacts that have this attribute have a value that would not fit. "
            "Change or remove those first.",
            errors=[
                {"pointer": "#", "message": f"{reason}: {contacts} contacts"}
                for reason, contacts in misfits.most_common()
            ],
        )
    await _rewrite(db, tenant_id, definition.name, rows)


async def _rewrite(db: Db, tenant_id: int, name: str, rows: list[tuple[int, Any, Any]]) -> None:
    if rows:
        ids, old, new = (list(column) for column in zip(*rows, strict=True))
        await db.execute(_REWRITE_SQL, tenant_id, name, ids, old, new)


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are one; ``True`` is no number, and ``1.0`` is ``1``."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


async def one_at_a_time(db: Db, tenant_id: int) -> None:
    """Let no other request define attributes or stages of a tenant until this transaction ends."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('attribute_definitions', $1))", tenant_id)
