"""Reading the audit log: lines by filter, the chain in its order, and whether it holds.

Promises: every statement names the tenant; a line that the scheduler has not linked yet is shown with ``seq`` None and
is never shown twice; a check reads the log in pages and needs little memory, however long it is.
Fails: database errors come out. What does not hold is no failure: ``Verdict.broken`` names the first place.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from hayabin.database.engine import Connection
from hayabin.domain.audit_chain import ROOT, Break, Broken, Line, Link, broken

PAGE_ROWS: Final = 2000
_LINE = "tenant_id, entry_id, at, actor, key_id, user_id, action, object_type, object_id, trace_id, ip, detail"
_WHICH = """tenant_id = $1 AND entry_id < $2 AND ($4::timestamptz IS NULL OR at >= $4)
    AND ($5::timestamptz IS NULL OR at < $5) AND ($6::text IS NULL OR actor = $6)
    AND ($7::bigint IS NULL OR key_id = $7)
    AND ($8::bigint IS NULL OR user_id = $8) AND ($9::text IS NULL OR action = $9)
    AND ($10::text IS NULL OR object_type = $10) AND ($11::text IS NULL OR object_id = $11)
    ORDER BY entry_id DESC LIMIT $3"""

_FOUND_SQL = f"""
SELECT * FROM (
    (SELECT {_LINE}, seq, hash FROM audit_log WHERE {_WHICH})
    UNION ALL
    (SELECT {_LINE}, NULL AS seq, NULL AS hash FROM audit_pending WHERE {_WHICH})) both_parts
ORDER BY entry_id DESC LIMIT $3"""  # noqa: S608 - constants of ours

_CHAIN_SQL = f"""
SELECT {_LINE}, seq, prev_hash, hash FROM audit_log
WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"""  # noqa: S608 - constants of ours

# One statement, so one moment: a line that is linked meanwhile is in one of the parts.
_WHOLE_SQL = f"""
SELECT * FROM (
    (SELECT {_LINE}, seq, prev_hash, hash FROM audit_log
     WHERE tenant_id = $1 AND seq > $2 AND entry_id <> ALL($6::bigint[])
       AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
     ORDER BY seq LIMIT $3)
    UNION ALL
    (SELECT {_LINE}, NULL AS seq, NULL AS prev_hash, NULL AS hash FROM audit_pending
     WHERE tenant_id = $1 AND entry_id <> ALL($6::bigint[])
       AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
     ORDER BY entry_id LIMIT $3)) both_parts
ORDER BY seq, entry_id LIMIT $3"""  # noqa: S608 - constants of ours

_ENDS_SQL = """
SELECT COALESCE((SELECT max(seq) FROM audit_log WHERE tenant_id = $1), 0) AS last_seq,
       COALESCE((SELECT seq FROM audit_heads WHERE tenant_id = $1), 0) AS head_seq,
       (SELECT hash FROM audit_heads WHERE tenant_id = $1) AS head_hash,
       (SELECT count(*) FROM audit_pending WHERE tenant_id = $1) AS pending"""
"""One statement, so one moment: the head moves together with the lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which lines; None: any."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    key_id: int | None = None
    user_id: int | None = None
    action: str | None = None
    object_type: str | None = None
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A link that was written down elsewhere: in a log, on paper."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    lines: int
    """That hold, one after the other, from the first."""
    head_seq: int
    head_hash: bytes
    pending: int
    """Written and not linked yet: nothing is said of them."""
    broken: Broken | None = None


async def found(connection: Connection, tenant_id: int, which: Filter, before_id: int, limit: int) -> list[Any]:
    """Lines, the newest first, within the caller's transaction."""
    # planned for the filters that are given, or none would use its index
    await connection.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
    return list(
        await connection.fetch(
            _FOUND_SQL, tenant_id, before_id, limit, which.since, which.until, which.actor, which.key_id, which.user_id,
            which.action, which.object_type, which.object_id,
        )
    )  # fmt: skip


@dataclass(slots=True)
class Place:
    """How far the whole log was read."""

    seq: int = 0
    unlinked: list[int] = field(default_factory=list)
    """Lines that were read before they were linked: they may be in the chain by now, and are not read again."""
    ended: bool = False
    """Nothing came after the last page, at its moment."""


async def page_after(connection: Connection, tenant_id: int, place: Place, which: Filter) -> list[Any]:
    """The next lines in the order of the chain, then those that are not linked yet; ``place`` goes on."""
    rows = await connection.fetch(_WHOLE_SQL, tenant_id, place.seq, PAGE_ROWS, which.since, which.until, place.unlinked)
    place.seq = max((row["seq"] for row in rows if row["seq"] is not None), default=place.seq)
    place.unlinked += [row["entry_id"] for row in rows if row["seq"] is None]
    place.ended = len(rows) < PAGE_ROWS
    return list(rows)


def line_of(row: Any) -> Line:
    """The line that a row holds."""
    return Line(
        tenant_id=row["tenant_id"], entry_id=row["entry_id"], at=row["at"], actor=row["actor"], key_id=row["key_id"],
        user_id=row["user_id"], action=row["action"], object_type=row["object_type"], object_id=row["object_id"],
        trace_id=row["trace_id"], ip=row["ip"], detail=row["detail"],
    )  # fmt: skip


async def verify(connection: Connection, tenant_id: int, anchor: Anchor | None = None) -> Verdict:
    """Follow the chain from the first line to the head, as it stands now."""
    ends: Any = await connection.fetchrow(_ENDS_SQL, tenant_id)
    head_hash = ends["head_hash"] or ROOT
    verdict = Verdict(0, ends["head_seq"], head_hash, ends["pending"])
    seq, hash_ = 0, ROOT
    async for link in _links(connection, tenant_id, ends["head_seq"]):
        wrong = broken(link, seq, hash_) or _against(anchor, link)
        if wrong is not None:
            return replace(verdict, lines=seq, broken=wrong)
        seq, hash_ = link.seq, link.hash
    wrong = None
    if seq < ends["head_seq"]:
        detail = f"the last line is {seq}, but there have been {ends['head_seq']}: the end was removed"
        wrong = Broken(seq + 1, Break.MISSING, detail)
    elif ends["last_seq"] > ends["head_seq"]:
        wrong = Broken(seq + 1, Break.BEYOND_HEAD, f"there are lines up to {ends['last_seq']}; the head is at {seq}")
    elif hash_ != head_hash:
        wrong = Broken(seq, Break.WRONG_HEAD, f"the head does not have the hash of line {seq}")
    elif anchor is not None and anchor.seq > seq:
        detail = f"the anchor is of line {anchor.seq}, but the last line is {seq}: the end was removed"
        wrong = Broken(seq + 1, Break.WRONG_ANCHOR, detail)
    return replace(verdict, lines=seq, broken=wrong)


def _against(anchor: Anchor | None, link: Link) -> Broken | None:
    if anchor is None or anchor.seq != link.seq or anchor.hash == link.hash:
        return None
    return Broken(link.seq, Break.WRONG_ANCHOR, f"line {link.seq} is not the one that the anchor was taken of")


async def _links(connection: Connection, tenant_id: int, through_seq: int) -> AsyncIterator[Link]:
    seq = 0
    while seq < through_seq:
        rows = await connection.fetch(_CHAIN_SQL, tenant_id, seq, PAGE_ROWS)
        for row in rows:
            if row["seq"] > through_seq:
                return
            yield Link(row["seq"], row["prev_hash"], row["hash"], line_of(row))
        if len(rows) < PAGE_ROWS:
            return
        seq = rows[-1]["seq"]
