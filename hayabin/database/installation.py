"""The installation's one row: its pulse, its hold, and what a process knows of both.

A database that is taken back to an earlier state (a restored dump, a promoted replica that lacked commits) does not
know of mails that were sent since. So the pulse grows every few seconds, and whoever has seen it grow refuses an older
one: the gate compares in its own statement, so there is no moment in which a restored database lets mail through to a
process that knew better. Outside the database the belt keeps the last pulse (``Mark``).

Promises: ``Watch.pulse`` never goes back; ``hold`` stops the gate, pauses what was sending and takes scheduled
campaigns back, in one transaction, and moves every sequence on, so that ids that were given are not given again.
Fails: database errors come out.
"""

import asyncio
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import asyncpg
import orjson

from hayabin.database.clock import DatabaseClock
from hayabin.database.engine import AWAY, Connection, Pool
from hayabin.telemetry.logging import get_logger

READ_S: Final = 1.0
SEQUENCE_GAP: Final = 10_000_000
"""Ids that are left out after a database was taken back: more than can have been given since."""

_READ_SQL = """
SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8 AS now_s, pulse, held_reason, belt_problem,
       EXTRACT(EPOCH FROM now() - belt_seen_at)::float8 AS belt_age_s
FROM installation"""

_BEAT_SQL = """
UPDATE installation SET pulse = pulse + 1, pulsed_at = now(), identity = $1, belt_problem = $2, belt_seen_at = now()
RETURNING epoch, pulse, EXTRACT(EPOCH FROM now())::float8 AS at_s"""

_HOLD_SQL = """
UPDATE installation SET epoch = epoch + 1, pulse = greatest(pulse, $2) + 1, pulsed_at = now(), identity = $3,
       held_reason = $1, held_at = now()
RETURNING epoch, pulse, EXTRACT(EPOCH FROM now())::float8 AS at_s"""

_PAUSE_SQL = "UPDATE campaigns SET state = 'paused', state_reason = $1, updated_at = now() WHERE state = 'sending'"

_TAKE_BACK_SQL = (
    "UPDATE campaigns SET state = 'failed', state_reason = $1, updated_at = now() WHERE state = 'scheduled'"
)

_SEQUENCES_SQL = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, COALESCE(last_value, 0) + $1)
FROM pg_sequences WHERE schemaname = current_schema()"""


class HoldReason(StrEnum):
    """Why nothing is sent until a person says so."""

    DATABASE_RESTORED = "database_restored"  # the belt, or a process, has seen a later pulse than the database has
    DATABASE_MOVED = "database_moved"  # the rows stand in another cluster or database than the one that pulsed
    BY_OPERATOR = "by_operator"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the belt keeps for us: how far the database had come."""

    epoch: int
    pulse: int

    def encode(self) -> bytes:
        """As the belt keeps it."""
        return orjson.dumps({"epoch": self.epoch, "pulse": self.pulse})


def read_mark(body: bytes | None) -> Mark | None:
    """Read what the belt kept; None where it has nothing that we wrote."""
    if body is None:
        return None
    try:
        found = orjson.loads(body)
        return Mark(int(found["epoch"]), int(found["pulse"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        get_logger().error("mark_unreadable", size_bytes=len(body))
        return None


@dataclass(slots=True)
class Watch:
    """What one process knows of the installation; read it often."""

    clock: DatabaseClock = field(default_factory=DatabaseClock)
    pulse: int = 0
    held_reason: str = ""
    belt_problem: str = ""
    belt_age_s: float = 0.0
    """How old what the database says of the belt is."""

    async def read(self, connection: Connection | Pool) -> None:
        """Ask the database."""
        asked_s = time.monotonic()
        self.take(await _the_row(connection, _READ_SQL), asked_s)

    def take(self, row: Any, asked_s: float) -> None:
        """Take over what the database said; ``asked_s`` is of the monotonic clock."""
        self.clock.read(row["now_s"], asked_s, time.monotonic())
        if row["pulse"] < self.pulse:
            get_logger().error("database_went_back", pulse=row["pulse"], known=self.pulse)
        self.pulse = max(self.pulse, row["pulse"])
        if row["held_reason"] != self.held_reason:
            get_logger().warning("hold_changed", held_reason=row["held_reason"])
        self.held_reason = row["held_reason"]
        self.belt_problem, self.belt_age_s = row["belt_problem"], row["belt_age_s"] or 0.0

    async def read_for_ever(self, pool: Pool) -> None:
        """Ask again and again; while the database is away, what was known last holds."""
        while True:
            try:
                await self.read(pool)
            except (*AWAY, asyncpg.PostgresError) as error:
                get_logger().warning("watch_waits", error=repr(error))
            await asyncio.sleep(READ_S)


async def _the_row(connection: Connection | Pool, sql: str, *arguments: object) -> Any:
    row = await connection.fetchrow(sql, *arguments)
    if row is None:
        raise RuntimeError("the installation has no row: the schema is not migrated")
    return row


async def identity(connection: Connection) -> str:
    """Name the cluster and the database in it; a cluster that may not be asked for its name counts as one."""
    oid = await connection.fetchval("SELECT oid::text FROM pg_database WHERE datname = current_database()")
    if not await connection.fetchval("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"):
        return f"-/{oid}"
    cluster = await connection.fetchval("SELECT system_identifier::text FROM pg_control_system()")
    return f"{cluster}/{oid}"


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat of the pulse: the mark to keep outside once it is committed, why everything is held now (empty: it is
    not), and the database's time.
    """  # noqa: D205 - three things, one sentence

    mark: Mark
    held_reason: str
    at_s: float


async def beat(connection: Connection, *, belt_problem: str, known: Mark | None) -> Beat:
    """Let the pulse grow, within the caller's transaction; or hold, if the database is not where it was.

    Shape: ``known`` is the latest mark that anybody outside the database has.
    """
    row = await _the_row(connection, "SELECT pulse, identity, held_reason FROM installation FOR UPDATE")
    here = await identity(connection)
    reason = None
    if known is not None and row["pulse"] < known.pulse:
        reason = HoldReason.DATABASE_RESTORED
    elif row["identity"] not in ("", here):
        reason = HoldReason.DATABASE_MOVED
    if reason is not None:
        return await hold(connection, reason, known)
    beaten = await _the_row(connection, _BEAT_SQL, here, belt_problem)
    return Beat(Mark(beaten["epoch"], beaten["pulse"]), row["held_reason"], beaten["at_s"])


async def hold(connection: Connection, reason: HoldReason, known: Mark | None = None) -> Beat:
    """Stop everything until a person releases it, within the caller's transaction; see the module."""
    row = await _the_row(connection, _HOLD_SQL, reason.value, known.pulse if known else 0, await identity(connection))
    paused = await connection.execute(_PAUSE_SQL, reason.value)
    taken_back = await connection.execute(_TAKE_BACK_SQL, reason.value)
    if reason is not HoldReason.BY_OPERATOR:
        await connection.execute(_SEQUENCES_SQL, SEQUENCE_GAP)
    get_logger().error("installation_held", reason=reason.value, paused=paused, taken_back=taken_back)
    return Beat(Mark(row["epoch"], row["pulse"]), reason.value, row["at_s"])


async def release(connection: Connection) -> str:
    """End a hold; campaigns stay as the hold left them. Returns the reason that it had, empty if there was none."""
    return str(
        await connection.fetchval(
            "WITH was AS (SELECT held_reason FROM installation FOR UPDATE) "
            "UPDATE installation SET held_reason = '', held_at = NULL FROM was RETURNING was.held_reason"
        )
    )
