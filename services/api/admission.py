"""Whether what adds to the sending is taken on just now.

Promises: a launch or a test is refused, with the reason and Retry-After, while it could not be sent: the belt is away,
the installation is held, no scheduler gives a sign; and a launch while too much waits already; a resume is refused
while the installation is held: a person releases it first, then decides for each campaign. Everything else always
passes: reads, pause, cancel, unsubscribes, schedules (which are only rows). A request costs no query for this: the
facts are read once a second, and once more before anybody is refused, so nobody is refused by what is over.
Fails: ``Problem`` 503 or 429. Before the first reading everything is admitted.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from hayabin.database.engine import AWAY, Connection, Pool
from hayabin.database.installation import READ_S, HoldReason, Watch
from hayabin.database.lending import borrowed
from hayabin.database.tenancy import as_services
from hayabin.telemetry.logging import get_logger
from services.api.problems import Problem
from services.api.scheduler.reconciler import FINAL

LAUNCH: Final = "launchCampaign"
TEST: Final = "testCampaign"
RESUME: Final = "resumeCampaign"
ADMITTED: Final = frozenset({LAUNCH, TEST, RESUME})
"""The operations that ask."""
BELT_PATIENCE_S: Final = 5.0
"""A belt that is away for less is no reason to refuse: the outbox keeps what is for it."""
SILENCE_S: Final = 60.0
FRESH_S: Final = 3.0
_ANSWER_S: Final = 4.0

_FIGURES_SQL = """
SELECT EXTRACT(EPOCH FROM clock_timestamp() - i.pulsed_at)::float8 AS pulse_age_s,
       (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT $1) AS counted) AS outbox_rows,
       COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - (SELECT created_at FROM outbox ORDER BY id LIMIT 1)), 0)::float8
           AS outbox_age_s,
       (SELECT count(*) FROM instances WHERE seen_at > now() - interval '20 seconds') AS dispatchers
FROM installation i"""

# By the folded counters: what waits to be folded is a second's work, and this is no ledger. Of an audience by rules
# nobody has counted the rest: it is taken for as dense as what came in so far.
_WAITING_SQL = """
SELECT c.tenant_id, sum(greatest(c.audience + COALESCE(to_come.n, 0) - done.n, 0))::bigint AS waiting FROM campaigns c
CROSS JOIN LATERAL (
    SELECT COALESCE(sum(k.n), 0) AS n FROM counters k WHERE k.campaign_id = c.id AND k.name = ANY($1)) done
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN NOT c.filling THEN 0
        WHEN c.audience_definition = '{}' THEN (
            SELECT count(*) FROM list_members lm
            WHERE lm.list_id = c.list_id AND lm.contact_id > c.filled_through_id AND lm.state = 'subscribed')
        ELSE c.audience * ((SELECT max(p.id) FROM contacts p WHERE p.tenant_id = c.tenant_id) - c.filled_through_id)
             / greatest(c.filled_through_id - (SELECT min(p.id) FROM contacts p WHERE p.tenant_id = c.tenant_id) + 1, 1)
        END AS n) to_come
WHERE c.state = 'sending' GROUP BY c.tenant_id"""

_HELD: Final[Mapping[str, str]] = {
    HoldReason.DATABASE_RESTORED: "the database was taken back to an earlier state, and lacks what was sent since",
    HoldReason.DATABASE_MOVED: "the database stands in another cluster than before, which may lack what was sent last",
    HoldReason.BY_OPERATOR: "an operator stopped it",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait; 0 means any number."""

    backlog: int = 0
    """Recipients of one tenant in campaigns that are being sent."""
    outbox: int = 0
    """Rows of the outbox, of all tenants."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was read beside the watch."""

    pulse_age_s: float
    outbox_rows: int
    """Counted up to one over the limit."""
    outbox_age_s: float
    dispatchers: int
    waiting: Mapping[int, int]
    """By tenant."""


@dataclass(slots=True)
class Admission:
    """See the module."""

    limits: Limits
    clock: Callable[[], float] = time.monotonic
    watch: Watch = field(default_factory=Watch)
    figures: Figures | None = None
    _read_s: float = 0.0
    _belt_trouble_s: float | None = None  # since when the belt has had a problem, as seen from here

    async def read(self, connection: Connection | Pool) -> None:
        """Take the facts from the database."""
        await self.watch.read(connection)
        row: Any = await connection.fetchrow(_FIGURES_SQL, self.limits.outbox + 1)
        waiting = await connection.fetch(_WAITING_SQL, [state.value for state in FINAL])
        self.figures = Figures(**dict(row), waiting={found["tenant_id"]: found["waiting"] for found in waiting})
        self._read_s = self.clock()
        if not self.watch.belt_problem:
            self._belt_trouble_s = None
        elif self._belt_trouble_s is None:
            self._belt_trouble_s = self._read_s

    async def read_for_ever(self, pool: Pool) -> None:
        """Read again and again; while the database is away, what was known last holds."""
        while True:
            try:
                async with borrowed(pool, wait_s=_ANSWER_S, within_s=_ANSWER_S) as loan:
                    await self.read(loan.connection)
            except (*AWAY, asyncpg.PostgresError, RuntimeError) as error:
                get_logger().warning("admission_waits", error=repr(error))
            await asyncio.sleep(READ_S)

    async def require(self, connection: Connection, operation: str, tenant_id: int) -> None:
        """Pass silently where the operation may be taken on.

        Raises:
            Problem: see the module.
        """
        if self._refusal(operation, tenant_id) is None:
            return
        async with as_services(connection):  # the facts are those of all tenants
            await self.read(connection)
        refusal = self._refusal(operation, tenant_id)
        if refusal is not None:
            get_logger().warning("not_admitted", operation=operation, tenant_id=tenant_id, why=refusal.slug)
            raise refusal

    async def health(self, pool: Pool) -> dict[str, Any]:
        """What ``GET /v1/health`` shows; not older than ``FRESH_S``.

        Raises: the driver's errors where it is older and cannot be read.
        """
        if self.figures is None or self.clock() - self._read_s > FRESH_S:
            async with borrowed(pool, wait_s=_ANSWER_S, within_s=_ANSWER_S) as loan:
                await self.read(loan.connection)
        figures, watch = self.figures, self.watch
        if figures is None:
            raise RuntimeError("nothing was read")
        troubled = watch.held_reason or watch.belt_problem or figures.pulse_age_s > SILENCE_S
        return {
            "status": "degraded" if troubled else "ok",
            "held_reason": watch.held_reason,
            "belt_problem": watch.belt_problem,
            "pulse_age_s": max(0.0, figures.pulse_age_s),
            "outbox_age_s": max(0.0, figures.outbox_age_s),
            "dispatchers": figures.dispatchers,
        }

    def _refusal(self, operation: str, tenant_id: int) -> Problem | None:
        """Why not, if not."""
        figures, watch = self.figures, self.watch
        if figures is None:
            return None
        if watch.held_reason:
            return Problem(503, "installation-held", why_held(watch.held_reason), headers={"Retry-After": "60"})
        if operation == RESUME:
            return None
        if figures.pulse_age_s > SILENCE_S:
            detail = f"No scheduler has given a sign for {figures.pulse_age_s:.0f} s: nothing would be sent."
            return Problem(503, "scheduler-silent", detail, headers={"Retry-After": "15"})
        if self._belt_trouble_s is not None and self.clock() - self._belt_trouble_s > BELT_PATIENCE_S:
            detail = f"The belt takes nothing: {watch.belt_problem}. What is launched already goes on when it is back."
            return Problem(503, "belt-unavailable", detail, headers={"Retry-After": "10"})
        if self.limits.outbox and figures.outbox_rows > self.limits.outbox:
            detail = f"More than {self.limits.outbox} messages wait for the belt."
            return Problem(429, "backlog-full", detail, headers={"Retry-After": "30"})
        waiting = figures.waiting.get(tenant_id, 0)
        if operation == LAUNCH and self.limits.backlog and waiting > self.limits.backlog:
            detail = f"{waiting} mails of this tenant wait to be sent; the bound is {self.limits.backlog}."
            return Problem(429, "backlog-full", detail, headers={"Retry-After": "60"})
        return None


def why_held(held_reason: str) -> str:
    """What a hold means, and what ends it."""
    reason, _, note = held_reason.partition(": ")
    meaning = _HELD.get(reason, reason) + (f" ({note})" if note else "")
    return (
        f"Nothing is sent: {meaning}. An operator reads `hayabin admin status`, and ends the hold with "
        "`hayabin admin release`."
    )
