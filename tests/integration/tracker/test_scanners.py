"""Link scanners: programs that fetch every link of a mail, before or instead of the person, change nothing."""

import html
import json
import re
from collections.abc import AsyncIterator

import pytest

from hayabin.content.compile import compile_template
from hayabin.content.compiled import TemplateKind
from hayabin.content.render import Renderer, SystemVariables
from hayabin.database.built_in_mails import BuiltIn, compiled
from hayabin.database.signing_up import answer_received
from hayabin.domain.campaign import MergePolicy
from hayabin.domain.token import UnsubscribeClaim
from tests.integration.tracker.conftest import RING, Ledger, Tracker, running_tracker
from tests.support.sign_up import seed_form

SOURCE = """<html><body><p>{{ name }}</p><a href="https://shop.example/sale">Sale</a>
<a href="{{ unsubscribe_url }}">Stop</a><a href="{{ preferences_url }}">Choose</a></body></html>"""
ENGAGEMENT = {"events", "engagements", "counter_deltas", "counters", "messages", "contact_activity"}
"""Opens and clicks are facts that a fetch does make; whether a person or a program fetched is not known here."""
LIVELY = {
    "instances",
    "installation",
    "belt_messages",
    "belt_queues",
    "embedded_messages",
    "sign_up_rates",
    "alembic_version",
}
SCANS = [
    ("GET", {}),
    ("HEAD", {}),
    ("GET", {"Purpose": "prefetch"}),
    ("GET", {"Sec-Purpose": "prefetch;prerender"}),
    ("GET", {"X-Moz": "prefetch"}),
    ("GET", {"User-Agent": "Mozilla/5.0 (compatible; BarracudaSentinel)"}),
    ("OPTIONS", {}),
    ("PROPFIND", {}),
    ("PUT", {}),
    ("DELETE", {}),
]


@pytest.fixture
async def tracker(database_url: str) -> AsyncIterator[Tracker]:
    """A tracker on the embedded belt."""
    async with running_tracker(database_url, database_url) as running:
        yield running


async def checksums(book: Ledger) -> dict[str, str]:
    """A checksum of every table, but for those that live by themselves."""
    tables = await book.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    names = [row["tablename"] for row in tables]
    return {
        name: await book.pool.fetchval(
            f"SELECT COALESCE(md5(string_agg(md5(t::text), '' ORDER BY t::text)), '') FROM \"{name}\" t"
        )
        for name in names
        if name not in ENGAGEMENT | LIVELY and not name.startswith(("belt", "embedded"))
    }


async def links_of_a_newsletter(tracker: Tracker, book: Ledger) -> list[str]:
    """Every address in a mail of a campaign, as rendered, and those of its header."""
    template = compile_template(TemplateKind.HTML, "Hello", SOURCE, None)
    await book.pool.execute("UPDATE template_versions SET compiled = $1::text::jsonb", json.dumps(template.to_json()))
    message_id = book.ids[0]
    tracking, token = RING.issue_tracking(message_id), await book.unsubscribe_token(message_id)
    system = SystemVariables(
        track_url=f"{tracker.url}/c/{tracking}",
        open_url=f"{tracker.url}/o/{tracking}",
        unsubscribe_url=f"{tracker.url}/u/{token}",
        link_mac=lambda number, url: RING.link_mac(message_id, number, url),
        preferences_url=f"{tracker.url}/p/{token}",
    )
    mail = Renderer(template).render({"name": "太郎"}, system, MergePolicy.SKIP)
    assert mail.html is not None
    return [html.unescape(url) for url in re.findall(r'(?:href|src)="([^"]+)"', mail.html)]


async def links_of_a_confirmation(tracker: Tracker, book: Ledger) -> list[str]:
    """Every address in a confirmation mail, as rendered."""
    form = await seed_form(book.pool, book.seeded)
    data = {"version": "1", "email": "new@example.jp", "field_name": "N"}
    await tracker.client.post(form.path, data=data)
    await answer_received(book.pool)
    message_id = await book.pool.fetchval("SELECT message_id FROM confirmations")
    url = f"{tracker.url}/s/{RING.issue_confirm(message_id, 'new@example.jp')}"
    nobody = RING.issue_unsubscribe(UnsubscribeClaim(book.seeded.tenant_id, 0, 0, message_id))
    system = SystemVariables(
        track_url="",
        open_url="",
        unsubscribe_url=f"{tracker.url}/u/{nobody}",
        link_mac=lambda _n, _u: "",
        confirm_url=url,
    )
    mail = Renderer(compiled(BuiltIn.SIGN_UP, "ja")).render({"sender": "s", "topics": "t"}, system, MergePolicy.SKIP)
    assert mail.html is not None
    assert url in mail.text
    return [*(html.unescape(link) for link in re.findall(r'href="([^"]+)"', mail.html)), tracker.url + form.path]


async def test_scanners_that_fetch_every_link_many_times_change_nothing(tracker: Tracker, book: Ledger) -> None:
    """Every link of a newsletter and of a confirmation mail, by every method and header that scanners use: no row moves."""
    links = [*await links_of_a_newsletter(tracker, book), *await links_of_a_confirmation(tracker, book)]
    assert {re.sub(r"https?://[^/]+/", "", link)[:2] for link in links} >= {"c/", "o/", "u/", "p/", "s/", "f/"}
    before = await checksums(book)
    assert {"suppressions", "list_members", "contacts", "consents", "confirmations", "subscription_changes"} <= set(
        before
    )
    for _ in range(3):
        for link in links:
            for method, headers in SCANS:
                answer = await tracker.client.request(method, link, headers=headers)
                assert answer.status_code < 500
                assert "set-cookie" not in answer.headers
    assert await checksums(book) == before
