"""The judge finds each kind of breach, and nothing where nothing is wrong; on a real ledger and hand-made journals."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hayabin.database import ledger
from hayabin.database.engine import Connection, Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from hayabin.domain.token import TokenKey, TokenRing
from hayabin.domain.verp import issue_return_path
from tests.chaos.judge import COUNTED, Allowed, Launch, Verdict, judge
from tests.support.mx_journal import Entry
from tests.support.seed import seed_campaign

RING = TokenRing((TokenKey(1, bytes(range(32))),), active=1)
PEOPLE = [f"u{n}@x.example" for n in range(12)]
STATES = (
    *(MessageState.ACCEPTED,) * 5, MessageState.COMPLAINED, MessageState.UNKNOWN, MessageState.BOUNCED,
    MessageState.SUPPRESSED, MessageState.CANCELLED, MessageState.EXPIRED, MessageState.FAILED,
)  # fmt: skip
ACCEPTED, COMPLAINED, UNKNOWN, BOUNCED = 0, 5, 6, 7
CLEAN = Verdict(launched=12, accepted=6, unknown=1, bounced=1, stopped=4, taken=7)


@dataclasses.dataclass
class Case:
    """A campaign that is over, what receivers took of it, and what the API says; each consistent with the others."""

    connection: Connection
    launch: Launch
    ids: list[int]
    journal: list[Entry]
    stats: dict[str, Any]

    async def judged(self, allowed: Allowed | None = None) -> Verdict:
        """The verdict without its examples, each of which must have a finding."""
        campaign_id = self.launch.campaign_id
        verdict = await judge(
            self.connection, [self.launch], self.journal, RING, {campaign_id: self.stats}, allowed or Allowed()
        )
        clean = not (verdict.lost or verdict.twice or verdict.contradicted) and verdict.equation
        assert clean == (not verdict.examples), verdict
        return dataclasses.replace(verdict, examples=[])

    async def put(self, n: int, state: str, reason: str | None = None) -> None:
        """Write a row's state behind the ledger's back, with the counters and the API as if it had been right."""
        was = await self.connection.fetchval("SELECT state FROM messages WHERE id = $1", self.ids[n])
        await self.connection.execute(
            "UPDATE messages SET state = $2, reason = $3 WHERE id = $1", self.ids[n], state, reason
        )
        for name, change in ((was, -1), (state, 1)):
            if name in COUNTED:
                await self.count(name, change)
            self.stats[term(name)] += change

    async def count(self, name: str, n: int) -> None:
        """Move a counter."""
        await self.connection.execute(
            "INSERT INTO counter_deltas (campaign_id, name, n) VALUES ($1, $2, $3)", self.launch.campaign_id, name, n
        )

    def forget(self, n: int) -> None:
        """Take a mail out of the receivers' journal."""
        self.journal = [entry for entry in self.journal if entry.rcpt_to != PEOPLE[n]]


def term(state: str) -> str:
    """The API's term under which a state is shown."""
    match state:
        case "complained":
            return "accepted"
        case "bounced":
            return "failed"
        case "claimed" | "deferred":
            return "due"
        case _:
            return state


def entry(message_id: int, address: str) -> Entry:
    """What a receiver writes down of a mail."""
    return_path = issue_return_path(message_id, 1, RING, "bounce.example")
    return Entry(0.0, "mx", "127.0.0.1", "out", False, return_path, address, 1, "", "", "", True)


@pytest.fixture
async def case(database_url: str) -> AsyncIterator[Case]:
    """Twelve people: five accepted, and one in each other final state; the ledger's own code writes what it can."""
    pool: Pool = await open_pool(database_url, name="test", size=2)
    async with pool.acquire() as connection:
        async with connection.transaction():
            seeded = await seed_campaign(connection, PEOPLE)
            await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
        rows = await connection.fetch("SELECT message_id, wire FROM recipients")
        id_of = {row["wire"]: row["message_id"] for row in rows}
        ids = [id_of[address] for address in PEOPLE]
        journal = [entry(ids[n], PEOPLE[n]) for n in range(7)]
        stats = {"audience": 12, "accepted": 0, "failed": 0, "suppressed": 0, "cancelled": 0, "expired": 0}
        made = Case(
            connection, Launch(seeded.campaign_id, frozenset(PEOPLE)), ids, journal, stats | {"unknown": 0, "due": 12}
        )
        async with connection.transaction():
            await ledger.claim(connection, [(message_id, 0) for message_id in ids[:5]], "d1")
            await ledger.record(connection, [Outcome(i, 1, MessageState.ACCEPTED) for i in ids[:5]])
        made.stats |= {"accepted": 5, "due": 7}
        for n, state in enumerate(STATES[5:], 5):
            await made.put(n, state, "reason")
        yield made
    await pool.close()


async def test_judge_clean_run_finds_nothing(case: Case) -> None:
    """Proves that every other test here begins without a finding, and that what is counted is right."""
    assert await case.judged() == CLEAN


async def test_judge_missing_row_is_lost(case: Case) -> None:
    """A recipient of an acknowledged launch who has no row."""
    case.launch = Launch(case.launch.campaign_id, case.launch.addresses | {"new@x.example"})
    assert await case.judged() == dataclasses.replace(CLEAN, launched=13, lost=1)


@pytest.mark.parametrize("state", ["due", "claimed", "deferred"])
async def test_judge_open_row_is_lost(case: Case, state: str) -> None:
    """Nothing is under way any more, and a row still waits."""
    await case.put(BOUNCED, state)
    assert await case.judged() == dataclasses.replace(CLEAN, bounced=0, lost=1)


@pytest.mark.parametrize(("state", "lost"), [("due", 0), ("deferred", 0), ("claimed", 1)])
async def test_judge_open_row_of_a_campaign_that_waits_is_lost_only_if_claimed(
    case: Case, state: str, lost: int
) -> None:
    """A paused campaign may have rows that are due; but a claim must have come to its end."""
    await case.put(BOUNCED, state)
    verdict = await case.judged(Allowed(waiting=True))
    assert verdict == dataclasses.replace(CLEAN, bounced=0, lost=lost)


@pytest.mark.parametrize("n", range(BOUNCED, 12), ids=STATES[BOUNCED:])
async def test_judge_final_row_without_a_reason_is_lost(case: Case, n: int) -> None:
    """Whoever does not get a mail must be told why."""
    await case.connection.execute("UPDATE messages SET reason = NULL WHERE id = $1", case.ids[n])
    assert await case.judged() == dataclasses.replace(CLEAN, lost=1)


@pytest.mark.parametrize("n", [ACCEPTED, COMPLAINED, UNKNOWN])
async def test_judge_mail_that_receivers_took_more_than_once_is_twice(case: Case, n: int) -> None:
    """One finding for the ledger id, however often it was taken."""
    case.journal += [entry(case.ids[n], PEOPLE[n])] * 2
    assert await case.judged() == dataclasses.replace(CLEAN, twice=1, taken=9)


@pytest.mark.parametrize("n", [ACCEPTED, COMPLAINED])
async def test_judge_accepted_and_not_taken_is_contradicted(case: Case, n: int) -> None:
    """The ledger says accepted, and no receiver has it."""
    case.forget(n)
    assert await case.judged() == dataclasses.replace(CLEAN, contradicted=1, taken=6)


async def test_judge_accepted_and_not_taken_is_allowed_where_a_person_said_so(case: Case) -> None:
    """A person may resolve what was unknown; nobody else's row is excused by it."""
    case.forget(ACCEPTED)
    resolved = await case.judged(Allowed(resolved=frozenset({case.ids[ACCEPTED]})))
    assert resolved == dataclasses.replace(CLEAN, taken=6)
    other = await case.judged(Allowed(resolved=frozenset({case.ids[ACCEPTED + 1]})))
    assert other.contradicted == 1


async def test_judge_unknown_is_right_taken_or_not(case: Case) -> None:
    """That nobody knows is what the word says."""
    case.forget(UNKNOWN)
    assert await case.judged() == dataclasses.replace(CLEAN, taken=6)


@pytest.mark.parametrize("n", range(BOUNCED, 12), ids=STATES[BOUNCED:])
async def test_judge_taken_and_not_accepted_is_contradicted(case: Case, n: int) -> None:
    """A receiver has it, and the ledger says that nobody does."""
    case.journal.append(entry(case.ids[n], PEOPLE[n]))
    assert await case.judged() == dataclasses.replace(CLEAN, contradicted=1, taken=8)


async def test_judge_taken_and_bounced_is_allowed_where_a_dsn_came_later(case: Case) -> None:
    """A late report of its own message excuses a bounce, and no other state."""
    case.journal += [entry(case.ids[n], PEOPLE[n]) for n in (BOUNCED, BOUNCED + 1)]
    excused = await case.judged(Allowed(bounced_later=frozenset(case.ids[BOUNCED : BOUNCED + 2])))
    assert excused == dataclasses.replace(CLEAN, contradicted=1, taken=9)


async def test_judge_open_row_that_was_taken_is_lost_and_contradicted(case: Case) -> None:
    """It would be sent again: both promises are broken."""
    await case.put(ACCEPTED, "due")
    assert await case.judged() == dataclasses.replace(CLEAN, accepted=5, lost=1, contradicted=1)


async def test_judge_stranger_in_the_journal_is_contradicted(case: Case) -> None:
    """A mail was taken for which there is no row at all."""
    case.journal.append(entry(2**40, "who@x.example"))
    assert await case.judged() == dataclasses.replace(CLEAN, contradicted=1)


async def test_judge_mail_of_another_campaign_is_no_stranger(case: Case) -> None:
    """Journals are of the world, campaigns are judged one by one; what others took counts nowhere here."""
    seeded = await seed_campaign(case.connection, ["a@y.example"], slug="other")
    async with case.connection.transaction():
        await launch(case.connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    other = await case.connection.fetchval("SELECT id FROM messages WHERE campaign_id = $1", seeded.campaign_id)
    case.journal.append(entry(other, "a@y.example"))
    assert await case.judged() == CLEAN


async def test_judge_row_of_nobody_is_contradicted(case: Case) -> None:
    """A row for an address that the client never named."""
    case.launch = Launch(case.launch.campaign_id, case.launch.addresses - {PEOPLE[0]})
    assert await case.judged() == dataclasses.replace(CLEAN, launched=11, contradicted=1)


async def test_judge_two_rows_for_one_recipient_are_contradicted(case: Case) -> None:
    """One finding for the first address that has two rows, one for the second that is lost by it."""
    await case.connection.execute("UPDATE recipients SET wire = $1 WHERE message_id = $2", PEOPLE[1], case.ids[0])
    assert await case.judged() == dataclasses.replace(CLEAN, lost=1, contradicted=1)


@pytest.mark.parametrize("state", COUNTED)
@pytest.mark.parametrize("change", [-1, 1])
async def test_judge_wrong_counter_breaks_the_equation(case: Case, state: str, change: int) -> None:
    """Each counter is held against the rows, folded or not."""
    await case.count(state, change)
    assert await case.judged() == dataclasses.replace(CLEAN, equation=False)


async def test_judge_counters_hold_whether_they_are_folded_or_not(case: Case) -> None:
    """Deltas that became counters say the same."""
    await case.connection.execute(
        "INSERT INTO counters SELECT campaign_id, name, sum(n) FROM counter_deltas GROUP BY 1, 2"
    )
    assert not (await case.judged()).equation  # counted twice
    await case.connection.execute("DELETE FROM counter_deltas")
    assert await case.judged() == CLEAN


@pytest.mark.parametrize(
    "change",
    [
        {"audience": 13, "due": 1},
        {"due": 1},
        {"accepted": 5, "unknown": 2},
    ],
    ids=["another_audience", "terms_are_not_the_audience", "another_accepted"],
)
async def test_judge_api_that_differs_breaks_the_equation(case: Case, change: dict[str, int]) -> None:
    """What a user is shown is held against the rows: the audience, the sum of the terms, what was accepted."""
    case.stats |= change
    assert await case.judged() == dataclasses.replace(CLEAN, equation=False)


async def test_judge_wrong_audience_breaks_the_equation(case: Case) -> None:
    """The campaign's own word for its audience is held against the rows too."""
    await case.connection.execute("UPDATE campaigns SET audience = 11")
    assert await case.judged() == dataclasses.replace(CLEAN, equation=False)


async def test_judge_names_some_of_what_is_wrong_and_not_all(case: Case) -> None:
    """Examples of each kind are few, the count is whole."""
    for n in range(BOUNCED, 12):
        case.journal.append(entry(case.ids[n], PEOPLE[n]))
        await case.connection.execute("UPDATE messages SET reason = NULL WHERE id = $1", case.ids[n])
    case.journal += [entry(2**40 + n, "who@x.example") for n in range(4)]
    campaign_id = case.launch.campaign_id
    verdict = await judge(case.connection, [case.launch], case.journal, RING, {campaign_id: case.stats})
    assert (verdict.lost, verdict.contradicted) == (5, 9)
    kinds = [example.partition(":")[0] for example in verdict.examples]
    assert sorted(kinds) == ["contradicted"] * 5 + ["lost"] * 5
