"""Opens and clicks over HTTP, through RabbitMQ, into PostgreSQL."""

import asyncio

from hayabin.content.destination import write_destination
from tests.integration.tracker.conftest import RING, STATIC, Ledger, Tracker, fetch_one, metric
from tests.support.waiting import eventually

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SIGNED = "https://shop.example/for/taro?x=1"


def changed(token: str) -> list[str]:
    """The token with each of its characters changed, one at a time, and some other forms."""
    swapped = [token[:i] + ALPHABET[ALPHABET.index(token[i]) ^ 1] + token[i + 1 :] for i in range(len(token))]
    return [*swapped, token[:-1], token + "A", token + "=", token.swapcase(), "x", "%00"]


async def test_open_with_good_token_is_the_pixel_and_counts_once_per_message(tracker: Tracker, book: Ledger) -> None:
    """Two opens of one mail and one of another: three opens, two opened; the pixel is never cached."""
    for message_id in (book.ids[0], book.ids[0], book.ids[1]):
        answer = await tracker.client.get(f"/o/{RING.issue_tracking(message_id)}", headers={"User-Agent": "MUA/1"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
        assert len(answer.content) == 43
        assert answer.content.startswith(b"GIF89a")
        assert "no-store" in answer.headers["cache-control"]
        assert "set-cookie" not in answer.headers
    counters = await eventually(book.counters, lambda c: c.get("opens") == 3)
    assert (counters["opened"], counters["accepted"]) == (2, 4)
    row = await fetch_one(book.pool, "SELECT * FROM events WHERE message_id = $1", book.ids[1])
    assert (row["kind"], row["detail"], row["link"]) == ("open", "MUA/1", None)
    assert (row["tenant_id"], row["campaign_id"]) == (book.seeded.tenant_id, book.seeded.campaign_id)


async def test_click_on_static_link_leads_to_the_templates_destination(tracker: Tracker, book: Ledger) -> None:
    """The destination comes from the template version, whatever else stands in the query; the host is in A-labels."""
    token = RING.issue_tracking(book.ids[0])
    first = await tracker.client.get(f"/c/{token}/0?utm=1")
    second = await tracker.client.get(f"/c/{token}/2")
    assert (first.status_code, first.headers["location"]) == (302, STATIC)
    assert second.headers["location"] == "https://xn--wgv71a119e.jp/%E6%98%A5"
    assert first.headers["referrer-policy"] == "no-referrer"
    counters = await eventually(book.counters, lambda c: c.get("clicks") == 2)
    assert counters["clicked"] == 1
    assert "opened" not in counters
    assert await book.events() == [(book.ids[0], "click", 0), (book.ids[0], "click", 2)]


async def test_click_on_dynamic_link_needs_the_mac_of_this_mail_link_and_url(tracker: Tracker, book: Ledger) -> None:
    """A signed destination is followed; for another mail, link or URL, or without the MAC, it is 404."""
    first, second = (RING.issue_tracking(i) for i in book.ids[:2])
    query = f"u={write_destination(SIGNED)}&m={RING.link_mac(book.ids[0], 1, SIGNED)}"
    good = await tracker.client.get(f"/c/{first}/1?{query}")
    assert (good.status_code, good.headers["location"]) == (302, SIGNED)
    evil = write_destination("https://evil.example/")
    for path in (
        f"/c/{second}/1?{query}",
        f"/c/{first}/2?{query}",
        f"/c/{first}/1?u={evil}&m={RING.link_mac(book.ids[0], 1, SIGNED)}",
        f"/c/{first}/1?u={evil}",
        f"/c/{first}/0?u={evil}",
        f"/c/{first}/0?m=x",
        f"/c/{first}/1?u=https://evil.example/&m=x",
        f"/c/{first}/1",
    ):
        answer = await tracker.client.get(path)
        assert answer.status_code == 404, path
        assert "location" not in answer.headers
    await eventually(book.counters, lambda c: c.get("clicks") == 1)


async def test_click_on_link_that_is_not_there_is_a_page_without_destination(tracker: Tracker, book: Ledger) -> None:
    """Numbers past the template's links, other text, and a destination that is no web page: 404, nothing recorded."""
    token = RING.issue_tracking(book.ids[0])
    for link in ("4", "99999", "100000", "-1", "+1", "x", "1.0", "%EF%BC%91", "3"):
        japanese = await tracker.client.get(f"/c/{token}/{link}", headers={"Accept-Language": "ja"})
        english = await tracker.client.get(f"/c/{token}/{link}", headers={"Accept-Language": "en"})
        assert japanese.status_code == english.status_code == 404, link
        assert "リンクが無効です" in japanese.text
        assert "This link is not valid" in english.text
        assert "default-src 'none'" in english.headers["content-security-policy"]
        assert "location" not in english.headers
    await asyncio.sleep(0.1)
    assert await book.events() == []


async def test_any_changed_character_of_a_token_records_nothing(tracker: Tracker, book: Ledger) -> None:
    """Each single change is refused, with the pixel all the same; no token tells who it was for."""
    before = metric("hayabin_tracker_events_total", kind="open")
    tokens = changed(RING.issue_tracking(book.ids[0]))
    opened = await asyncio.gather(*(tracker.client.get(f"/o/{token}") for token in tokens))
    clicked = await asyncio.gather(*(tracker.client.get(f"/c/{token}/0") for token in tokens))
    assert {(answer.status_code, len(answer.content)) for answer in opened} == {(404, 43)}
    assert {answer.status_code for answer in clicked} == {404}
    assert not any("location" in answer.headers for answer in clicked)
    assert metric("hayabin_tracker_events_total", kind="open") == before
    assert await book.events() == []


async def test_head_and_prefetch_answer_alike_and_record_nothing(tracker: Tracker, book: Ledger) -> None:
    """Link scanners that send HEAD, and browsers that look ahead, are no opens and no clicks."""
    token = RING.issue_tracking(book.ids[0])
    before = metric("hayabin_tracker_events_total", kind="click")
    head = await tracker.client.head(f"/c/{token}/0")
    ahead = await tracker.client.get(f"/c/{token}/0", headers={"Sec-Purpose": "prefetch;prerender"})
    pixel = await tracker.client.head(f"/o/{token}")
    assert head.headers["location"] == ahead.headers["location"] == STATIC
    assert (head.content, pixel.content, pixel.status_code) == (b"", b"", 200)
    assert metric("hayabin_tracker_events_total", kind="click") == before
    assert await book.events() == []


async def test_other_methods_and_paths_are_refused(tracker: Tracker, book: Ledger) -> None:
    """Nothing but GET and HEAD on pixel and links; every other path is the notice page."""
    token = RING.issue_tracking(book.ids[0])
    assert (await tracker.client.post(f"/o/{token}")).status_code == 405
    assert (await tracker.client.delete(f"/c/{token}/0")).status_code == 405
    assert (await tracker.client.get("/")).status_code == 404
    assert (await tracker.client.get(f"/c/{token}")).status_code == 404


async def test_good_token_of_a_message_that_is_gone_changes_nothing(tracker: Tracker, book: Ledger) -> None:
    """An old mail's pixel still loads, its links lead nowhere, its events are dropped by the projection."""
    gone = RING.issue_tracking(987_654_321)
    assert (await tracker.client.get(f"/o/{gone}")).status_code == 200
    assert (await tracker.client.get(f"/c/{gone}/0")).status_code == 404
    assert (await tracker.client.get(f"/c/{RING.issue_tracking(2**64 - 1)}/0")).status_code == 404
    await tracker.client.get(f"/o/{RING.issue_tracking(book.ids[0])}")
    await eventually(book.counters, lambda c: c.get("opens") == 1)
    assert await book.events() == [(book.ids[0], "open", None)]


async def test_many_clicks_at_once_are_all_counted(tracker: Tracker, book: Ledger) -> None:
    """Three hundred concurrent clicks: each redirected, each counted, four people clicked."""

    async def click(n: int) -> int:
        return (await tracker.client.get(f"/c/{RING.issue_tracking(book.ids[n % 4])}/0")).status_code

    assert set(await asyncio.gather(*(click(n) for n in range(300)))) == {302}
    counters = await eventually(book.counters, lambda c: c.get("clicks") == 300)
    assert counters["clicked"] == 4
