"""The gate and the outcome writer: the only code that writes the state of a message.

Promises:
- ``claim`` lets a row through only if, in that one statement, it is still waiting at the attempt number that the caller
  has, its campaign is sending, its address is not suppressed and its deadline has not passed, the installation is not
  held and its pulse is not older than the caller knows (``installation``). The attempt number grows with the claim, so
  the same belt message can never be let through twice.
- ``record`` writes outcomes, their attempts, counters and the failures for the bounce service (by the outbox) in one
  transaction; an outcome for a row that has moved on changes nothing.
- Each move is in ``hayabin.domain.message.TRANSITIONS``; the SQL is made from that table.

Fails: database errors come out as they are. Nothing was changed then, and the caller may try again: a claim whose
answer was lost stays ``claimed`` and becomes ``unknown`` when its owner is gone, never a second mail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hayabin.database.engine import Connection
from hayabin.database.erasing import anonymous_sql
from hayabin.database.suppressing import left_sql, suppressed_sql
from hayabin.domain.campaign import CONFIRMATION
from hayabin.domain.message import TRANSITIONS, WAITING, MessageState, sources_of

REPLY_MAX_CHARS = 500


def _names(states: Sequence[MessageState] | frozenset[MessageState]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


_WAITING = _names(WAITING)
_LEGAL = ", ".join(f"('{a}', '{b}')" for a in MessageState for b in sorted(TRANSITIONS[a]))
_AFTER_CLAIM = _names(frozenset({MessageState.CLAIMED, MessageState.UNKNOWN}))

_SUPPRESSED_NOW = suppressed_sql(
    "m.tenant_id", "m.address_key", "COALESCE(c.list_id, 0)", asks=f"c.kind = '{CONFIRMATION}'"
)

_LEFT = left_sql("m", "c")

CLAIM_SQL = f"""
WITH ruled AS MATERIALIZED (
    SELECT a.id, a.attempt, v.was, v.verdict
    FROM unnest($1::bigint[], $2::smallint[]) AS a(id, attempt)
    CROSS JOIN LATERAL ( -- OFFSET 0: one look-up by id for each row, whatever the planner thinks of young tables
        SELECT m.state AS was,
               CASE WHEN {_SUPPRESSED_NOW} OR {_LEFT} THEN 'suppressed' WHEN c.send_by <= now() THEN 'expired'
                    ELSE 'claimed' END AS verdict
        FROM messages m JOIN campaigns c ON c.id = m.campaign_id AND c.state = 'sending'
        WHERE m.id = a.id AND m.attempt = a.attempt AND m.state IN ({_WAITING}) OFFSET 0) v
    WHERE (SELECT i.held_reason = '' AND i.pulse >= $4 FROM installation i)),
moved AS (
    UPDATE messages m
    SET state = r.verdict, changed_at = now(), claimed_by = $3,
        attempt = m.attempt + CASE WHEN r.verdict = 'claimed' THEN 1 ELSE 0 END,
        next_attempt_at = CASE WHEN r.verdict = 'claimed' THEN m.next_attempt_at END,
        reason = CASE WHEN r.verdict = 'claimed' THEN m.reason ELSE r.verdict END
    FROM ruled r -- no state of its own to look for: in an old ledger those are so rare that one row would be expected
    WHERE m.id = ANY($1) AND m.id = r.id AND m.attempt = r.attempt AND m.state = r.was
    RETURNING m.id, m.campaign_id, m.address_key, m.state),
counted AS (
    INSERT INTO counter_deltas (campaign_id, name, n)
    SELECT campaign_id, state, count(*) FROM moved WHERE state <> 'claimed' GROUP BY campaign_id, state)
SELECT id, address_key, state FROM moved
"""  # noqa: S608 - only names from our own enums

RECORD_SQL = f"""
WITH outcome AS (
    SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
                         $7::smallint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bool[],
                         $14::int[], $15::text[], $16::text[], $17::text[], $18::text[])
    AS o(id, attempt, state, next_attempt_at, reason, phase, code, enhanced, reply, source_ip, mx, lane, tls,
         duration_ms, address, tls_version, tls_policy, tls_result)),
moved AS (
    UPDATE messages m
    SET state = o.state, next_attempt_at = o.next_attempt_at, reason = o.reason, changed_at = now()
    FROM outcome o CROSS JOIN LATERAL (SELECT w.id, w.state FROM messages w WHERE w.id = o.id OFFSET 0) w
    WHERE m.id = ANY($1) AND m.id = o.id
      AND m.state = w.state -- a row that moved since our snapshot is left for a second look
      AND m.attempt = o.attempt AND w.state IN ({_AFTER_CLAIM}) AND (w.state, o.state) IN ({_LEGAL})
    RETURNING m.id, m.tenant_id, m.campaign_id, w.state AS was, m.state, m.attempt, m.reason,
              {anonymous_sql("m.address_key")} AS anonymous), -- erased while nobody knew what had become of it
kept AS (
    INSERT INTO attempts (message_id, attempt, tenant_id, state, reason, phase, code, enhanced, reply, source_ip, mx,
                          lane, tls, duration_ms, address, tls_version, tls_policy, tls_result)
    SELECT o.id, o.attempt, v.tenant_id, o.state, o.reason, o.phase, o.code, o.enhanced,
           CASE WHEN NOT v.anonymous THEN o.reply END, o.source_ip, CASE WHEN NOT v.anonymous THEN o.mx END,
           CASE WHEN NOT v.anonymous OR o.lane NOT LIKE 'mx:%' THEN o.lane END, o.tls, o.duration_ms,
           CASE WHEN NOT v.anonymous THEN o.address END, o.tls_version, o.tls_policy, o.tls_result
    FROM moved v JOIN outcome o ON o.id = v.id AND o.attempt = v.attempt
    ON CONFLICT (message_id, attempt) DO UPDATE SET state = excluded.state, reason = excluded.reason,
        phase = excluded.phase, code = excluded.code, enhanced = excluded.enhanced, reply = excluded.reply,
        finished_at = now()),
tally AS (
    SELECT campaign_id, CASE WHEN state = 'deferred' THEN 'deferrals' ELSE state END AS name, count(*) AS n
    FROM moved GROUP BY 1, 2
    UNION ALL
    SELECT campaign_id, 'unknown', -count(*) FROM moved WHERE was = 'unknown' GROUP BY 1
    UNION ALL
    SELECT campaign_id, 'accepted_after_retry', count(*) FROM moved WHERE state = 'accepted' AND attempt > 1 GROUP BY 1
    UNION ALL
    SELECT campaign_id, state || ':' || COALESCE(reason, 'undefined'), count(*) FROM moved
    WHERE state IN ('bounced', 'deferred') GROUP BY 1, 2),
counted AS (
    INSERT INTO counter_deltas (campaign_id, name, n) SELECT campaign_id, name, n FROM tally)
SELECT id, tenant_id, campaign_id, attempt, state, reason FROM moved
"""  # noqa: S608 - only names from our own enums

MOVE_SQL = """
WITH moved AS (
    UPDATE messages m SET state = $3, reason = $4, changed_at = now(),
        next_attempt_at = CASE WHEN $3 = 'due' THEN now() END
    FROM (SELECT id, state AS was FROM messages WHERE id = ANY($1) AND state = ANY($2) ORDER BY id FOR UPDATE) w
    WHERE m.id = w.id
    RETURNING m.id, m.campaign_id, w.was, m.state),
tally AS (
    SELECT campaign_id, state AS name, count(*) AS n FROM moved GROUP BY 1, 2
    UNION ALL
    SELECT campaign_id, was, -count(*) FROM moved WHERE was NOT IN ('due', 'claimed', 'deferred') GROUP BY 1, 2
    UNION ALL
    SELECT campaign_id, state || ':' || $4, count(*) FROM moved WHERE state IN ('bounced', 'failed') GROUP BY 1, 2),
counted AS (
    INSERT INTO counter_deltas (campaign_id, name, n)
    SELECT campaign_id, name, n FROM tally WHERE name NOT IN ('due', 'claimed', 'deferred'))
SELECT id FROM moved
"""

POSTPONE_SQL = f"""
UPDATE messages m SET next_attempt_at = p.until, reason = $4, changed_at = now()
FROM unnest($1::bigint[], $2::smallint[], $3::timestamptz[]) AS p(id, attempt, until)
CROSS JOIN LATERAL (SELECT w.state FROM messages w WHERE w.id = p.id OFFSET 0) w
WHERE m.id = ANY($1) AND m.id = p.id AND m.attempt = p.attempt AND m.state = w.state AND w.state IN ({_WAITING})
RETURNING m.id
"""  # noqa: S608 - only names from our own enums


HASTEN_SQL = f"""
UPDATE messages m SET next_attempt_at = now() + random() * make_interval(secs => $2)
WHERE m.next_attempt_at > now() + make_interval(secs => $2) AND m.state IN ({_WAITING}) AND m.reason LIKE ANY($1)"""  # noqa: S608 - only names from our own enums

TRANSCRIPT_SQL = f"""
INSERT INTO transcripts (message_id, attempt, tenant_id, lines)
SELECT t.id, t.attempt, m.tenant_id, t.lines
FROM unnest($1::bigint[], $2::smallint[], $3::text[]) AS t(id, attempt, lines)
CROSS JOIN LATERAL (SELECT tenant_id, address_key FROM messages m WHERE m.id = t.id OFFSET 0) m
WHERE NOT {anonymous_sql("m.address_key")}
ON CONFLICT DO NOTHING"""  # noqa: S608 - an expression of ours


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one SMTP transaction came to; ``attempt`` is the number after the claim."""

    message_id: int
    attempt: int
    state: MessageState
    next_attempt_at: datetime | None = None
    reason: str | None = None
    phase: str | None = None
    code: int | None = None
    enhanced: str | None = None
    reply: str | None = None
    source_ip: str | None = None
    mx: str | None = None
    lane: str | None = None
    tls: bool | None = None
    duration_ms: int | None = None
    address: str | None = None
    tls_version: str | None = None
    tls_policy: str | None = None
    tls_result: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row that took its outcome."""

    message_id: int
    tenant_id: int
    campaign_id: int
    attempt: int
    state: MessageState
    reason: str | None


async def claim(
    connection: Connection, rows: Sequence[tuple[int, int]], owner: str, *, pulse: int = 0
) -> dict[int, str]:
    """The gate.

    Shape: ``rows`` are (message id, attempts begun when it was fed), in any order, each id once; ``pulse`` is the
    latest of the installation that the caller has seen: nothing passes in a database that has not come that far.
    Returns: the ids that may be sent now, as attempt number + 1, each with the suppression key of the mailbox that it
    may be sent to. Every other row is none of the caller's business.
    """
    ordered = sorted(rows)  # one lock order for everybody: no deadlock
    answer = await connection.fetch(CLAIM_SQL, [i for i, _ in ordered], [a for _, a in ordered], owner, pulse)
    return {row["id"]: row["address_key"] for row in answer if row["state"] == MessageState.CLAIMED}


async def record(connection: Connection, outcomes: Sequence[Outcome]) -> list[Recorded]:
    """Write what the claimed rows came to; returns the rows that took it. Call inside a transaction with the outbox."""
    written = await _record(connection, outcomes)
    if len(written) < len(outcomes):  # moved meanwhile (say, to unknown): look at their newest version once more
        done = {row.message_id for row in written}
        written += await _record(connection, [x for x in outcomes if x.message_id not in done])
    return written


async def _record(connection: Connection, outcomes: Sequence[Outcome]) -> list[Recorded]:
    o = sorted(outcomes, key=lambda outcome: outcome.message_id)
    answer = await connection.fetch(
        RECORD_SQL,
        [x.message_id for x in o],
        [x.attempt for x in o],
        [x.state.value for x in o],
        [x.next_attempt_at for x in o],
        [x.reason for x in o],
        [x.phase for x in o],
        [x.code for x in o],
        [x.enhanced for x in o],
        [None if x.reply is None else x.reply.replace("\x00", "")[:REPLY_MAX_CHARS] for x in o],
        [x.source_ip for x in o],
        [x.mx for x in o],
        [x.lane for x in o],
        [x.tls for x in o],
        [x.duration_ms for x in o],
        [x.address for x in o],
        [x.tls_version for x in o],
        [x.tls_policy for x in o],
        [x.tls_result for x in o],
    )
    return [
        Recorded(r["id"], r["tenant_id"], r["campaign_id"], r["attempt"], MessageState(r["state"]), r["reason"])
        for r in answer
    ]


async def move(connection: Connection, ids: Sequence[int], target: MessageState, reason: str) -> list[int]:
    """Move rows to ``target`` from whatever state may become it (late DSN, complaint, cancel, lost claim …).

    Returns: the ids that moved; a row whose state has no such move stays as it is.
    """
    sources = [state.value for state in sources_of(target)]
    answer = await connection.fetch(MOVE_SQL, list(ids), sources, target.value, reason)
    return [row["id"] for row in answer]


async def postpone(connection: Connection, rows: Sequence[tuple[int, int, datetime]], reason: str) -> list[int]:
    """Give waiting rows back unattempted until a time (lane over its limit); no attempt is counted.

    Shape: ``rows`` are (message id, attempts begun, until).
    """
    ordered = sorted(rows)
    answer = await connection.fetch(
        POSTPONE_SQL, [r[0] for r in ordered], [r[1] for r in ordered], [r[2] for r in ordered], reason
    )
    return [row["id"] for row in answer]


async def hasten(connection: Connection, reasons: Sequence[str], *, over_s: float = 10.0) -> None:
    """Make postponed rows due, spread over some seconds, because what they waited for is over.

    Shape: ``reasons`` are patterns of LIKE, such as ``suspended:%``.
    """
    await connection.execute(HASTEN_SQL, list(reasons), over_s)


async def keep_transcripts(connection: Connection, rows: Sequence[tuple[int, int, str]]) -> None:
    """Keep what was said in attempts.

    Shape: ``rows`` are (message id, attempt, lines).
    """
    await connection.execute(TRANSCRIPT_SQL, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
