"""Debian's Chromium, a tracker with people in its database, and looks at a page that tell whether everybody can use it.

The tracker runs in a thread with a loop of its own, as the browser's side of these tests is synchronous.
"""

import asyncio
import shutil
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from hayabin.database import ledger
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.database.signing_up import answer_received
from hayabin.domain.message import MessageState
from hayabin.domain.token import UnsubscribeClaim
from tests.conftest import new_database, with_database
from tests.integration.tracker.conftest import RING, running_tracker
from tests.support.seed import Seeded, seed_campaign
from tests.support.sign_up import SeededForm, seed_form

T = TypeVar("T")
PEOPLE = [f"hito{n}@example.jp" for n in range(12)]


@dataclass(frozen=True, slots=True)
class View:
    """How somebody looks at a page."""

    language: str
    width: int
    scheme: str

    def __str__(self) -> str:
        """For the names of tests and screenshots."""
        return f"{self.language}-{self.width}-{self.scheme}"


VIEWS = [View("ja", 360, "light"), View("ja", 1280, "dark"), View("en", 360, "dark"), View("en", 1280, "light")]


class World:
    """A tracker, its database and its people."""

    url: str
    pool: Pool
    seeded: Seeded
    form: SeededForm

    def __init__(self, database_url: str) -> None:
        """Start; the thread ends with ``stop``."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tracker = running_tracker(database_url, database_url)
        self.url = self.call(self._tracker.__aenter__()).url
        self.call(self._furnish(database_url))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def value(self, sql: str, *arguments: object) -> Any:
        """One value of the database."""
        return self.call(self.pool.fetchval(sql, *arguments))

    def stop(self) -> None:
        """End the tracker and the thread."""
        self.call(self.pool.close())
        self.call(self._tracker.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _furnish(self, database_url: str) -> None:
        self.pool = await open_pool(database_url, name="test", size=2)
        async with self.pool.acquire() as connection, connection.transaction():
            self.seeded = await seed_campaign(connection, PEOPLE)
            await launch(connection, self.seeded.campaign_id, tenant_id=self.seeded.tenant_id)
            ids = [row["id"] for row in await connection.fetch("SELECT id FROM messages ORDER BY id")]
            await ledger.claim(connection, [(i, 0) for i in ids], "d")
            await ledger.record(connection, [Outcome(i, 1, MessageState.ACCEPTED) for i in ids])
        await self.pool.execute(
            "UPDATE tenants SET name = '早便ショップ株式会社'; UPDATE lists SET name = '月刊早便ニュース', public = true, "
            "description = '毎月1日にお届けする、新商品とお得なセールのお知らせです。'"
        )
        await self.pool.execute(
            "INSERT INTO lists (tenant_id, name, public, public_name) VALUES "
            "($1, 'events', true, 'イベント・展示会のご案内'), ($1, 'long', true, $2)",
            self.seeded.tenant_id,
            "Averyveryverylongnamewithoutanyspaceinitthatmustnotmakethepagescrollsideways",
        )
        self.form = await seed_form(self.pool, self.seeded)

    def token(self, person: int) -> str:
        """The token in the mail of one of ``PEOPLE``."""
        row = self.call(
            self.pool.fetchrow("SELECT message_id, contact_id FROM recipients WHERE wire = $1", PEOPLE[person])
        )
        assert row is not None
        seeded = self.seeded
        claim = UnsubscribeClaim(seeded.tenant_id, seeded.list_id, row["contact_id"], row["message_id"])
        return RING.issue_unsubscribe(claim)

    def confirm_path(self, address: str) -> str:
        """The link in the confirmation mail to an address, once the scheduler has answered."""
        self.call(answer_received(self.pool))
        message_id = self.value("SELECT max(message_id) FROM confirmations WHERE wire = $1", address)
        return f"/s/{RING.issue_confirm(message_id, address)}"

    def state(self, address: str) -> str | None:
        """Where somebody stands with the list."""
        found: str | None = self.value(
            "SELECT lm.state FROM list_members lm JOIN contacts c ON c.id = lm.contact_id "
            "WHERE c.address_key = $1 AND lm.list_id = $2",
            address,
            self.seeded.list_id,
        )
        return found


@pytest.fixture(scope="module")
def world(postgres_url: str, template_database: str) -> Iterator[World]:
    """One for the file: each test has people of its own."""
    with new_database(postgres_url, template_database) as name:
        world = World(with_database(postgres_url, name))
        yield world
        world.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; gone at the end of the file, as its driver occupies the thread's event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each page that was looked at is kept, for people to look at."""
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(params=VIEWS, ids=str)
def view(request: pytest.FixtureRequest) -> View:
    """Each language at each width, in light and dark."""
    found: View = request.param
    return found


@pytest.fixture
def page(browser: Browser, world: World, view: View) -> Iterator[Page]:
    """A page without JavaScript, in somebody's language, width and colours."""
    context = browser.new_context(
        base_url=world.url,
        java_script_enabled=False,
        locale=view.language,
        color_scheme=view.scheme,  # type: ignore[arg-type] # light or dark
        viewport={"width": view.width, "height": 800},
    )
    yield context.new_page()
    context.close()
