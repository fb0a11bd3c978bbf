"""Sign-up and double opt-in: the form, what becomes of it, the confirmation; on real sockets and a real PostgreSQL."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from hayabin.database import erasing, ledger
from hayabin.database.confirming import FORGET_SQL
from hayabin.database.sign_up_rates import HOUR_S, Rate, is_used_up
from hayabin.database.signing_up import answer_received
from tests.integration.tracker.conftest import RING, Ledger, Tracker, fetch_one, running_tracker
from tests.support.sign_up import WORDING, SeededForm, seed_form

NEW = "shinjin@example.jp"
TARO = "taro@example.jp"
FILLED = {"version": "1", "field_name": "新人 一郎", "field_city": "浜松市"}


@pytest.fixture
async def tracker(database_url: str) -> AsyncIterator[Tracker]:
    """A tracker on the embedded belt."""
    async with running_tracker(database_url, database_url, public_url="http://shop.example") as running:
        yield running


@dataclass(slots=True)
class Desk:
    """A form, and what to ask about its sign-ups."""

    tracker: Tracker
    book: Ledger
    form: SeededForm

    async def post(self, email: str, **more: str) -> Any:
        """Fill the form in; ``headers`` beside."""
        return await self.tracker.client.post(f"{self.form.path}?lang=ja", data={**FILLED, "email": email, **more})

    async def asked(self) -> list[tuple[int, str]]:
        """Message and recipient of each confirmation mail in the ledger."""
        await answer_received(self.book.pool)
        rows = await self.book.pool.fetch(
            "SELECT r.message_id, r.wire FROM recipients r JOIN campaigns c ON c.id = r.campaign_id "
            "WHERE c.kind = 'confirmation' ORDER BY r.message_id"
        )
        return [(row["message_id"], row["wire"]) for row in rows]

    async def link(self) -> str:
        """The link in the last confirmation mail."""
        message_id, wire = (await self.asked())[-1]
        return f"/s/{RING.issue_confirm(message_id, wire)}"

    async def state(self, address: str) -> str | None:
        """Where somebody stands with the list."""
        found: str | None = await self.book.pool.fetchval(
            "SELECT lm.state FROM list_members lm JOIN contacts c ON c.id = lm.contact_id "
            "WHERE c.address_key = $1 AND lm.list_id = $2",
            address,
            self.book.seeded.list_id,
        )
        return found

    async def reasons(self) -> list[tuple[str, str]]:
        """State and reason of each request."""
        rows = await self.book.pool.fetch("SELECT state, reason FROM confirmations ORDER BY id")
        return [(row["state"], row["reason"]) for row in rows]


@pytest.fixture
async def desk(tracker: Tracker, book: Ledger) -> Desk:
    """A form with double opt-in."""
    return Desk(tracker, book, await seed_form(book.pool, book.seeded))


async def test_sign_up_waits_for_the_confirmation_and_then_subscribes(desk: Desk) -> None:
    """Form, mail, page, button: pending, then subscribed with name and attributes, evidence of both, one use."""
    answer = await desk.post(NEW)
    assert answer.status_code == 200
    assert "受け付けました" in answer.text
    link = await desk.link()
    assert await desk.state(NEW) == "pending"
    page = await desk.tracker.client.get(f"{link}?lang=ja")
    assert page.text.count("<button") == 1
    assert "s•••@example.jp" in page.text
    assert "広告メールの受信に同意" in page.text
    assert await desk.state(NEW) == "pending"
    thanks = await desk.tracker.client.post(link, headers={"User-Agent": "Browser/1"})
    assert thanks.status_code == 200
    assert await desk.state(NEW) == "subscribed"
    contact = await fetch_one(desk.book.pool, "SELECT * FROM contacts WHERE address_key = $1", NEW)
    assert (contact["name"], contact["attributes"], contact["locale"]) == ("新人 一郎", {"city": "浜松市"}, "ja")
    evidence = await desk.book.pool.fetch(
        "SELECT action, basis, source, wording, ip, user_agent FROM consents WHERE contact_id = $1 ORDER BY id",
        contact["id"],
    )
    assert [(row["action"], row["basis"], row["source"], row["wording"], row["ip"]) for row in evidence] == [
        ("opt_in", "form", f"form:{desk.form.id}", "1 (ja)", "127.0.0.1"),
        ("confirm", "form", f"form:{desk.form.id}", "1 (ja)", "127.0.0.1"),
    ]
    assert evidence[1]["user_agent"] == "Browser/1"
    again = await desk.tracker.client.post(link)
    assert "確認は完了しています" in (await desk.tracker.client.get(link)).text
    assert (again.status_code, "確認は完了しています" in again.text) == (200, True)
    assert await desk.book.pool.fetchval("SELECT count(*) FROM consents WHERE contact_id = $1", contact["id"]) == 2


async def test_answer_is_the_same_for_everybody_and_decided_later(desk: Desk) -> None:
    """New, subscribed, unsubscribed, suppressed, erased, a robot: one page, byte for byte, and rows alike until later."""
    pool, tenant = desk.book.pool, desk.book.seeded.tenant_id
    people = [NEW, TARO, "hanako@example.com", "jiro@example.com", "kieta@example.jp", "any@blocked.example"]
    one_click = {"List-Unsubscribe": "One-Click"}
    await desk.tracker.client.post(f"/u/{await desk.book.unsubscribe_token(desk.book.ids[2])}", data=one_click)
    await pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) "
        "VALUES ($1, 'jiro@example.com', 0, 'complaint'), ($1, '@blocked.example', 0, 'manual')",
        tenant,
    )
    async with pool.acquire() as connection:
        await erasing.remember(connection, tenant, ["kieta@example.jp"])
    answers = [await desk.post(person) for person in people]
    robot = await desk.post("robot@example.jp", website="https://spam.example")
    assert {(answer.status_code, answer.text) for answer in [*answers, robot]} == {(200, robot.text)}
    rows = await pool.fetch("SELECT state, contact_id, message_id FROM confirmations ORDER BY id")
    assert [tuple(row) for row in rows] == [("received", None, None)] * len(people)
    assert sorted(wire for _, wire in await desk.asked()) == sorted([NEW, "hanako@example.com", "kieta@example.jp"])
    assert await desk.reasons() == [
        ("mailed", ""), ("ignored", "subscribed"), ("mailed", ""), ("ignored", "suppressed"), ("mailed", ""),
        ("ignored", "suppressed"),
    ]  # fmt: skip
    assert await pool.fetchval("SELECT count(*) FROM contacts WHERE address_key = 'kieta@example.jp'") == 0


async def test_confirmation_takes_back_what_the_person_did_themselves(desk: Desk) -> None:
    """Who unsubscribed from everything and was erased is asked, passes the gate, and is subscribed by their button."""
    pool, seeded = desk.book.pool, desk.book.seeded
    token = await desk.book.unsubscribe_token(desk.book.ids[0])
    await desk.tracker.client.post(f"/u/{token}", data={"scope": "all"})
    async with pool.acquire() as connection:
        await erasing.remember(connection, seeded.tenant_id, [TARO])
    await desk.post(TARO)
    link = await desk.link()
    message_id = RING.look_at_confirm(link.removeprefix("/s/"))
    async with pool.acquire() as connection:
        assert await ledger.claim(connection, [(message_id, 0)], "d1") == {message_id: TARO}
    assert await desk.state(TARO) == "unsubscribed"
    assert (await desk.tracker.client.post(link)).status_code == 200
    assert await desk.state(TARO) == "subscribed"
    assert [row for row in await desk.book.suppressions() if row[1] in (0, seeded.list_id)] == []
    assert await pool.fetchval("SELECT count(*) FROM erased_addresses") == 0


async def test_stranger_changes_nothing_of_a_contact_that_exists(desk: Desk) -> None:
    """Somebody who types another's address in neither renames them nor subscribes them to anything."""
    pool = desk.book.pool
    await pool.execute(
        "DELETE FROM list_members WHERE contact_id = (SELECT id FROM contacts WHERE address_key = $1)", TARO
    )
    before = await fetch_one(
        pool, "SELECT name, attributes, locale, address FROM contacts WHERE address_key = $1", TARO
    )
    await desk.post("TARO@example.jp", field_name="<b>Mallory</b>")
    await desk.asked()
    assert await desk.state(TARO) == "pending"
    assert (
        await fetch_one(pool, "SELECT name, attributes, locale, address FROM contacts WHERE address_key = $1", TARO)
        == before
    )


async def test_form_without_double_opt_in_subscribes_at_once_but_brings_nobody_back(desk: Desk) -> None:
    """One step for who is new; who unsubscribed did that with their own hand, and stays."""
    form = await seed_form(desk.book.pool, desk.book.seeded, double_opt_in=False)
    single = Desk(desk.tracker, desk.book, form)
    token = await desk.book.unsubscribe_token(desk.book.ids[0])
    await desk.tracker.client.post(f"/u/{token}", data={"List-Unsubscribe": "One-Click"})
    assert "受け付けました" in (await single.post(NEW)).text
    await single.post(TARO)
    assert await single.asked() == []
    assert (await single.state(NEW), await single.state(TARO)) == ("subscribed", "unsubscribed")


async def test_link_expires_is_signed_for_its_address_and_ends_with_its_form(desk: Desk) -> None:
    """Seven days; another address's token, a tampered one and a tracking token open nothing; forgotten in the end."""
    await desk.post(NEW)
    link = await desk.link()
    message_id = (await desk.asked())[0][0]
    for token in (RING.issue_confirm(message_id, TARO), RING.issue_tracking(message_id), link[3:-1] + "!", "x"):
        for answer in (await desk.tracker.client.get(f"/s/{token}"), await desk.tracker.client.post(f"/s/{token}")):
            assert answer.status_code == 404
    await desk.book.pool.execute("UPDATE sign_up_forms SET deleted_at = now()")
    assert (await desk.tracker.client.post(link)).status_code == 410
    assert (await desk.tracker.client.get(desk.form.path)).status_code == 404
    await desk.book.pool.execute("UPDATE sign_up_forms SET deleted_at = NULL")
    await desk.book.pool.execute("UPDATE confirmations SET expires_at = now() - interval '1 second'")
    late = await desk.tracker.client.post(f"{link}?lang=en")
    assert (late.status_code, "expired" in late.text) == (410, True)
    assert await desk.state(NEW) == "pending"
    await desk.book.pool.execute("UPDATE confirmations SET expires_at = now() - interval '8 days'")
    for entered in (True, False):
        await desk.book.pool.execute(
            "UPDATE contacts SET updated_at = created_at + CASE WHEN $1 THEN interval '1 day' ELSE '0' END WHERE address_key = $2",
            entered,
            NEW,
        )
        await desk.book.pool.execute(FORGET_SQL[0])  # the tenant's own word keeps a contact
        assert bool(await desk.book.pool.fetchval("SELECT 1 FROM contacts WHERE address_key = $1", NEW)) == entered
    await desk.book.pool.execute(FORGET_SQL[1])
    assert (await desk.tracker.client.get(link)).status_code == 404
    assert await desk.book.pool.fetchval("SELECT count(*) FROM contacts WHERE address_key = $1", NEW) == 0


async def test_limits_hold_per_network_form_and_address(desk: Desk) -> None:
    """Over the rate of network or form a clear page; over that of an address the usual one, and no further mail."""
    form = await seed_form(desk.book.pool, desk.book.seeded, per_ip_per_hour=5, per_address_per_day=2)
    limited = Desk(desk.tracker, desk.book, form)
    answers = [await limited.post(NEW) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert len({answer.text for answer in answers[:5]}) == 1
    assert len(await limited.asked()) == 2
    assert [reason for _, reason in await limited.reasons()] == ["", "", "rate", "rate", "rate"]
    shared = await seed_form(desk.book.pool, desk.book.seeded, per_ip_per_hour=2, per_form_per_hour=3)
    for n in range(5):
        await Desk(desk.tracker, desk.book, shared).post(f"s{n}@example.jp")
    async with desk.book.pool.acquire() as connection:  # a network takes no more than its share of what is for all
        assert not await is_used_up(connection, Rate(f"form:{shared.id}", "", 3, HOUR_S))
    narrow = await seed_form(desk.book.pool, desk.book.seeded, per_form_per_hour=1)
    posts = [await Desk(desk.tracker, desk.book, narrow).post(f"p{n}@example.jp") for n in range(2)]
    assert [answer.status_code for answer in posts] == [200, 429]
    assert NEW.encode() not in b"".join(
        row["subject"] for row in await desk.book.pool.fetch("SELECT subject FROM sign_up_rates")
    )


async def test_form_says_what_is_wrong_keeps_what_was_entered_and_escapes_it(desk: Desk) -> None:
    """422 with the field's problem beside it, described for screen readers, and nothing written."""
    answer = await desk.post('"><script>@x', field_name="")
    assert answer.status_code == 422
    assert "<script" not in answer.text
    assert 'aria-describedby="email-problem"' in answer.text
    assert 'id="field_name-problem"' in answer.text
    assert 'value="浜松市"' in answer.text
    missing = await desk.post(" ")
    assert "メールアドレスを入力してください" in missing.text
    for body in ({"version": "99", "email": NEW}, {"version": "x"}, {}):
        assert (await desk.tracker.client.post(desk.form.path, data=body)).status_code in (400, 404)
    too_long = await desk.tracker.client.post(desk.form.path, content=b"email=" + b"x" * 20_000)
    assert too_long.status_code == 413
    assert await desk.reasons() == []


async def test_site_that_may_not_use_the_form_is_refused(desk: Desk) -> None:
    """With allowed origins set, the browser's word for the site decides; our own page and no browser pass."""
    form = await seed_form(desk.book.pool, desk.book.seeded, allowed_origins=["https://www.shop.example"])
    for origin, status in (
        ("https://www.shop.example", 200), ("http://shop.example", 200), (None, 200), ("https://evil.example", 403),
        ("null", 403),
    ):  # fmt: skip
        headers = {"Origin": origin} if origin else {}
        data = {**FILLED, "email": f"o{status}@example.jp"}
        assert (await desk.tracker.client.post(form.path, data=data, headers=headers)).status_code == status, origin


async def test_consent_names_the_version_that_stood_in_the_form(desk: Desk) -> None:
    """A form embedded with version 1 goes on with its words and lists when there is a version 2."""
    pool = desk.book.pool
    await pool.execute("UPDATE sign_up_forms SET version = 2")
    await pool.execute(
        "INSERT INTO sign_up_form_versions (form_id, number, tenant_id, list_ids, double_opt_in, fields, wording) "
        "SELECT id, 2, tenant_id, list_ids, double_opt_in, '[]', jsonb_set(wording, '{ja,title}', '\"新\"') "
        "FROM sign_up_forms"
    )
    shown = (await desk.tracker.client.get(f"{desk.form.path}?lang=ja")).text
    assert re.search(r'name="version" value="2"', shown)
    assert "<h1>新</h1>" in shown
    await desk.post(NEW)
    await desk.tracker.client.post(await desk.link())
    assert await pool.fetchval("SELECT wording FROM consents ORDER BY id DESC LIMIT 1") == "1 (ja)"
    await pool.execute("UPDATE sign_up_form_versions SET double_opt_in = false WHERE number = 1")
    await desk.post("second@example.jp")  # a version from before double opt-in leads past it no more
    assert (await desk.asked())[-1][1] == "second@example.jp"
    assert await desk.state("second@example.jp") == "pending"
    assert WORDING["ja"]["title"] != "新"


async def test_row_that_the_database_refuses_does_not_stop_those_behind_it(desk: Desk) -> None:
    """One request that can not be written is given up; the next in the same turn is asked."""
    await desk.post("bad@example.jp")
    await desk.post(NEW)
    await desk.book.pool.execute(
        "ALTER TABLE contacts ADD CONSTRAINT no_bad CHECK (address_key <> 'bad@example.jp') NOT VALID"
    )
    assert [wire for _, wire in await desk.asked()] == [NEW]
    assert await desk.reasons() == [("ignored", "failed"), ("mailed", "")]
