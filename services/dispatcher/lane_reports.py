"""What this dispatcher says of its lanes, for who asks the API.

Promises: a lane in use, or closed, is reported every ``REPORT_S``, with what waits, its rate, its limits, its state,
the reason and the next try; a lane that rests quietly is not. At most ``MOST_LANES`` are reported.
Fails: the database's errors come out; the next turn reports anew.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from hayabin.database.engine import Pool
from services.dispatcher.destination import Destination
from services.dispatcher.lane import Closed, Lane, LaneState
from services.dispatcher.lanes import Lanes
from services.dispatcher.rates import NS

REPORT_S: Final = 2.0
MOST_LANES: Final = 1000

_WRITE_SQL = """
WITH fresh AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::int[], $9::int[],
                         $10::int[], $11::float8[], $12::float8[], $13::bigint[], $14::bigint[])
    AS r(source_ip, lane, state, reason, next_try_at, waiting, connections, connection_limit, begun_per_s, limit_per_s,
         begun_today, cap_today)),
gone AS (
    DELETE FROM lane_reports o WHERE o.dispatcher = $2
      AND NOT EXISTS (SELECT 1 FROM fresh f WHERE f.source_ip = o.source_ip AND f.lane = o.lane AND o.pool = $1))
INSERT INTO lane_reports (pool, dispatcher, source_ip, lane, state, reason, next_try_at, waiting, connections,
                          connection_limit, begun_per_s, limit_per_s, begun_today, cap_today)
SELECT $1, $2, f.* FROM fresh f ORDER BY f.source_ip, f.lane
ON CONFLICT (pool, source_ip, lane) DO UPDATE SET dispatcher = excluded.dispatcher, state = excluded.state,
    reason = excluded.reason, next_try_at = excluded.next_try_at, waiting = excluded.waiting,
    connections = excluded.connections, connection_limit = excluded.connection_limit,
    begun_per_s = excluded.begun_per_s, limit_per_s = excluded.limit_per_s, begun_today = excluded.begun_today,
    cap_today = excluded.cap_today, reported_at = now()"""


class _Row(NamedTuple):
    """One report, in the order of the statement."""

    source_ip: str
    lane: str
    state: str
    reason: str
    next_try_at: datetime | None
    waiting: int
    connections: int
    connection_limit: int
    begun_per_s: float
    limit_per_s: float | None
    begun_today: int
    cap_today: int | None


async def report(pool: Pool, name: str, dispatcher: str, lanes: Lanes, destinations: Iterable[Destination]) -> None:
    """Write the reports of pool ``name`` as ``dispatcher`` sees them now."""
    waiting: dict[str, int] = {}
    rests: dict[str, datetime] = {}
    for destination in destinations:
        key = destination.limit_key
        waiting[key] = waiting.get(key, 0) + len(destination.waiting)
        until = destination.resting_until()
        if until is not None and key.startswith("mx:"):
            rests[key] = until
    rows = [row for lane in lanes if (row := _row(lane, waiting.get(lane.key, 0), rests.get(lane.key))) is not None]
    rows = sorted(rows, key=lambda row: row.lane.startswith("mx:"))[:MOST_LANES]
    columns = list(zip(*rows, strict=True)) or [()] * len(_Row._fields)
    await pool.execute(_WRITE_SQL, name, dispatcher, *(list(column) for column in columns))


def _row(lane: Lane, waiting: int, rests_until: datetime | None) -> _Row | None:
    status = lane.status()
    if status.state is LaneState.OPEN and rests_until is not None:
        status = Closed(LaneState.RESTING, "nobody could connect", rests_until)
    rate = lane.meter.per_s(lane.now_ns() / NS)
    if status.state is LaneState.OPEN and not (waiting or lane.open_connections or rate):
        return None
    cap = next((cap for cap in lane.daily if cap.cap() is not None), None)
    return _Row(
        lane.source_ip,
        lane.key,
        status.state.value,
        status.reason,
        status.ready_at,
        waiting,
        lane.open_connections,
        lane.connection_limit,
        rate,
        lane.limit_per_s,
        0 if cap is None else max(0, cap.granted - cap.left),
        None if cap is None else cap.cap(),
    )


async def forget(pool: Pool, dispatcher: str) -> None:
    """Take the reports away (the process stops)."""
    await pool.execute("DELETE FROM lane_reports WHERE dispatcher = $1", dispatcher)
