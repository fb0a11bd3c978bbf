"""What dispatchers do to a ledger and its belt, as steps of a state machine: everything may come late, twice or wrong.

Promises: whatever the gate lets through is in ``oracle.granted``, and whatever outcome was taken in ``oracle.taken``.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from hayabin.database import feeds, instances, ledger
from hayabin.database.engine import Connection, Pool
from hayabin.database.feeds import FeedTarget
from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import MessageState
from services.api.scheduler import reconciler
from tests.integration.ledger.ledger_oracle import Oracle
from tests.support.seed import Seeded

S = MessageState
OWNERS = ("d1", "d2", "d3")
OUTCOMES = (S.ACCEPTED, S.DEFERRED, S.BOUNCED, S.UNKNOWN, S.EXPIRED)
CLASSES = ("bulk", "transactional")

TIME_PASSES_SQL = (
    """UPDATE messages SET next_attempt_at = next_attempt_at - interval '20 minutes',
       changed_at = changed_at - interval '20 minutes'""",
    """UPDATE feeds SET fed_at = fed_at - interval '6 minutes',
       lease_expires_at = lease_expires_at - interval '6 minutes'""",
)


def picked(some: list[Any], places: list[int]) -> list[Any]:
    """What stands at these places from the end, around and around, if anything does: the newest is at 0."""
    return [some[-1 - place % len(some)] for place in places] if some else []


class LedgerTraffic(RuleBasedStateMachine):
    """Belt and dispatchers; ``loop`` and ``pool`` are those of the test, ``seeded`` has a campaign of each class."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    pool: ClassVar[Pool]

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.seeded: list[Seeded] = []
        self.launched: dict[int, int] = {}  # campaign → who was subscribed then
        self.moves = 1  # that a row may have made in the last step

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run to its end on the loop of the test."""
        return self.loop.run_until_complete(work)

    def in_transaction(self, work: Any, *arguments: Any, **named: Any) -> Any:
        """Call with a connection in a transaction."""

        async def call() -> Any:
            async with self.pool.acquire() as connection, connection.transaction():
                return await work(connection, *arguments, **named)

        return self.run(call())

    # --- the belt

    def listen(self) -> None:
        """Hear of what was fed."""
        self.run(self.oracle.listen(self.pool))

    def feed_first(self, n: int, limit: int) -> None:
        """As the feeder does, from the cursor on."""

        async def feed(connection: Connection) -> None:
            row = await connection.fetchrow(
                "SELECT * FROM campaigns WHERE id = $1 FOR UPDATE", self.seeded[n].campaign_id
            )
            if row is not None and row["state"] == CampaignState.SENDING:
                target = FeedTarget(row["id"], row["tenant_id"], row["class"], row["traceparent"], row["launched_at"])
                await feeds.feed_first(connection, target, row["fed_through_id"], limit)

        self.in_transaction(feed)
        self.listen()

    def feed_retries(self, name: str, limit: int) -> None:
        """Whatever has a time, and that is past."""
        self.in_transaction(feeds.feed_retries, name, limit)
        self.listen()

    def tidy_belt(self) -> None:
        """Drop and renew leases."""
        self.run(reconciler.tidy_belt(self.pool))
        self.listen()

    def lease_ends(self) -> None:
        """And the reconciler sees it."""
        self.time_passes(False, True)
        self.tidy_belt()

    def time_passes(self, messages: bool, leases: bool) -> None:
        """For the times of messages, of leases, or both."""
        self.oracle.leases_ended += leases
        for wanted, statement in zip((messages, leases), TIME_PASSES_SQL, strict=True):
            if wanted:
                self.run(self.pool.execute(statement))

    def feed_what_is_due(self) -> None:
        """Time passes, and the feeder does its work."""
        self.time_passes(True, False)
        for name in CLASSES:
            self.feed_retries(name, 100)

    # --- dispatchers

    def beats(self, owner: str) -> None:
        """A sign of life, also of who was taken for dead."""
        self.run(instances.beat(self.pool, owner, "dispatcher"))

    def falls_silent(self, owner: str) -> None:
        """It is dead, or pauses, or cannot reach the database."""
        self.run(self.pool.execute("UPDATE instances SET seen_at = now() - interval '1 hour' WHERE name = $1", owner))

    def claim(self, owner: str, places: list[int]) -> None:
        """What was heard just now, before, or long ago and several times."""
        asked = dict(filter(self.oracle.in_hand, picked(self.oracle.heard, places)))
        self.oracle.grant(owner, asked, self.in_transaction(ledger.claim, list(asked.items()), owner))

    def claim_at_once(self, places: list[int]) -> None:
        """Every dispatcher asks for the same rows at the same moment."""
        asked = dict(filter(self.oracle.in_hand, picked(self.oracle.heard, places)))

        async def ask(owner: str) -> dict[int, str]:
            async with self.pool.acquire() as connection:
                return await ledger.claim(connection, list(asked.items()), owner)

        async def ask_at_once() -> list[dict[int, str]]:
            return await asyncio.gather(*map(ask, OWNERS))

        for owner, answer in zip(OWNERS, self.run(ask_at_once()), strict=True):
            self.oracle.grant(owner, asked, answer)

    def record(self, places: list[int], state: MessageState, off: int, twice: bool) -> None:
        """Outcomes of attempts that were granted, also late, written again, or of another attempt."""
        attempts = {one[0]: one[1] for one in picked(list(self.oracle.granted), places)}
        outcomes = [self.outcome(message_id, attempt + off, state) for message_id, attempt in attempts.items()]
        for _ in range(1 + twice):
            self.take(self.in_transaction(ledger.record, outcomes))

    def record_all_of_one(self, place: int, states: tuple[MessageState, ...]) -> None:
        """One transaction has the outcomes of several attempts at one message: all but the last are late."""
        again = [one for one in self.oracle.granted if one[1] > 1]
        for message_id, newest in picked(again, [place]):
            attempts = [attempt for one, attempt in self.oracle.granted if one == message_id and attempt <= newest][-3:]
            outcomes = [self.outcome(message_id, a, state) for a, state in zip(attempts, states, strict=False)]
            self.take(self.in_transaction(ledger.record, outcomes))

    def outcome(self, message_id: int, attempt: int, state: MessageState) -> ledger.Outcome:
        """An outcome with a next time where there is one."""
        next_at = datetime.now(UTC) + timedelta(minutes=5) if state is S.DEFERRED else None
        return ledger.Outcome(message_id, attempt, state, next_attempt_at=next_at, reason="a_reason")

    def take(self, written: list[ledger.Recorded]) -> None:
        """Take note of what the ledger took."""
        for row in written:
            assert (row.message_id, row.attempt) in self.oracle.granted, "an outcome without a grant was taken"
            self.oracle.taken[row.message_id, row.attempt] = row.state
        self.moves = 2

    def claim_and_record(self, owner: str, places: list[int], state: MessageState) -> None:
        """The quiet way, so that runs get far."""
        before = set(self.oracle.granted)
        self.claim(owner, places)
        outcomes = [self.outcome(*one, state) for one in self.oracle.granted if one not in before]
        self.take(self.in_transaction(ledger.record, outcomes))

    def postpone(self, places: list[int], minutes: int) -> None:
        """Also of rows that are not the caller's any more."""
        until = datetime.now(UTC) + timedelta(minutes=minutes)
        rows = [(m, attempt, until) for m, attempt in dict(picked(self.oracle.heard, places)).items()]
        self.in_transaction(ledger.postpone, rows, "busy:gmail")
