"""The preference centre: topics, language, pause, address, and the end of all mail, by the signed link of a mail."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from hayabin.content.compiled import CompiledTemplate
from hayabin.content.render import Renderer, SystemVariables
from hayabin.database import ledger
from hayabin.database.signing_up import answer_received
from hayabin.domain.campaign import MergePolicy
from hayabin.domain.token import TokenKey, TokenRing, UnsubscribeClaim
from hayabin.settings import TOKEN_KEY_ID
from tests.integration.tracker.conftest import RING, Ledger, Tracker, fetch_one, running_tracker
from tests.support.sign_up import seed_form
from tests.support.waiting import eventually

TARO = "taro@example.jp"
MOVED = "taro@new.example"


@pytest.fixture
async def tracker(database_url: str) -> AsyncIterator[Tracker]:
    """A tracker on the embedded belt."""
    async with running_tracker(database_url, database_url) as running:
        yield running


@pytest.fixture
async def topics(book: Ledger) -> dict[str, int]:
    """Three more lists: a public one, a public one with a name for the public, and one of the house."""
    made = {}
    for name, public, public_name in (("sale", True, ""), ("q4-events", True, "イベント"), ("internal", False, "")):
        made[name] = await book.pool.fetchval(
            "INSERT INTO lists (tenant_id, name, public, public_name) VALUES ($1, $2, $3, $4) RETURNING id",
            book.seeded.tenant_id,
            name,
            public,
            public_name,
        )
    return {"everybody": book.seeded.list_id, **made}


async def states(book: Ledger) -> dict[str, str]:
    """Where Taro stands with each list."""
    rows = await book.pool.fetch(
        "SELECT l.name, lm.state FROM list_members lm JOIN lists l ON l.id = lm.list_id "
        "JOIN contacts c ON c.id = lm.contact_id WHERE c.address_key = $1",
        TARO,
    )
    return {row["name"]: row["state"] for row in rows}


async def path_of(book: Ledger) -> str:
    """Taro's link."""
    return f"/p/{await book.unsubscribe_token(book.ids[0])}"


async def notices(book: Ledger) -> list[Any]:
    """What old addresses were told."""
    rows = await book.pool.fetch(
        "SELECT r.*, m.address_key, m.state, c.class, c.from_address, v.compiled FROM recipients r "
        "JOIN messages m ON m.id = r.message_id JOIN campaigns c ON c.id = r.campaign_id "
        "JOIN template_versions v ON v.id = c.template_version_id JOIN templates t ON t.id = v.template_id "
        "WHERE t.name LIKE 'hayabin address-changed%'"
    )
    return list(rows)


async def consents(book: Ledger) -> list[Any]:
    """Action, list and source of each evidence."""
    rows = await book.pool.fetch("SELECT action, list_id, source FROM consents ORDER BY id")
    return [tuple(row) for row in rows]


async def test_topics_and_language_are_chosen_with_evidence(
    tracker: Tracker, book: Ledger, topics: dict[str, int]
) -> None:
    """Boxes of public lists and the mail's own; what is ticked is subscribed, what is not is left; again nothing more."""
    path = await path_of(book)
    page = (await tracker.client.get(f"{path}?lang=ja")).text
    assert "イベント" in page
    assert "internal" not in page
    assert page.count("checked") == 1
    chosen = {"do": "choose", "topic": [str(topics["sale"]), str(topics["internal"])], "language": "en"}
    for _ in range(2):
        answer = await tracker.client.post(f"{path}?lang=ja", data=chosen)
        assert "設定を保存しました" in answer.text
    assert await states(book) == {"everybody": "unsubscribed", "sale": "subscribed"}
    assert await book.pool.fetchval("SELECT locale FROM contacts WHERE address_key = $1", TARO) == "en"
    source = f"preference:message:{book.ids[0]}"
    assert await consents(book) == [
        ("opt_out", topics["everybody"], source), ("confirm", topics["sale"], source), ("change", 0, source),
    ]  # fmt: skip
    back = {"do": "choose", "topic": [str(topics["everybody"])], "language": "en"}
    await tracker.client.post(path, data=back)
    assert await states(book) == {"everybody": "subscribed", "sale": "unsubscribed"}
    assert [row[1] for row in await book.suppressions()] == [topics["sale"]]


async def test_pause_stops_every_mail_for_thirty_days_and_ends_by_itself(tracker: Tracker, book: Ledger) -> None:
    """The gate refuses during the pause and lets through after it; the button ends it sooner; a stop is never shortened."""
    path = await path_of(book)
    answer = await tracker.client.post(f"{path}?lang=en", data={"do": "pause"})
    assert "Paused until" in answer.text
    row = await fetch_one(book.pool, "SELECT *, expires_at - now() AS rest FROM suppressions")
    assert (row["reason"], row["list_id"], row["rest"].days) == ("paused", 0, 29)
    await book.pool.execute("UPDATE messages SET state = 'due', attempt = 0")
    await book.pool.execute("UPDATE suppressions SET expires_at = now() - interval '1 second'")
    async with book.pool.acquire() as connection:
        assert book.ids[0] in await ledger.claim(connection, [(book.ids[0], 0)], "d")
    await tracker.client.post(path, data={"do": "pause"})
    async with book.pool.acquire() as connection:
        await connection.execute("UPDATE messages SET state = 'due', attempt = 0")
        assert await ledger.claim(connection, [(book.ids[0], 0)], "d") == {}
    await tracker.client.post(path, data={"do": "resume"})
    assert await book.suppressions() == []
    await tracker.client.post(path, data={"do": "stop"})
    await tracker.client.post(path, data={"do": "pause"})
    await tracker.client.post(path, data={"do": "resume"})
    assert [(row[1], row[2]) for row in await book.suppressions()] == [(0, "unsubscribe")]


async def test_new_address_confirms_before_anything_changes(tracker: Tracker, book: Ledger) -> None:
    """The mail goes to the new address; its button moves the contact, its wishes too, and ends that the old one bounced."""
    path = await path_of(book)
    await tracker.client.post(path, data={"do": "choose", "language": "ja"})
    assert "確認のメール" in (await tracker.client.post(f"{path}?lang=ja", data={"do": "address", "email": MOVED})).text
    await answer_received(book.pool)
    mail = await fetch_one(
        book.pool,
        "SELECT r.message_id, r.wire, c.from_address FROM recipients r JOIN campaigns c ON c.id = r.campaign_id "
        "WHERE c.kind = 'confirmation'",
    )
    assert (mail["wire"], mail["from_address"]) == (MOVED, "news@acme.example")
    link = f"/s/{RING.issue_confirm(mail['message_id'], MOVED)}"
    assert "変更する" in (await tracker.client.get(f"{link}?lang=ja")).text
    assert await book.pool.fetchval("SELECT count(*) FROM contacts WHERE address_key = $1", TARO) == 1
    await book.pool.execute(
        "UPDATE list_members SET state = 'bounced' WHERE contact_id IN (SELECT id FROM contacts WHERE address_key = $1)",
        TARO,
    )
    assert (await tracker.client.post(link)).status_code == 200
    assert not await book.pool.fetchval("SELECT count(*) FROM list_members WHERE state = 'bounced'")
    moved = await fetch_one(book.pool, "SELECT * FROM contacts WHERE address_key = $1", MOVED)
    assert moved["id"] == await book.pool.fetchval(
        "SELECT contact_id FROM recipients WHERE message_id = $1", book.ids[0]
    )
    assert {row[0] for row in await book.suppressions()} == {TARO, MOVED}
    assert "t•••@new.example" in (await tracker.client.get(path)).text
    (notice,) = await notices(book)
    assert (notice["wire"], notice["contact_id"], notice["address_key"]) == (TARO, 0, TARO)
    assert (notice["class"], notice["from_address"], notice["state"]) == ("transactional", "news@acme.example", "due")
    said = Renderer(CompiledTemplate.from_json(notice["compiled"])).render(
        json.loads(notice["variables"]), SystemVariables("t", "o", "u", lambda _n, _u: ""), MergePolicy.SKIP
    )
    assert "t•••@new.example に変更されました" in said.text
    assert "配信設定ページ" in said.text
    assert (MOVED in said.text, "http" in said.text, "<a" in (said.html or "")) == (False, False, False)
    assert (await tracker.client.post(f"/s/{RING.issue_confirm(notice['message_id'], TARO)}")).status_code == 404


async def test_new_address_of_somebody_who_is_there_takes_the_subscriptions_over(
    tracker: Tracker, book: Ledger
) -> None:
    """No second contact with the address: the one that has it is subscribed, the old one is taken off."""
    path = await path_of(book)
    other = await book.pool.fetchval(
        "INSERT INTO contacts (tenant_id, address, wire, address_key) VALUES ($1, $2, $2, $2) RETURNING id",
        book.seeded.tenant_id,
        MOVED,
    )
    await tracker.client.post(path, data={"do": "address", "email": MOVED})
    await answer_received(book.pool)
    message_id = await book.pool.fetchval("SELECT message_id FROM confirmations")
    assert (await tracker.client.post(f"/s/{RING.issue_confirm(message_id, MOVED)}")).status_code == 200
    assert await states(book) == {"everybody": "unsubscribed"}
    state = await book.pool.fetchval("SELECT state FROM list_members WHERE contact_id = $1", other)
    assert state == "subscribed"
    assert [notice["wire"] for notice in await notices(book)] == [TARO]


async def test_new_address_that_an_import_enters_at_that_moment_is_taken_over(tracker: Tracker, book: Ledger) -> None:
    """The button waits for the other transaction and finds who has the address then; it is no fault of ours."""
    await tracker.client.post(await path_of(book), data={"do": "address", "email": MOVED})
    await answer_received(book.pool)
    message_id = await book.pool.fetchval("SELECT message_id FROM confirmations")
    async with book.pool.acquire() as other, other.transaction():
        await other.execute(
            "INSERT INTO contacts (tenant_id, address, wire, address_key) VALUES ($1, $2, $2, $2)",
            book.seeded.tenant_id,
            MOVED,
        )
        pressed = asyncio.create_task(tracker.client.post(f"/s/{RING.issue_confirm(message_id, MOVED)}"))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        await eventually(lambda: book.pool.fetchval(waiting), bool, every_s=0.02)
    assert (await pressed).status_code == 200
    assert (await book.members())[MOVED] == "subscribed"


@pytest.mark.parametrize(("reason", "told"), [("hard_bounce", 0), ("paused", 1)])
async def test_old_address_that_bounced_or_complained_is_not_told(
    tracker: Tracker, book: Ledger, reason: str, told: int
) -> None:
    """A mailbox that is dead, or called our mail spam, gets no mail of the change; who takes a rest does."""
    await book.pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, $2, 0, $3)",
        book.seeded.tenant_id,
        TARO,
        reason,
    )
    await tracker.client.post(await path_of(book), data={"do": "address", "email": MOVED})
    await answer_received(book.pool)
    message_id = await book.pool.fetchval("SELECT message_id FROM confirmations")
    assert (await tracker.client.post(f"/s/{RING.issue_confirm(message_id, MOVED)}")).status_code == 200
    assert len(await notices(book)) == told


async def test_wrong_address_and_wrong_requests_change_nothing(tracker: Tracker, book: Ledger) -> None:
    """422 beside the field, 400 for no deed, 404 for others' tokens; three address mails a day at the most."""
    path = await path_of(book)
    wrong = await tracker.client.post(f"{path}?lang=en", data={"do": "address", "email": "a@@b"})
    assert (wrong.status_code, 'aria-invalid="true"' in wrong.text) == (422, True)
    for body in ({}, {"do": "everything"}):
        assert (await tracker.client.post(path, data=body)).status_code == 400
    for token in ("x", RING.issue_tracking(book.ids[0])):
        assert (await tracker.client.get(f"/p/{token}")).status_code == 404
    for n in range(5):
        await tracker.client.post(path, data={"do": "address", "email": f"n{n}@new.example"})
    assert await book.pool.fetchval("SELECT count(*) FROM confirmations") == 3
    assert (await states(book), await book.suppressions()) == ({"everybody": "subscribed"}, [])


async def test_tokens_of_a_retired_key_that_is_still_in_the_ring_work() -> None:
    """A mail of years ago, signed with the key of then: its unsubscribe token reads back after the key has moved on."""
    old, new = TokenKey(TOKEN_KEY_ID, b"s" * 32), TokenKey(2, b"n" * 32)
    then, now = TokenRing((old,), active=1), TokenRing((old, new), active=2)
    claim = UnsubscribeClaim(1, 2, 3, 4)
    assert now.read_unsubscribe(then.issue_unsubscribe(claim)) == claim
    assert now.issue_unsubscribe(claim) != then.issue_unsubscribe(claim)


async def test_anything_that_is_posted_gets_an_answer_of_ours(tracker: Tracker, book: Ledger) -> None:
    """Random bytes, huge numbers, NULs and half characters in any field of any page: never a fault of ours."""
    form = await seed_form(book.pool, book.seeded)
    message_id = book.ids[0]
    paths = [
        await path_of(book),
        form.path,
        f"/s/{RING.issue_confirm(message_id, TARO)}",
        f"/u/{(await path_of(book))[3:]}",
    ]
    random = Random(7)
    values = ["", "9" * 6000, "\x00", "%ED%A0%80", "a@b", "é@ü.jp", "x" * 3000, "choose", "address", "1", "all", "list"]
    names = ["do", "topic", "email", "version", "language", "field_name", "website", "scope", "lang"]
    for _ in range(150):
        fields = "&".join(f"{random.choice(names)}={random.choice(values)}" for _ in range(random.randrange(6)))
        body = random.choice([fields.encode(), random.randbytes(random.randrange(300))])
        kind = random.choice(["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
        answer = await tracker.client.post(random.choice(paths), content=body, headers={"Content-Type": kind})
        assert answer.status_code < 500, body
