"""The links of a mail as the renderer writes them, followed as a mail client follows them."""

import html
import json
import re

from hayabin.content.compile import compile_template
from hayabin.content.compiled import TemplateKind
from hayabin.content.render import Renderer, SystemVariables
from hayabin.domain.campaign import MergePolicy
from tests.integration.tracker.conftest import RING, Ledger, Tracker
from tests.support.waiting import eventually

SOURCE = """<html><body><p>{{ name }}</p>
<a href="https://shop.example/sale?a=1&amp;b=2">Sale</a>
<a href="https://shop.example/{{ code }}?q={{ word }}">Yours</a>
<a href="https://日本語.jp/春">Spring</a>
<a href="{{ unsubscribe_url }}">Stop</a></body></html>"""
VARIABLES = {"name": "太郎", "code": "A&B", "word": "春x"}


async def test_every_link_of_a_rendered_mail_leads_where_its_author_meant(tracker: Tracker, book: Ledger) -> None:
    """Static and dynamic links, the pixel and the unsubscribe page, by the addresses in HTML and text part."""
    compiled = compile_template(TemplateKind.HTML, "Hello", SOURCE, None)
    await book.pool.execute("UPDATE template_versions SET compiled = $1::text::jsonb", json.dumps(compiled.to_json()))
    message_id = book.ids[0]
    token = RING.issue_tracking(message_id)
    system = SystemVariables(
        track_url=f"{tracker.url}/c/{token}",
        open_url=f"{tracker.url}/o/{token}",
        unsubscribe_url=f"{tracker.url}/u/{await book.unsubscribe_token(message_id)}",
        link_mac=lambda number, url: RING.link_mac(message_id, number, url),
    )
    mail = Renderer(compiled).render(VARIABLES, system, MergePolicy.SKIP)
    assert mail.html is not None
    addresses = [html.unescape(address) for address in re.findall(r'(?:href|src)="([^"]+)"', mail.html)]
    answers = [await tracker.client.get(address) for address in addresses]
    assert [(answer.status_code, answer.headers.get("location")) for answer in answers] == [
        (302, "https://shop.example/sale?a=1&b=2"),
        (302, "https://shop.example/A&B?q=%E6%98%A5x"),
        (302, "https://xn--wgv71a119e.jp/%E6%98%A5"),
        (200, None),
        (200, None),
    ]
    in_text = re.findall(rf"{tracker.url}/c/\S+", mail.text)
    assert {(await tracker.client.get(address)).status_code for address in in_text} == {302}
    counters = await eventually(book.counters, lambda c: c.get("clicks") == 3 + len(in_text))
    assert (counters["clicked"], counters["opened"]) == (1, 1)
