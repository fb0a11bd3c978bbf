"""How often somebody may do something, counted in the database, so that any number of replicas count together.

Promises: a subject is kept as a keyed-by-purpose hash, never as what it is; a row is dropped when its span is over, and
there are no more of them than requests that the limit of the form itself let through.
Fails: database errors as they are; nothing was counted then.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from hayabin.database.engine import Connection

HOUR_S: Final = 3600
DAY_S: Final = 86_400

_TAKE_SQL = """
INSERT INTO sign_up_rates AS r (subject, until, n)
VALUES ($1, to_timestamp((floor(extract(epoch FROM now()) / $2) + 1) * $2), 1)
ON CONFLICT (subject, until) DO UPDATE SET n = r.n + 1 RETURNING n"""

_USED_SQL = """
SELECT n FROM sign_up_rates
WHERE subject = $1 AND until = to_timestamp((floor(extract(epoch FROM now()) / $2) + 1) * $2)"""

FORGET_SQL: Final = "DELETE FROM sign_up_rates WHERE until < now()"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` times within each span of ``span_s`` seconds."""

    scope: str
    """What is limited: ``form:3``, ``ip:3`` …"""
    who: str
    limit: int
    span_s: int


async def is_used_up(connection: Connection, rate: Rate) -> bool:
    """Whether the next ``take`` would be over the limit; counts nothing."""
    n: int | None = await connection.fetchval(_USED_SQL, _subject(rate), rate.span_s)
    return n is not None and n >= rate.limit


async def take(connection: Connection, rate: Rate) -> bool:
    """Count once more; false where that is over the limit."""
    n: int = await connection.fetchval(_TAKE_SQL, _subject(rate), rate.span_s)
    return n <= rate.limit


def _subject(rate: Rate) -> bytes:
    return hashlib.blake2b(f"{rate.scope}\x00{rate.who}".encode(errors="replace"), digest_size=16).digest()
