"""The real ledger under any order of launches, feeds, claims, outcomes, deaths, reports, commands and duplicates.

Hypothesis draws the order; ``Oracle`` knows what was granted, and compares after each step. At the end of each run
everything that is out there dies, and what a working system does must settle every row.
"""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from hayabin.database import audience, counters, launch, ledger, unknown
from hayabin.database.engine import open_pool
from hayabin.domain.campaign import CampaignState, IllegalTransition
from hayabin.domain.message import OPEN, MessageState
from services.api.scheduler import reconciler
from tests.integration.ledger.ledger_traffic import CLASSES, OUTCOMES, OWNERS, LedgerTraffic, picked
from tests.support.seed import seed_campaign

S = MessageState
PEOPLE = 4
FIRST_PAGE_ROWS = 2

_owner = st.sampled_from(OWNERS)
_place = st.integers(0, 31)
_places = st.lists(_place, min_size=1, max_size=6)
_campaign = st.integers(0, len(CLASSES) - 1)
_outcome = st.sampled_from(OUTCOMES)
_control = st.sampled_from([CampaignState.SENDING] * 3 + [CampaignState.PAUSED, CampaignState.CANCELLED])

STEPS: dict[str, tuple[int, tuple[Any, ...]]] = {
    # how often, and with what
    "launch": (1, (_campaign,)),
    "control": (2, (_campaign, _control)),
    "fill": (3, ()),
    "leave": (1, (_place,)),
    "feed_first": (3, (_campaign, st.integers(1, 3))),
    "feed_retries": (2, (st.sampled_from(CLASSES), st.integers(1, 4))),
    "feed_what_is_due": (5, ()),
    "tidy_belt": (1, ()),
    "lease_ends": (3, ()),
    "time_passes": (2, (st.booleans(), st.booleans())),
    "beats": (1, (_owner,)),
    "falls_silent": (1, (_owner,)),
    "claim": (5, (_owner, _places)),
    "claim_at_once": (2, (_places,)),
    "claim_and_record": (5, (_owner, _places, _outcome)),
    "record": (5, (_places, _outcome, st.sampled_from([0, 0, 0, -1, 1]), st.booleans())),
    "record_all_of_one": (4, (_place, st.tuples(_outcome, _outcome, _outcome))),
    "postpone": (4, (_places, st.integers(-1, 30))),
    "expire_lost_claims": (2, ()),
    "complete": (2, ()),
    "cancel_rows": (1, ()),
    "fold": (1, (st.integers(1, 9),)),
    "report": (1, (_place, st.sampled_from([S.BOUNCED, S.COMPLAINED, S.ACCEPTED]))),
    "resolve": (1, (_campaign, st.sampled_from(unknown.Resolution))),
    "suppress": (1, (_place,)),
}
"""One rule draws from these: as rules of their own half of the runs would do without claims."""

_names = st.sampled_from([name for name, (times, _) in STEPS.items() for _ in range(times)])
_steps = _names.flatmap(lambda name: st.tuples(st.just(name), *STEPS[name][1]))

EMPTY_SQL = """TRUNCATE tenants, messages, recipients, attempts, transcripts, feeds, counters, counter_deltas, instances,
    suppressions, outbox, campaigns RESTART IDENTITY CASCADE"""


class LedgerMachine(LedgerTraffic):
    """Belt and dispatchers, and everybody else: see the module."""

    # --- campaigns

    @initialize()
    def seed(self) -> None:
        """An empty database, a draft campaign of each class, one launched."""

        async def write(connection: Any) -> None:
            await connection.execute(EMPTY_SQL)
            for name in CLASSES:
                people = [f"p{n}@{name}.example" for n in range(PEOPLE)]
                self.seeded.append(await seed_campaign(connection, people, slug=name, message_class=name))

        self.in_transaction(write)
        self.launch(0)

    def launch(self, n: int) -> None:
        """Launched a second time it is refused."""
        one = self.seeded[n]
        sql = "SELECT count(*) FROM list_members WHERE list_id = $1 AND state = 'subscribed'"
        people = self.run(self.pool.fetchval(sql, one.list_id))
        try:
            self.in_transaction(launch.launch, one.campaign_id, tenant_id=one.tenant_id)
        except (IllegalTransition, launch.EmptyAudience):
            return
        self.launched[one.campaign_id] = people
        self.listen()

    def control(self, n: int, to: CampaignState) -> None:
        """Pause, resume, cancel; what the table does not have is refused."""
        one = self.seeded[n]
        state = self.run(self.pool.fetchval("SELECT state FROM campaigns WHERE id = $1", one.campaign_id))
        if state in (CampaignState.DRAFT, CampaignState.COMPLETED):  # the routes do not let these through
            return
        with contextlib.suppress(IllegalTransition):
            self.in_transaction(launch.change_state, one.campaign_id, one.tenant_id, to)

    @rule(step=_steps)
    def happens(self, step: tuple[Any, ...]) -> None:
        """One of ``STEPS``."""
        name, *arguments = step
        getattr(self, name)(*arguments)

    # --- the scheduler

    def fill(self) -> None:
        """The next page of an audience."""
        self.run(audience.fill_next(self.pool))

    def expire_lost_claims(self) -> None:
        """The claims of who is silent."""
        self.run(reconciler.expire_lost_claims(self.pool))
        self.moves = 2  # claimed → unknown → due

    def complete(self) -> None:
        """What is completed has no open row at that moment; what was completed and has one is opened again."""
        before = self.campaigns_in(CampaignState.COMPLETED)
        self.run(reconciler.complete_campaigns(self.pool))
        self.assert_over(self.campaigns_in(CampaignState.COMPLETED) - before)
        self.run(reconciler.reopen_campaigns(self.pool))
        self.assert_over(self.campaigns_in(CampaignState.COMPLETED))

    def campaigns_in(self, state: CampaignState) -> set[int]:
        """The campaigns in a state."""
        return {
            row["id"] for row in self.run(self.pool.fetch("SELECT id FROM campaigns WHERE state = $1", state.value))
        }

    def assert_over(self, some: set[int]) -> None:
        """None of them has an open row."""
        sql = "SELECT count(*) FROM messages WHERE campaign_id = ANY($1) AND state = ANY($2)"
        assert self.run(self.pool.fetchval(sql, list(some), [s.value for s in OPEN])) == 0, "over, and a row is open"

    def cancel_rows(self) -> None:
        """A page of what was cancelled."""
        self.run(reconciler.cancel_rows(self.pool))

    def fold(self, limit: int) -> None:
        """Some of the deltas."""
        self.in_transaction(counters.fold, limit=limit)

    # --- people, reports, operators

    def leave(self, place: int) -> None:
        """Somebody leaves a list; who was in it at a launch stays in the audience."""
        sql = "SELECT list_id, contact_id FROM list_members WHERE state = 'subscribed' ORDER BY list_id, contact_id"
        members = self.run(self.pool.fetch(sql))
        if members:
            sql = "UPDATE list_members SET state = 'unsubscribed', updated_at = now() WHERE list_id = $1 AND contact_id = $2"
            self.run(self.pool.execute(sql, *members[place % len(members)].values()))

    def report(self, place: int, to: MessageState) -> None:
        """A DSN, a complaint, an open; the services that get them let rows alone that are claimed."""
        known = [row.message_id for row in self.oracle.rows.values() if row.state in (S.ACCEPTED, S.UNKNOWN, S.BOUNCED)]
        self.in_transaction(ledger.move, picked(known, [place]), to, "a_report")

    def resolve(self, n: int, resolution: unknown.Resolution) -> None:
        """An operator settles what is unknown of a campaign."""
        with contextlib.suppress(IllegalTransition):
            self.in_transaction(unknown.resolve, self.seeded[n].campaign_id, list(self.oracle.rows), resolution)

    def suppress(self, place: int) -> None:
        """From now on nothing may pass for this address."""
        for row in picked(list(self.oracle.rows.values()), [place]):
            self.oracle.suppressed.add((row.tenant_id, row.address_key))
            sql = "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, $2, 0, 'm') ON CONFLICT DO NOTHING"
            self.run(self.pool.execute(sql, row.tenant_id, row.address_key))

    # --- what must hold

    @invariant()
    def the_ledger_keeps_its_promises(self) -> None:
        """Rows, counters and attempts against the oracle."""
        self.in_transaction(self.oracle.check, moves=self.moves)
        self.moves = 1

    def teardown(self) -> None:
        """Everybody out there dies; then what the system does by itself settles all, though nobody may be granted twice."""
        if not self.seeded:
            return
        for one in self.seeded:
            self.run(
                self.pool.execute(
                    "UPDATE campaigns SET state = 'sending' WHERE id = $1 AND state = 'paused'", one.campaign_id
                )
            )
        self.run(self.pool.execute("UPDATE instances SET seen_at = now() - interval '1 hour'"))
        for _ in range(5):
            self.work()
        left = [row for row in self.oracle.rows.values() if row.state in OPEN]
        assert not left, f"lost: nothing settles {left}"
        for campaign_id, people in self.launched.items():
            state = self.run(self.pool.fetchval("SELECT state FROM campaigns WHERE id = $1", campaign_id))
            rows = [row for row in self.oracle.rows.values() if row.campaign_id == campaign_id]
            assert len(rows) == people or state == CampaignState.CANCELLED, f"audience of {people}: {rows}"
            assert len({row.address_key for row in rows}) == len(rows), f"twice in the audience: {rows}"

    def work(self) -> None:
        """One round of all that the system does by itself, by a dispatcher to which every mail is accepted."""
        self.time_passes(True, True)
        while self.run(audience.fill_next(self.pool)):
            pass
        self.expire_lost_claims()
        self.the_ledger_keeps_its_promises()
        self.tidy_belt()
        for n, name in enumerate(CLASSES):
            self.feed_first(n, 100)
            self.feed_retries(name, 100)
        self.the_ledger_keeps_its_promises()
        for place in range(len(self.oracle.heard)):
            self.claim("d4", [place])
        self.the_ledger_keeps_its_promises()
        for message_id, attempt in [one for one, owner in self.oracle.granted.items() if owner == "d4"]:
            self.take(self.in_transaction(ledger.record, [self.outcome(message_id, attempt, S.ACCEPTED)]))
        self.cancel_rows()
        self.the_ledger_keeps_its_promises()
        self.complete()


@pytest.mark.slow
@pytest.mark.timeout(600)  # that a failure has time to shrink
def test_ledger_under_any_order_of_events_loses_nobody_and_grants_no_attempt_twice(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random runs on PostgreSQL; a failing one prints its steps, and the blob that runs it again."""
    monkeypatch.setattr(launch, "FIRST_PAGE_ROWS", FIRST_PAGE_ROWS)
    monkeypatch.setattr(audience, "FIRST_PAGE_ROWS", FIRST_PAGE_ROWS)
    monkeypatch.setattr(audience, "PAGE_ROWS", 1)
    with asyncio.Runner() as runner:
        LedgerMachine.loop = runner.get_loop()
        LedgerMachine.pool = runner.run(open_pool(database_url, name="test", size=4))
        try:
            run_state_machine_as_test(
                LedgerMachine,
                settings=settings(
                    max_examples=60,
                    stateful_step_count=30,
                    deadline=None,
                    print_blob=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(LedgerMachine.pool.close())
