"""How many a campaign would reach and why others not, before it is launched.

Promises: the numbers are those that a launch at this moment would put into the ledger; people who are excluded are in
no other number. Counted whole, in one statement: a second or two for a million.
Fails: ``SegmentMissing``, ``SegmentTooDeep``; database errors as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

from hayabin.database import segments
from hayabin.database.audience_of import audience_of
from hayabin.database.audience_sql import Audience, Window, Writing
from hayabin.database.engine import Connection
from hayabin.domain.audience import LeftOut

COUNT_S: Final = 50.0


async def count(
    connection: Connection, campaign_row: Mapping[str, Any], *, consent_required: bool = False
) -> dict[str, int]:
    """The audience of a campaign, by its ``id``, within the caller's transaction.

    ``consent_required``: as if the tenant wanted evidence of consent from everybody.

    Shape: ``audience`` (in the ledger after a launch) = ``will_get`` + one number for each ``LeftOut`` but
    ``excluded``, which counts people who are not in it.
    """
    audience = await _required(connection, campaign_row)
    writing = Writing(replace(audience, needs_evidence=audience.needs_evidence or consent_required))
    sql = f"""
        WITH candidates AS MATERIALIZED ({writing.candidates(Window())}),
        judged AS ({writing.people("candidates")})
        SELECT reason, count(*) AS n FROM judged GROUP BY reason"""  # noqa: S608 - constants of ours, values are parameters
    rows = await segments.bounded(connection, sql, writing.parameters, COUNT_S)
    counted = {row["reason"]: row["n"] for row in rows}
    left_out = {reason.value: counted.get(reason.value, 0) for reason in LeftOut}
    in_ledger = sum(counted.values()) - left_out[LeftOut.EXCLUDED]
    return {"audience": in_ledger, "will_get": counted.get("", 0), **left_out}


async def left_out_people(
    connection: Connection, campaign_row: Mapping[str, Any], reason: LeftOut | None, *, after_id: int, limit: int
) -> Sequence[Any]:
    """People of the audience who are left out for a reason, or (None) who get the mail, in order of id."""
    audience = await _required(connection, campaign_row)
    writing = Writing(audience, one_by_one=True)
    judged = writing.people("candidates", ", c.address AS email, c.name")
    sql = f"""
        WITH candidates AS ({writing.candidates(Window(after_id))}), judged AS ({judged})
        SELECT * FROM judged WHERE reason = {writing.parameters.add(reason or "", "text")}
        ORDER BY contact_id LIMIT {writing.parameters.add(limit, "bigint")}"""  # noqa: S608 - constants of ours, values are parameters
    return await segments.bounded(connection, sql, writing.parameters, COUNT_S, in_order=True)


async def overlaps(connection: Connection, campaign_row: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What each part of the definition gives and takes: ``included_by``, ``overlaps`` of each two, ``excluded_by``."""
    audience = await _required(connection, campaign_row)
    writing = Writing(audience)
    includes, excludes = _includes(audience, writing), _excludes(audience, writing)
    pairs = list(combinations(range(len(includes)), 2))
    columns = [f"count(*) FILTER (WHERE i{n})" for n in range(len(includes))]
    columns += [f"count(*) FILTER (WHERE i{one} AND i{other})" for one, other in pairs]
    if not includes:  # a test, or a campaign whose list was deleted
        return {"included_by": [], "overlaps": [], "excluded_by": []}
    anywhere = " OR ".join(f"i{n}" for n in range(len(includes)))
    columns += [f"count(*) FILTER (WHERE e{n} AND ({anywhere}))" for n in range(len(excludes))]
    flags = [f"{sql} AS i{n}" for n, (_, sql) in enumerate(includes)]
    flags += [f"{sql} AS e{n}" for n, (_, sql) in enumerate(excludes)]
    sql = (
        f"SELECT {', '.join(f'{column} AS n{n}' for n, column in enumerate(columns))} FROM "  # noqa: S608 - parameters
        f"(SELECT {', '.join(flags)} FROM contacts c WHERE c.tenant_id = {writing.tenant}) flagged"
    )
    row = (await segments.bounded(connection, sql, writing.parameters, COUNT_S))[0]
    counts = list(row.values())
    after_pairs = len(includes) + len(pairs)
    return {
        "included_by": [{**name, "people": n} for (name, _), n in zip(includes, counts, strict=False)],
        "overlaps": [
            {"of": [includes[one][0], includes[other][0]], "people": n}
            for (one, other), n in zip(pairs, counts[len(includes) : after_pairs], strict=True)
        ],
        "excluded_by": [{**name, "people": n} for (name, _), n in zip(excludes, counts[after_pairs:], strict=True)],
    }


async def _required(connection: Connection, campaign_row: Mapping[str, Any]) -> Audience:
    audience = await audience_of(connection, campaign_row["id"])
    if audience is None:
        raise LookupError(f"there is no campaign {campaign_row['id']}")
    return audience


_Part = tuple[dict[str, Any], str]


def _on(writing: Writing, list_id: int, only: str) -> str:
    listed = writing.parameters.add(list_id, "bigint")
    return f"EXISTS (SELECT 1 FROM list_members lm WHERE lm.contact_id = c.id AND lm.list_id = {listed}{only})"  # noqa: S608 - parameters


def _includes(audience: Audience, writing: Writing) -> list[_Part]:
    subscribed = " AND lm.state = 'subscribed'"
    lists = audience.definition.include_lists
    found: list[_Part] = [({"kind": "list", "id": one}, _on(writing, one, subscribed)) for one in lists]
    met = audience.definition.include_segments
    return found + [({"kind": "segment", "id": one}, f"({writing.segment(one)}) IS TRUE") for one in met]


def _excludes(audience: Audience, writing: Writing) -> list[_Part]:
    definition = audience.definition
    found: list[_Part] = [({"kind": "list", "id": one}, _on(writing, one, "")) for one in definition.exclude_lists]
    met = definition.exclude_segments
    found += [({"kind": "segment", "id": one}, f"({writing.segment(one)}) IS TRUE") for one in met]
    sent = definition.exclude_campaigns
    return found + [({"kind": "campaign", "id": one}, writing.sent((one,))) for one in sent]
