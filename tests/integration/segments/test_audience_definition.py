"""Audiences of lists, segments and exclusions: counted before the launch as the ledger has them after it, and why."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from hayabin.crash_points import CrashPoint
from hayabin.database import audience, audience_count, erasing
from hayabin.database.audience import fill_next
from hayabin.database.audience_of import audience_of
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool
from hayabin.database.launch import launch
from hayabin.domain.audience import LeftOut
from tests.support.seed import Seeded, launch_whole, seed_campaign

PEOPLE = 40
REASONS = ("unsubscribed", "erased", "suppressed", "no_consent", "same_content", "frequency_cap")


class Place:
    """A tenant with forty people on its first list, and what a test changes of it."""

    def __init__(self, pool: Pool, seeded: Seeded, ids: list[int]) -> None:
        self.pool, self.seeded, self.ids = pool, seeded, ids

    async def a_list(self, name: str, numbers: range, state: str = "subscribed", consent: str = "form") -> int:
        """Another list, with some of the people."""
        list_id: int = await self.pool.fetchval(
            "INSERT INTO lists (tenant_id, name) VALUES ($1, $2) RETURNING id", self.seeded.tenant_id, name
        )
        await self.pool.execute(
            "INSERT INTO list_members (list_id, contact_id, state, consent) SELECT $1, unnest($2::bigint[]), $3, $4",
            list_id, [self.ids[n] for n in numbers], state, consent,
        )  # fmt: skip
        return list_id

    async def a_segment(self, numbers: range, name: str = "s") -> int:
        """A segment that some of the people meet."""
        await self.pool.execute(
            "UPDATE contacts SET attributes = attributes || jsonb_build_object($2::text, true) WHERE id = ANY($1)",
            [self.ids[n] for n in numbers], name,
        )  # fmt: skip
        segment_id: int = await self.pool.fetchval(
            "INSERT INTO segments (tenant_id, name, rules) VALUES ($1, $2, $3) RETURNING id",
            self.seeded.tenant_id, name, {"attribute": name, "is": "equals", "value": True},
        )  # fmt: skip
        return segment_id

    async def define(self, **definition: list[int]) -> None:
        """Give the campaign an audience."""
        await self.pool.execute(
            "UPDATE campaigns SET audience_definition = $2 WHERE id = $1", self.seeded.campaign_id, definition
        )

    async def settings(self, **values: Any) -> None:
        """What the tenant has set."""
        await self.pool.execute("UPDATE tenants SET settings = $2 WHERE id = $1", self.seeded.tenant_id, values)

    async def another(self) -> Seeded:
        """A copy of the campaign, as a draft."""
        campaign_id = await self.pool.fetchval(
            "INSERT INTO campaigns (tenant_id, name, template_version_id, list_id, domain_id, from_name, from_address, "
            "pool) SELECT tenant_id, 'd', template_version_id, list_id, domain_id, from_name, from_address, pool "
            "FROM campaigns WHERE id = $1 RETURNING id",
            self.seeded.campaign_id,
        )
        one = self.seeded
        return Seeded(one.tenant_id, one.list_id, one.domain_id, one.template_version_id, campaign_id)

    async def counted(self, seeded: Seeded | None = None) -> dict[str, int]:
        """What the count says before the launch."""
        async with self.pool.acquire() as connection, connection.transaction():
            return await audience_count.count(connection, {"id": (seeded or self.seeded).campaign_id})

    async def launched(self, seeded: Seeded | None = None) -> dict[int, str]:
        """Launch all of it; give the reason ('' for none) by number of the person, in the order of the ledger."""
        one = seeded or self.seeded
        async with self.pool.acquire() as connection:
            await launch_whole(connection, one)
        return await self.in_ledger(one)

    async def in_ledger(self, seeded: Seeded | None = None) -> dict[int, str]:
        """The reason ('' for none) by number of the person; each once, in order."""
        rows = await self.pool.fetch(
            "SELECT r.contact_id, m.state, m.reason FROM messages m JOIN recipients r ON r.message_id = m.id "
            "WHERE m.campaign_id = $1 ORDER BY m.id",
            (seeded or self.seeded).campaign_id,
        )
        assert all((row["state"] == "due") == (row["reason"] is None) for row in rows)
        assert [row["contact_id"] for row in rows] == sorted({row["contact_id"] for row in rows})
        return {self.ids.index(row["contact_id"]): row["reason"] or "" for row in rows}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a few, so that every audience takes several."""
    monkeypatch.setattr(audience, "FIRST_PAGE_ROWS", 5)
    monkeypatch.setattr(audience, "PAGE_ROWS", 3)
    monkeypatch.setattr(audience, "WINDOW_PAGES", 2)


@pytest.fixture
async def place(pool: Pool) -> Place:
    """Forty people, all on the campaign's list."""
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])  # type: ignore[arg-type]
    rows = await pool.fetch("SELECT id FROM contacts ORDER BY id")
    await pool.execute("UPDATE list_members SET consent = 'form'")
    return Place(pool, seeded, [row["id"] for row in rows])


async def agree(place: Place, seeded: Seeded | None = None) -> dict[int, str]:
    """Count, launch, compare: count, ledger and the campaign's counters say the same."""
    before = await place.counted(seeded)
    ledger = await place.launched(seeded)
    reasons = Counter(ledger.values())
    assert before["audience"] == len(ledger)
    assert before["will_get"] == reasons[""]
    assert {reason: before[reason] for reason in REASONS} == {reason: reasons[reason] for reason in REASONS}
    async with place.pool.acquire() as connection:
        counters = await read_counters(connection, (seeded or place.seeded).campaign_id)
    assert counters.get("suppressed", 0) == len(ledger) - reasons[""]
    assert {name.partition(":")[2]: n for name, n in counters.items() if ":" in name} == {
        reason: n for reason, n in reasons.items() if reason
    }
    return ledger


async def test_audience_of_includes_and_excludes_is_everybody_of_the_ones_and_none_of_the_others(place: Place) -> None:
    """Two lists that overlap, a segment beside them, and an exclusion of each kind; nobody twice."""
    await place.pool.execute("DELETE FROM list_members WHERE contact_id <> ALL($1)", place.ids[:10])
    second = await place.a_list("second", range(5, 20))
    await place.a_list("elsewhere", range(40))
    segment = await place.a_segment(range(18, 30), "in")
    out_list = await place.a_list("out", range(3))
    out_segment = await place.a_segment(range(6, 8), "out")
    sent = await place.another()
    await place.pool.execute("UPDATE campaigns SET list_id = $2 WHERE id = $1", sent.campaign_id, second)
    await place.launched(sent)
    await place.pool.execute(
        "UPDATE messages SET state = 'cancelled' WHERE id > (SELECT min(id) + 1 FROM messages)"
    )  # but for 5 and 6
    await place.define(
        include_lists=[place.seeded.list_id, second], include_segments=[segment], exclude_lists=[out_list],
        exclude_segments=[out_segment], exclude_campaigns=[sent.campaign_id],
    )  # fmt: skip
    async with place.pool.acquire() as connection, connection.transaction():
        parts = await audience_count.overlaps(connection, {"id": place.seeded.campaign_id})
    assert [part["people"] for part in parts["included_by"]] == [10, 15, 12]
    assert [part["people"] for part in parts["overlaps"]] == [5, 0, 2]
    assert [(part["kind"], part["people"]) for part in parts["excluded_by"]] == [
        ("list", 3), ("segment", 2), ("campaign", 2),
    ]  # fmt: skip
    assert (await place.counted())["excluded"] == 6
    assert await agree(place) == dict.fromkeys([3, 4, *range(8, 30)], "")


async def test_people_of_a_segment_need_a_subscription_somewhere(place: Place) -> None:
    """No list, no mail; who has left all, or the list that the unsubscribe link is for, is unsubscribed."""
    await place.pool.execute("DELETE FROM list_members")
    await place.pool.execute("UPDATE campaigns SET list_id = NULL")
    segment = await place.a_segment(range(20))
    await place.a_list("a", range(5))
    await place.a_list("b", range(3, 10), "unsubscribed")
    await place.a_list("c", range(10, 12), "pending")
    await place.define(include_segments=[segment])
    expected = {n: "" if n < 5 else "unsubscribed" if n < 10 else "no_consent" for n in range(20)}
    assert await agree(place) == expected
    topic = await place.another()
    left = await place.a_list("topic", range(2), "complained")
    await place.pool.execute(
        "UPDATE campaigns SET list_id = $2, audience_definition = $3 WHERE id = $1",
        topic.campaign_id, left, {"include_segments": [segment]},
    )  # fmt: skip
    assert await agree(place, topic) == {**expected, 0: "unsubscribed", 1: "unsubscribed"}


async def test_each_reason_is_counted_before_and_kept_in_the_ledger(place: Place) -> None:
    """One person for each reason, with the other reasons behind it: the first of the order is told."""
    pool, ids = place.pool, place.ids
    await place.settings(
        consent_policy="required", frequency_cap_messages=1, frequency_cap_days=7, same_content_days=30
    )
    segment = await place.a_segment(range(40))
    await place.define(include_lists=[place.seeded.list_id], include_segments=[segment])
    earlier = await place.another()
    await pool.execute("DELETE FROM list_members WHERE contact_id = ANY($1)", ids[8:])
    await place.launched(earlier)  # the same content, to 0..7
    await pool.execute("UPDATE messages SET state = 'accepted', changed_at = now()")
    await pool.execute("UPDATE campaigns SET fingerprint = 'other' WHERE id = $1", earlier.campaign_id)
    same = await place.another()
    await place.launched(same)
    await pool.execute("UPDATE messages SET state = 'failed' WHERE campaign_id = $1", same.campaign_id)
    await pool.execute(
        "UPDATE messages SET state = 'unknown' WHERE campaign_id = $1 AND id IN "
        "(SELECT message_id FROM recipients WHERE contact_id = ANY($2))",
        same.campaign_id, ids[:6],
    )  # fmt: skip
    await place.a_list("far", range(8, 12))
    await pool.execute("UPDATE list_members SET consent = 'unspecified' WHERE contact_id = ANY($1)", [*ids[:4], ids[9]])
    await pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) SELECT $1, unnest($2::text[]), 0, 'manual'",
        place.seeded.tenant_id, ["u1@x.example", "u2@x.example", "u10@x.example"],
    )  # fmt: skip
    async with pool.acquire() as connection:
        await erasing.remember(connection, place.seeded.tenant_id, ["u1@x.example"])
    await pool.execute("UPDATE list_members SET state = 'unsubscribed' WHERE contact_id = ANY($1)", [ids[0], ids[11]])
    expected = {
        0: "unsubscribed", 1: "erased", 2: "suppressed", 3: "no_consent", 4: "same_content", 5: "same_content",
        6: "frequency_cap", 7: "frequency_cap", 8: "", 9: "no_consent", 10: "suppressed", 11: "unsubscribed",
        **dict.fromkeys(range(12, 40), "no_consent"),
    }  # fmt: skip
    async with pool.acquire() as connection, connection.transaction():
        campaign = {"id": place.seeded.campaign_id}
        for reason in [None, *(LeftOut(name) for name in REASONS)]:
            listed: list[Any] = []
            while page := await audience_count.left_out_people(
                connection, campaign, reason, after_id=listed[-1]["contact_id"] if listed else 0, limit=7
            ):
                listed += page
            assert [ids.index(row["contact_id"]) for row in listed] == [
                n for n, why in expected.items() if why == (reason or "")
            ]
    assert await agree(place) == expected


async def test_frequency_cap_counts_what_waits_and_forgets_what_is_old(place: Place) -> None:
    """Due and claimed mails count, failed and old ones do not, nor do transactional campaigns; another launch's do."""
    await place.settings(frequency_cap_messages=2, frequency_cap_days=7)
    first, second = await place.another(), await place.another()
    await place.launched(first)
    await place.launched(second)
    rows = await place.pool.fetch("SELECT id, campaign_id FROM messages ORDER BY id")
    mine = {one.campaign_id: [row["id"] for row in rows if row["campaign_id"] == one.campaign_id]
            for one in (first, second)}  # fmt: skip
    old = "UPDATE messages SET state = 'accepted', changed_at = now() - interval '8 days' WHERE id = ANY($1)"
    await place.pool.execute(old, mine[first.campaign_id][:10])
    await place.pool.execute(
        "UPDATE messages SET state = 'bounced' WHERE id = ANY($1)", mine[second.campaign_id][10:20]
    )
    expected = dict.fromkeys(range(20), "") | dict.fromkeys(range(20, 40), "frequency_cap")
    transactional = await place.another()
    await place.pool.execute("UPDATE campaigns SET class = 'transactional' WHERE id = $1", transactional.campaign_id)
    assert (await place.counted(transactional))["will_get"] == PEOPLE
    assert await agree(place) == expected


async def test_two_launches_at_once_do_not_give_anybody_more_than_the_cap(place: Place) -> None:
    """The second waits for the first, and sees whom it took."""
    await place.settings(frequency_cap_messages=1)
    campaigns = [await place.another() for _ in range(3)]

    async def start(one: Seeded) -> None:
        async with place.pool.acquire() as connection, connection.transaction():
            await launch(connection, one.campaign_id, tenant_id=one.tenant_id)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(start(one) for one in campaigns))
    while await fill_next(place.pool) or await place.pool.fetchval("SELECT bool_or(filling) FROM campaigns"):
        pass
    assert await place.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'due'") == PEOPLE
    assert await place.pool.fetchval("SELECT count(*) FROM messages") == 3 * PEOPLE


async def test_pages_after_a_crash_neither_skip_nor_repeat_anybody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is rolled back once before it is taken, and people leave, come and are suppressed meanwhile."""
    segment = await place.a_segment(range(10, 40))
    await place.define(include_lists=[place.seeded.list_id], include_segments=[segment])
    async with place.pool.acquire() as connection, connection.transaction():
        await launch(connection, place.seeded.campaign_id, tenant_id=place.seeded.tenant_id)
    turns = 0

    def crash(point: CrashPoint) -> None:
        if point is CrashPoint.FILL_BEFORE_COMMIT and turns % 2:
            raise ConnectionResetError

    monkeypatch.setattr(audience, "reach", crash)
    leaves = "UPDATE list_members SET state = 'unsubscribed', updated_at = now() WHERE contact_id = $1"
    await place.pool.execute(leaves, place.ids[30])
    while await place.pool.fetchval("SELECT filling FROM campaigns"):
        turns += 1
        try:
            await fill_next(place.pool)
        except ConnectionResetError:
            continue
    assert turns > 8
    assert await place.in_ledger() == {n: "unsubscribed" if n == 30 else "" for n in range(PEOPLE)}


async def test_segment_that_few_meet_is_found_by_the_scheduler(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch does not look through everybody: nobody on the first page is no empty audience, unless it is the last."""
    monkeypatch.setattr(audience, "FIRST_S", 0.0)
    few = await place.a_segment(range(38, 40))
    await place.define(include_segments=[few])
    async with place.pool.acquire() as connection, connection.transaction():
        page = await launch(connection, place.seeded.campaign_id, tenant_id=place.seeded.tenant_id)
    assert (page.people, page.last) == (0, False)
    while await place.pool.fetchval("SELECT filling FROM campaigns"):
        await fill_next(place.pool)
    assert await place.in_ledger() == {38: "", 39: ""}
    assert await place.pool.fetchval("SELECT audience FROM campaigns") == 2


async def test_who_signs_up_while_a_campaign_is_filled_and_has_not_confirmed_is_in_no_page(place: Place) -> None:
    """`pending` since the launch is nobody who left."""
    async with place.pool.acquire() as connection, connection.transaction():
        await launch(connection, place.seeded.campaign_id, tenant_id=place.seeded.tenant_id)
    await place.pool.execute(
        "UPDATE list_members SET state = 'pending', updated_at = now() WHERE contact_id = $1", place.ids[39]
    )
    while await place.pool.fetchval("SELECT filling FROM campaigns"):
        await fill_next(place.pool)
    assert await place.in_ledger() == dict.fromkeys(range(39), "")


async def test_definition_that_is_one_list_is_filled_by_the_statement_of_a_list(place: Place) -> None:
    """What costs most, a plain list, costs no more for being written as an audience."""
    await place.define(include_lists=[place.seeded.list_id])
    async with place.pool.acquire() as connection:
        found = await audience_of(connection, place.seeded.campaign_id)
    assert found is not None
    assert found.plain
    assert json.dumps(await agree(place)) == json.dumps(dict.fromkeys(range(PEOPLE), ""))
