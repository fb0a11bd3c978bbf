"""Audiences of lists, segments and exclusions: counted before the launch as the ledger has them after it, and why."""

import json
from collections import Counter
from typing import Any

from hayabin.database import audience_count, erasing
from hayabin.database.audience_of import audience_of
from hayabin.database.counters import read_counters
from hayabin.domain.audience import LeftOut
from tests.integration.segments.place import PEOPLE, Place
from tests.support.seed import Seeded

REASONS = ("unsubscribed", "erased", "suppressed", "no_consent", "same_content", "frequency_cap")


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


async def test_definition_that_is_one_list_is_filled_by_the_statement_of_a_list(place: Place) -> None:
    """What costs most, a plain list, costs no more for being written as an audience."""
    await place.define(include_lists=[place.seeded.list_id])
    async with place.pool.acquire() as connection:
        found = await audience_of(connection, place.seeded.campaign_id)
    assert found is not None
    assert found.plain
    assert json.dumps(await agree(place)) == json.dumps(dict.fromkeys(range(PEOPLE), ""))
