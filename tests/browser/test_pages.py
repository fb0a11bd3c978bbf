"""What recipients see, in a real browser without JavaScript: each task by keyboard alone, on a phone and on a desktop."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.api.sign_up_embed import embed
from tests.browser.conftest import PEOPLE, VIEWS, View, World
from tests.browser.usable import assert_usable, tab_to
from tests.integration.tracker.conftest import RING

WORDS = {
    "ja": {
        "stop": "の配信を停止する", "stopped": "配信停止の手続きが完了しました。", "save": "設定を保存する",
        "saved": "設定を保存しました。", "pause": "30日間休止する", "resume": "今すぐ再開する", "new": "新しいメールアドレス",
        "send": "確認メールを送る", "sent": "確認のメールをお送りします", "email": "メールアドレス", "name": "お名前",
        "subscribe": "登録する", "asked": "受け付けました", "done": "ご登録ありがとうございます", "wrong": "形式が正しくありません",
        "other": "English", "stop_all": "からのメールをすべて停止する", "all_stopped": "すべての配信を停止しました。",
    },
    "en": {
        "stop": "Unsubscribe from", "stopped": "You have been unsubscribed.", "save": "Save",
        "saved": "Your choice has been saved.", "pause": "Pause for 30 days", "resume": "Start again now",
        "new": "New email address", "send": "Send the confirmation mail", "sent": "sending a mail to the new address",
        "email": "Email address", "name": "Name", "subscribe": "Subscribe", "asked": "Thank you", "done": "You are subscribed",
        "wrong": "not a valid email address", "other": "日本語", "stop_all": "Stop all mail from",
        "all_stopped": "All mail has been stopped.",
    },
}  # fmt: skip


@pytest.fixture
def look(page: Page, view: View, screenshots: Path, request: pytest.FixtureRequest) -> "Look":
    """Looks at the page of the test."""
    return Look(page, view, screenshots, request.node.originalname.removeprefix("test_"))


class Look:
    """Holds each page that is seen against ``assert_usable``."""

    def __init__(self, page: Page, view: View, folder: Path, test: str) -> None:
        self.words = WORDS[view.language]
        self._page, self._view, self._folder, self._test = page, view, folder, test

    def at(self, name: str) -> None:
        """Look at the page that is there now."""
        assert_usable(self._page, self._view.language, self._folder / f"{self._test}-{name}-{self._view}.png")

    def press(self, role: str, name: str) -> None:
        """Go there by keyboard and press it."""
        tab_to(self._page, role, name)
        self.enter()

    def enter(self) -> None:
        """Press Enter and wait for the page that comes."""
        with self._page.expect_navigation():
            self._page.keyboard.press("Enter")


def test_unsubscribing_takes_one_button(page: Page, look: Look, view: View, world: World) -> None:
    """The page of the mail's link has one clear button; Enter on it ends the list and says so; the other language is there."""
    person = VIEWS.index(view)
    page.goto(f"/u/{world.token(person)}")
    look.at("question")
    assert page.get_by_role("button").count() == 1
    look.press("button", look.words["stop"])
    expect(page.get_by_role("status")).to_have_text(look.words["stopped"])
    look.at("done")
    assert world.state(PEOPLE[person]) == "unsubscribed"
    look.press("link", look.words["other"])
    assert page.locator("html").get_attribute("lang") != view.language


def test_preferences_are_set_by_keyboard(page: Page, look: Look, view: View, world: World) -> None:
    """Topics and language, pause and its end, a new address with a mistake first, and the end of everything."""
    person = VIEWS.index(view) + 4
    page.goto(f"/p/{world.token(person)}")
    look.at("start")
    tab_to(page, "checkbox", "月刊早便ニュース")
    page.keyboard.press("Space")
    tab_to(page, "checkbox", "イベント")
    page.keyboard.press("Space")
    look.press("button", look.words["save"])
    expect(page.get_by_role("status")).to_have_text(look.words["saved"])
    look.at("saved")
    assert world.state(PEOPLE[person]) == "unsubscribed"
    expect(page.get_by_role("checkbox", name="イベント")).to_be_checked()
    look.press("button", look.words["pause"])
    look.at("paused")
    look.press("button", look.words["resume"])
    tab_to(page, "textbox", look.words["new"])
    page.keyboard.type("not an address")
    look.enter()
    expect(page.get_by_role("alert")).to_contain_text(look.words["wrong"])
    look.at("wrong")
    field = page.get_by_role("textbox", name=look.words["new"])
    expect(field).to_have_accessible_description(re.compile(look.words["wrong"]))
    field.fill("")
    page.keyboard.type(f"new{person}@example.jp")
    look.enter()
    expect(page.get_by_role("status")).to_contain_text(look.words["sent"])
    page.goto(world.confirm_path(f"new{person}@example.jp"))
    look.at("address")
    page.keyboard.press("Tab")
    look.enter()
    look.at("address-changed")
    assert world.value("SELECT count(*) FROM contacts WHERE address_key = $1", f"new{person}@example.jp") == 1
    page.goto(f"/p/{world.token(person)}")
    look.press("button", look.words["stop_all"])
    expect(page.get_by_role("status")).to_have_text(look.words["all_stopped"])
    look.at("stopped")


def test_signing_up_and_confirming_by_keyboard(page: Page, look: Look, view: View, world: World) -> None:
    """A mistake is said beside its field and read out; then form, thanks, the mail's page with one button, thanks."""
    address = f"new-{view}@example.jp"
    page.goto(world.form.path)
    look.at("form")
    tab_to(page, "textbox", look.words["email"])
    page.keyboard.type("a@@b")
    look.enter()
    expect(page.get_by_role("alert")).to_be_visible()
    look.at("wrong")
    field = page.get_by_role("textbox", name=look.words["email"])
    expect(field).to_have_accessible_description(re.compile(look.words["wrong"]))
    field.fill("")
    tab_to(page, "textbox", look.words["email"])
    page.keyboard.type(address)
    tab_to(page, "textbox", look.words["name"])
    page.keyboard.type("早便 太郎")
    look.press("button", look.words["subscribe"])
    expect(page.get_by_role("heading")).to_have_text(look.words["asked"])
    look.at("asked")
    path = world.confirm_path(address)
    page.goto(path)
    look.at("confirm")
    assert page.get_by_role("button").count() == 1
    look.press("button", look.words["subscribe"])
    expect(page.get_by_role("status")).to_contain_text(look.words["done"])
    look.at("confirmed")
    assert world.state(address) == "subscribed"
    page.goto(path)
    look.at("again")


LATE, LATE_ID = "late@x.example", 999_999_999
LATE_SQL = """
INSERT INTO confirmations (tenant_id, kind, state, form_id, form_version, address, wire, address_key, locale, message_id,
                           expires_at)
VALUES ($1, 'sign_up', 'mailed', $2, 1, 'late@x.example', 'late@x.example', 'late@x.example', 'ja', 999999999,
        now() - interval '1 day') ON CONFLICT DO NOTHING"""


def test_notices_are_pages_too(page: Page, look: Look, world: World) -> None:
    """A wrong link, a form that is not there and a link that is over say so, readable for everybody."""
    world.call(world.pool.execute(LATE_SQL, world.seeded.tenant_id, world.form.id))
    late = f"/s/{RING.issue_confirm(LATE_ID, LATE)}"
    for name, path in (
        ("bad-link", "/u/nothing"),
        ("no-form", "/f/nothing"),
        ("not-found", "/nowhere"),
        ("late", late),
    ):
        page.goto(path)
        look.at(name)


def test_embedded_form_works_in_a_foreign_page(page: Page, view: View, world: World) -> None:
    """The snippet of the API in a bare page: names for all that is reached, none for the robots' field, and it posts."""
    row = world.call(world.pool.fetchrow("SELECT * FROM sign_up_forms WHERE id = $1", world.form.id))
    assert row is not None
    page.set_content(f"<!doctype html><title>x</title>{embed(dict(row), view.language, world.url)}")
    spoken = page.locator("body").aria_snapshot()
    assert spoken.count("- textbox") == 3
    assert spoken.count("- button") == 1
    words = WORDS[view.language]
    tab_to(page, "textbox", words["email"])
    page.keyboard.type(f"embedded-{view}@example.jp")
    tab_to(page, "textbox", words["name"])
    page.keyboard.type("Taro")
    tab_to(page, "button", words["subscribe"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/f/**")
    expect(page.get_by_role("heading")).to_have_text(words["asked"])
