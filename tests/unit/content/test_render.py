"""Rendering: what recipients get, what happens without a field, and what a hostile template can not do."""

import html
import re
import resource
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.content.compile import compile_template
from hayabin.content.compiled import CompiledTemplate, TemplateInvalid, TemplateKind
from hayabin.content.destination import read_destination
from hayabin.content.render import (
    MergeFieldMissing,
    RenderedContent,
    Renderer,
    RenderFailed,
    RenderFailure,
    RenderLimitExceeded,
    SystemVariables,
)
from hayabin.domain.campaign import MergePolicy
from tests.unit.content.sample import NEWSLETTER_MJML, NEWSLETTER_VALUES, SYSTEM


def rendered(
    source: str, *, policy: MergePolicy = MergePolicy.BLOCK, subject: str = "s", **values: Any
) -> RenderedContent:
    """A text template filled in."""
    return Renderer(compile_template(TemplateKind.TEXT, subject, source, None)).render(values, SYSTEM, policy)


def as_stored(source: str) -> Renderer:
    """A renderer of text source that passed no compiler, to see what rendering alone withstands."""
    return Renderer(CompiledTemplate(TemplateKind.TEXT, "", None, source, (), frozenset()))


@pytest.fixture(scope="module")
def newsletter() -> Renderer:
    """The sample, compiled."""
    return Renderer(compile_template(TemplateKind.MJML, "{{ last_name }}様", NEWSLETTER_MJML, None))


def test_newsletter_is_filled_in_for_one_recipient(newsletter: Renderer) -> None:
    """Names, loops, numbers, links, opt-out and pixel, in both parts, with nothing left of the template."""
    content = newsletter.render(NEWSLETTER_VALUES, SYSTEM, MergePolicy.BLOCK)
    assert content.subject == "山田様"
    assert content.html is not None
    assert content.text.startswith("山田 様\n\nfirst\nsecond & third\n\n- one\n- two 2\n\n品 | 価格\n")
    assert "りんご | 1,234円\nA&B | 5円\n買う: https://t.example/c/TOKEN/0\n" in content.text
    assert "A&amp;B" in content.html
    assert 'href="https://t.example/u/TOKEN?a=1&amp;b=2"' in content.html
    assert 'src="https://t.example/o/TOKEN"' in content.html
    assert re.search(r"\{[{%#]|_hb|hbq[0-9]", content.html + content.text) is None


def test_newsletter_rendered_twice_is_the_same(newsletter: Renderer) -> None:
    """A retry is rendered anew, so it must come out as before."""
    first = newsletter.render(NEWSLETTER_VALUES, SYSTEM, MergePolicy.BLOCK)
    assert newsletter.render(NEWSLETTER_VALUES, SYSTEM, MergePolicy.BLOCK) == first


def test_dynamic_link_carries_its_destination_and_mac(newsletter: Renderer) -> None:
    """The destination is what the reader would have reached: entities decoded, values merged; the MAC covers it."""
    content = newsletter.render(NEWSLETTER_VALUES, SYSTEM, MergePolicy.BLOCK)
    href = re.search(r'href="(https://t\.example/c/TOKEN/1\?[^"]*)"', content.html or "")
    assert href
    target = html.unescape(href.group(1))
    url = "https://shop.example/7?n=%E5%B1%B1%E7%94%B0&q=1"
    encoded = target.partition("?u=")[2].partition("&m=")
    assert read_destination(encoded[0]) == url
    assert encoded[2] == SYSTEM.link_mac(1, url)
    assert f"あなたへ: {target}\n" in content.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://x.example/?a=1&b=2", "https://t.example/c/TOKEN/0?u="),
        ("HTTPS://X.example/", "https://t.example/c/TOKEN/0?u="),
        (" ht\ntps://x.example/", "https://t.example/c/TOKEN/0?u="),
        ("mailto:a@b.example", "mailto:a@b.example"),
        ("javascript:alert(1)", "#"),
        ("java\tscript:alert(1)", "#"),
        ("data:text/html,x", "#"),
        ("//x.example", "#"),
        ('"><script>', "#"),
        (SYSTEM.unsubscribe_url, SYSTEM.unsubscribe_url),
    ],
)
def test_dynamic_link_of_any_value_is_tracked_or_harmless(value: str, expected: str) -> None:
    """A link that a merge value makes leads by the tracker, to mail or telephone, or nowhere."""
    compiled = compile_template(TemplateKind.HTML, "s", "<a href={{ url }}>x</a>", None)
    content = Renderer(compiled).render({"url": value}, SYSTEM, MergePolicy.BLOCK)
    found = re.match(r'<a href="([^"<>]*)">x</a>', content.html or "")
    assert found
    assert html.unescape(found.group(1)).startswith(expected)


def test_link_longer_than_the_tracker_takes_fails_for_that_recipient() -> None:
    """A link that would not lead anywhere is not sent."""
    with pytest.raises(RenderFailed):
        rendered("https://x.example/{{ a }}", a="y" * 5000)


@pytest.mark.parametrize("policy", [MergePolicy.SKIP, MergePolicy.BLOCK])
@pytest.mark.parametrize(
    ("source", "values", "field"),
    [
        ("{{ name }}", {}, "name"),
        ("{{ name }}", {"name": None}, "name"),
        ("{{ order.id }}", {"order": {}}, "order.id"),
        ("{{ order.items }}", {"order": {"id": 1}}, "order.items"),
        ("{{ order.keys }}", {"order": {"id": 1}}, "order.keys"),
        ("{{ rows.count }}", {"rows": [1]}, "rows.count"),
        ("{% for row in rows %}{% endfor %}", {}, "rows"),
        ("{{ name|number }}", {}, "name"),
        ("{{ name|honorific }}", {"name": None}, "name"),
        ("{{ a * b }}", {"a": 1}, "b"),
    ],
)
def test_missing_field_without_fallback_is_named(
    policy: MergePolicy, source: str, values: dict[str, Any], field: str
) -> None:
    """Nobody gets a mail with a hole in it, and the operator learns which field it was."""
    with pytest.raises(MergeFieldMissing) as caught:
        rendered(source, policy=policy, **values)
    assert caught.value.field == field
    assert caught.value.reason == "merge_field_missing"


def test_missing_field_with_fallback_is_empty() -> None:
    """The template's own words for it, or nothing; never "None"."""
    source = (
        "[{{ a }}][{{ b.c.d }}][{{ e|default('you') }}][{{ f|honorific }}][{{ g|number }}]{% for h in i %}x{% endfor %}"
    )
    assert rendered(source, policy=MergePolicy.FALLBACK, a=None).text == "[][][you][お客様][]"


def test_field_with_default_is_not_missing() -> None:
    """``default`` and ``is defined`` say that the author knows."""
    source = "{{ a|default('x') }}{% if b is defined %}{{ b }}{% endif %}"
    assert rendered(source).text == "x"


def test_value_of_wrong_kind_fails_for_that_recipient() -> None:
    """A text where the template computes: nothing to retry, nothing to send."""
    for source in (
        "{{ a + 1 }}",
        "{{ a * 2 }}",
        "{{ a|number }}",
        "{{ a|date }}",
        "{{ a|items|list }}",
        "{{ 1 // 0 }}",
    ):
        with pytest.raises(RenderFailed):
            rendered(source, a="x")
    with pytest.raises(RenderFailed):
        rendered("{{ a|items|list }}", a={str(number): number for number in range(501)})


@pytest.mark.parametrize("value", [object(), b"x", {1: "x"}, [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]], {"a": {1, 2}}])
def test_value_that_is_not_plain_is_refused(value: Any) -> None:
    """Methods of objects could be called from a template; only plain values get there."""
    with pytest.raises(RenderFailed):
        rendered("{{ a }}", a=value)


def test_half_a_character_in_a_value_becomes_a_replacement_character() -> None:
    """A lone surrogate has no UTF-8; it must not stop a mail, nor break its encoding."""
    assert re.fullmatch(r"\[x\ufffd+\]", rendered("[{{ a }}]", a="x\ud800").text)


def test_callers_values_are_never_changed() -> None:
    """Values are shared between recipients; a template can not reach the originals."""
    values = {"rows": [1, 2], "facts": {"a": [3]}}
    with pytest.raises(RenderFailed):
        as_stored("{{ rows.append(3) }}{{ facts.clear() }}").render(values, SYSTEM, MergePolicy.BLOCK)
    assert values == {"rows": [1, 2], "facts": {"a": [3]}}


def test_system_variables_can_not_be_replaced_by_contacts() -> None:
    """A contact's attribute named like one of ours does not become the link of a mail."""
    compiled = compile_template(TemplateKind.HTML, "s", "<a href='https://x.example'>x</a>{{ unsubscribe_url }}", None)
    values = {
        "_hb_track": "https://evil.example",
        "_hb_open": "https://evil.example",
        "unsubscribe_url": "https://evil.example",
    }
    content = Renderer(compiled).render(values, SYSTEM, MergePolicy.BLOCK)
    assert "evil" not in str(content)


def test_system_urls_are_escaped_in_html_and_plain_in_text() -> None:
    """An installation's own addresses are as little trusted in attributes as any other text."""
    url = "https://t.example/?a=1&b=\"'<"
    system = SystemVariables(url, url, url, SYSTEM.link_mac, url)
    source = "<a href='https://x.example'>x</a><a href='{{ unsubscribe_url }}'>y</a><a href='{{ view_url }}'>z</a>"
    content = Renderer(compile_template(TemplateKind.HTML, "s", source, None)).render({}, system, MergePolicy.BLOCK)
    assert content.html is not None
    assert content.html.count(html.escape(url)) == 4
    assert url not in content.html
    assert content.text == f"x: {url}/0y: {url}z: {url}\n"


HOSTILE = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}" + "x" * 10_000 + "{% endfor %}",
    "{{ text * 100000000 }}",
    "{{ rows * 100000000 }}",
    "{{ 100000000 * rows }}",
    "{% set a = rows %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = text %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a %}{{ text }}{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40,
    "{{ text|replace('x', text)|replace('x', text)|replace('x', text) }}",
    "{{ range(100000)|join(text) }}",
    "{{ '%100000000d'|format(1) }}",
    "{{ text|batch(100000000, 'x')|list }}",
    "{% for a in range(100000) %}{{ text|upper|lower|title|trim|urlencode|e }}{% endfor %}",
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_template_is_stopped_cheaply(source: str) -> None:
    """Endless loops, 100 MB texts and copies of copies end within a moment and without the memory they ask for."""
    compiled = compile_template(TemplateKind.TEXT, "s", source, None)
    renderer = Renderer(compiled)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.thread_time()
    with pytest.raises((RenderLimitExceeded, RenderFailed)):
        renderer.render({"text": "x" * 1000, "rows": [1, 2, 3]}, SYSTEM, MergePolicy.BLOCK)
    assert time.thread_time() - started < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


def test_mail_larger_than_the_limit_is_refused() -> None:
    """Fuel allows more text than a mail may have; the size is looked at as well."""
    with pytest.raises(RenderLimitExceeded):
        rendered("{% for a in range(1100) %}" + "x" * 1000 + "{% endfor %}")
    assert len(rendered("{% for a in range(1000) %}" + "x" * 1000 + "{% endfor %}").text) == 1_000_000


def test_arithmetic_of_a_template_is_guarded_and_still_right() -> None:
    """The guards stand at the right operands: precedence, filters, brackets and chains."""
    source = "{{ a + b * c }} {{ (a + b) * c|abs }} {{ a * b * c + d.e[0] * 2 }} {{ t + 'x' + t|upper }} {{ -a + b }} {{ 2 ** a * 3 }}"
    values: dict[str, Any] = {"a": 2, "b": 3, "c": 4, "d": {"e": [5]}, "t": "y"}
    assert rendered(source, **values).text == "14 20 34 yxY 1 12"


def test_filters_format_dates_numbers_and_names() -> None:
    """The filters of our own, as authors write them."""
    source = (
        '{{ d|date("%Y年%-m月%-d日(%a)", "ja") }} {{ d|date("%a %d %B %H:%M %%") }} {{ 1234567.5|number(2) }} {{ "9800"|number }} '
        '{{ n|honorific("御中") }} {% for k, v in f|items %}{{ k }}={{ v }} {% endfor %}'
    )
    content = rendered(source, d="2026-01-05T09:30:00", n="早便株式会社", f={"x": 1, "y": 2})
    assert content.text == "2026年1月5日(月) Mon 05 January 09:30 % 1,234,567.50 9,800 早便株式会社 御中 x=1 y=2 "


@given(st.text(max_size=60))
def test_any_merge_value_is_escaped_in_html_and_one_line_in_subject(value: str) -> None:
    """Whatever a contact calls themselves, it is text in the HTML and no header of its own."""
    compiled = compile_template(TemplateKind.HTML, "a{{ v }}b", '<p title="{{ v }}">{{ v }}</p>', "{{ v }}")
    content = Renderer(compiled).render({"v": value}, SYSTEM, MergePolicy.BLOCK)
    assert content.html is not None
    found = re.fullmatch(r'<p title="([^"<>]*)">([^<>]*)</p><img [^<>]*>', content.html)
    assert found
    assert html.unescape(found.group(2)) == html.unescape(html.escape(value))
    assert content.text == value
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", content.subject)
    assert len(content.subject.splitlines()) == 1


@given(st.text(alphabet="{}%#-+ \n\"'ab|.*[](),=<>/0é", max_size=40), st.sampled_from(TemplateKind))
def test_any_source_compiles_or_is_refused(source: str, kind: TemplateKind) -> None:
    """Authors type anything; the answer is a template or a list of problems, and a template renders or fails cleanly."""
    try:
        compiled = compile_template(kind, source.replace("\n", " "), source, None)
        Renderer(compiled, fuel=5000).render({"a": "x", "b": [1]}, SYSTEM, MergePolicy.FALLBACK)
    except (TemplateInvalid, RenderFailure):
        pass
