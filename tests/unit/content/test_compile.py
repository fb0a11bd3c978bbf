"""Compiling templates: what comes out of good ones, and what authors are told about bad ones."""

import json
import re
from typing import Any

import pytest

from hayabin.content.compile import compile_template
from hayabin.content.compiled import CompiledTemplate, Link, TemplateInvalid, TemplateKind
from hayabin.content.links import OPEN_PIXEL
from tests.unit.content.sample import NEWSLETTER_MJML


def problems(
    kind: TemplateKind, source: str, subject: str = "s", text: str | None = None
) -> list[tuple[int, str, str]]:
    """Line, pointer and message of everything that is wrong with a template."""
    with pytest.raises(TemplateInvalid) as caught:
        compile_template(kind, subject, source, text)
    return [(problem.line, problem.pointer, problem.message) for problem in caught.value.errors]


def in_column(content: str) -> str:
    return f"<mjml><mj-body><mj-section><mj-column>\n{content}\n</mj-column></mj-section></mj-body></mjml>"


def test_newsletter_is_compiled_to_html_text_links_and_fields() -> None:
    """The whole way of an MJML template: links numbered, text part written, fields listed, JSON and back."""
    compiled = compile_template(TemplateKind.MJML, "{{ last_name }}様", NEWSLETTER_MJML, None)
    assert compiled.links == (
        Link(0, "https://shop.example/sale?x=1&y=2", dynamic=False),
        Link(1, "https://shop.example/{{ id }}?n={{ last_name|urlencode }}&q=1", dynamic=True),
    )
    assert compiled.fields == {"last_name", "brand", "vip", "facts", "items", "id", "unsubscribe_url"}
    assert compiled.html is not None
    assert 'href="{{ _hb_track|safe }}/0"' in compiled.html
    assert "color: {{ brand }}" in compiled.html
    assert compiled.html.count(OPEN_PIXEL) == 1
    assert compiled.html.index(OPEN_PIXEL) < compiled.html.index("</body>")
    assert CompiledTemplate.from_json(json.loads(json.dumps(compiled.to_json()))) == compiled
    assert CompiledTemplate.from_json(json.dumps(compiled.to_json())) == compiled


def test_newsletter_text_part_keeps_order_and_loops() -> None:
    """Headings, lists, table rows and links come in order; a loop over rows is a loop over lines."""
    text = compile_template(TemplateKind.MJML, "s", NEWSLETTER_MJML, None).text
    assert text == (
        "{% if vip %}{{ last_name|honorific }}\n\nfirst\nsecond & third\n\n- one\n- two {{ facts.two }}\n\n品 | 価格\n"
        "{% for item in items %}{{ item.name }} | {{ item.price|number }}円\n{% endfor %}買う: {{ _hb_track }}/0\n"
        "あなたへ: {% set _hb_link_to %}https://shop.example/{{ id }}?n={{ last_name|urlencode }}&q=1{% endset %}"
        "{{ _hb_link(1, _hb_link_to) }}\n"
        "問い合わせ: help@shop.example 配信停止: {{ unsubscribe_url }}\n{% endif %}\n"
    )


def test_html_without_styles_changes_only_in_its_links() -> None:
    """HTML is not re-serialised: upper case, missing quotes and white space stay as they were written."""
    source = '<P Align=left>a  <A HREF="https://x.example/?a=1&amp;b=2" >b</A><br/>\n<td>c'
    html = compile_template(TemplateKind.HTML, "s", source, "t").html
    assert html == source.replace("https://x.example/?a=1&amp;b=2", "{{ _hb_track|safe }}/0") + OPEN_PIXEL


@pytest.mark.parametrize(
    "href",
    ["mailto:a@b.example", "tel:+81312345678", "#top", "{{ unsubscribe_url }}", "{{view_url}}", "/relative", ""],
)
def test_href_that_is_no_web_link_is_left_alone(href: str) -> None:
    """Mail, telephone, fragments and our own pages do not lead by the tracker."""
    compiled = compile_template(TemplateKind.HTML, "s", f'<a href="{href}">x</a>', None)
    assert compiled.links == ()
    assert f'href="{href}"' in (compiled.html or "")


def test_href_entities_are_decoded_for_the_destination() -> None:
    """``&amp;`` is HTML's, not the URL's; numbered entities and quotes likewise."""
    source = "<a href='https://x.example/?a=1&amp;b=&#50;&quot;'>x</a><area href=https://y.example/?a&amp;b>"
    links = compile_template(TemplateKind.HTML, "s", source, None).links
    assert [link.url for link in links] == ['https://x.example/?a=1&b=2"', "https://y.example/?a&b"]


def test_links_in_comments_scripts_and_styles_are_not_links() -> None:
    """What no reader can click is not numbered."""
    source = (
        '<!--[if mso]><a href="https://a.example">x</a><![endif]-->'
        '<script>"<a href=\'https://b.example\'>"</script><a data-href="https://c.example">y</a>'
    )
    assert compile_template(TemplateKind.HTML, "s", source, "t").links == ()


def test_styles_are_inlined_and_statements_between_rows_stay_between_rows() -> None:
    """The inliner's parser would move loose text out of a table; statements travel as comments."""
    source = (
        "<style>td { color: {{ c }} } @media (max-width: 9px) { td { color: red } }</style>"
        "<table><tbody>{% for r in rows %}<tr><td>{{ r }}</td></tr>{% endfor %}</table>"
    )
    html = compile_template(TemplateKind.HTML, "s", source, None).html or ""
    assert '{% for r in rows %}<tr><td style="color: {{ c }};">{{ r }}</td></tr>{% endfor %}' in html
    assert "@media (max-width: 9px)" in html


def test_text_template_tracks_the_urls_that_stand_in_it() -> None:
    """A text template has links too; Japanese follows a URL without a space, and punctuation is not part of it."""
    source = "見る:https://x.example/a?b=cをご覧。\n(https://x.example/(d)).\nhttps://x.example/{{ id }}\nhttps://x.example/a?b=c"
    compiled = compile_template(TemplateKind.TEXT, "s", source, None)
    assert [link.url for link in compiled.links] == [
        "https://x.example/a?b=c",
        "https://x.example/(d)",
        "https://x.example/{{ id }}",
    ]
    assert compiled.html is None
    assert compiled.text.startswith("見る:{{ _hb_track }}/0をご覧。\n({{ _hb_track }}/1).\n{% set")
    assert compiled.text.endswith("\n{{ _hb_track }}/0")


def test_own_text_part_shares_the_numbers_of_the_html_part() -> None:
    """The same destination in both parts is the same link in the reports."""
    compiled = compile_template(TemplateKind.HTML, "s", '<a href="https://x.example/">x</a>', "x: https://x.example/")
    assert compiled.links == (Link(0, "https://x.example/", dynamic=False),)
    assert compiled.text == "x: {{ _hb_track }}/0"


@pytest.mark.parametrize("source", ["&#123;&#123; 7 * 7 }}", "{% raw %}{{ 7 * 7 }}{% endraw %}", "{&#37; if %}"])
@pytest.mark.parametrize("style", ["", "<style>p { color: red }</style>"])
def test_text_that_looks_like_syntax_stays_text(source: str, style: str) -> None:
    """Entities that decode to braces, and raw blocks, must not become template syntax on the way."""
    compiled = compile_template(TemplateKind.HTML, "s", f"{style}<p>{source}</p>", None)
    for part in (compiled.html or "", compiled.text):
        assert "{{ 7" not in part
        assert "{% if" not in part


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("<mj-txt>a</mj-txt>", 2, "unknown element <mj-txt>"),
        ("<mj-text>\n<mj-txt>a</mj-txt></mj-text>", 3, "unknown element <mj-txt>"),
        ('<mj-text colour="red">a</mj-text>', 2, "unknown attribute 'colour' of <mj-text>"),
        ("<mj-section></mj-section>", 2, "<mj-section> can not stand in <mj-column>"),
        ("<mj-text><p>a</mj-text>", 2, "<p> is not closed"),
        ("<mj-text>a</b></mj-text>", 2, "</b> closes nothing"),
        ("<div>a</div>", 2, "<div> is not an MJML element"),
        ('<mj-include path="/etc/passwd" />', 2, "<mj-include> is not available"),
        ("<mj-text>a < b</mj-text>", 2, "must be written &lt;"),
        ("<mj-text {% if a %}color='red'{% endif %}>a</mj-text>", 2, "template syntax can not stand between"),
        ("<mj-text>" + "<div>" * 97 + "</div>" * 97 + "</mj-text>", 2, "nested more than 100 deep"),
        ("{{ a\n}}{{ b\n}}<mj-txt>a</mj-txt>", 4, "unknown element <mj-txt>"),
    ],
)
def test_invalid_mjml_is_named_with_its_line(content: str, line: int, message: str) -> None:
    """The MJML library lets most of this pass in silence; the author would see an empty place in the mail."""
    found = problems(TemplateKind.MJML, in_column(content))
    assert any(at == line and message in said for at, _, said in found), found


@pytest.mark.parametrize(
    "source", ["", "plain", "<html></html>", "<mjml><mj-body>", "</mjml>", "<mjml><mjml></mjml></mjml>"]
)
def test_source_that_is_no_mjml_is_refused(source: str) -> None:
    """Whatever is no MJML document gets an answer."""
    assert problems(TemplateKind.MJML, source)


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("a\n{{ b", 2, "this {{ is not closed"),
        ("a\n{# b", 2, "this comment is not closed"),
        ("a\n{% raw %}b", 2, "this raw block is not closed"),
        ("a\n{{ 'b }}", 2, "can not stand in an expression"),
        ("a\n\n{% if x %}", 3, "unexpected end of input"),
        ("{% endif %}", 1, "unknown statement endif"),
        ("a\n{{ x|frobnicate }}", 2, "there is no filter 'frobnicate'"),
        ("{{ x is frobnicated }}", 1, "there is no test 'frobnicated'"),
        ("\n{{ _hb_track }}", 2, "names that begin with _hb are reserved"),
        ("{% set _hb_open = 1 %}", 1, "names that begin with _hb are reserved"),
        ("{% include 'x' %}", 1, "'include' is not available"),
        ("{% macro m() %}{% endmacro %}", 1, "'macro' is not available"),
        ("{% autoescape false %}{{ a }}{% endautoescape %}", 1, "'autoescape' is not available"),
        ("{{ rows.append(1) }}", 1, "functions can not be called here"),
        ("{{ rows['append'](1) }}", 1, "functions can not be called here"),
        ("{{ (rows.append)(1) }}", 1, "functions can not be called here"),
        ("{% set p = rows.pop %}{{ p() }}", 1, "functions can not be called here"),
        ("{{ namespace(a=1) }}", 1, "functions can not be called here"),
        ("{{ {'a': 1} }}", 1, "'{' can not stand in an expression"),
        ("{% set a = [b, b] %}", 1, "a list in 'set' may hold literals only"),
        ("{% set a = [1|default(b)] %}", 1, "a list in 'set' may hold literals only"),
        ("{% for a in [[b, b]] %}{% endfor %}", 1, "a list in 'for' may hold literals only"),
        ("{% set a = b, b %}", 1, "'set' takes one value"),
        ("{% set a = (b, b) %}", 1, "'set' takes one value"),
        ("{{ a|map('default', b) }}", 1, "the arguments of this filter must be literals"),
        ("{{ [" + "a," * 40 + "] }}", 1, "more than 32 variables"),
        ("{{ 'x' * 100000000 }}", 1, "* multiplies numbers only"),
        ("{% for a in b recursive %}{% endfor %}", 1, "loops can not be recursive"),
    ],
)
def test_syntax_that_templates_may_not_use_is_named_with_its_line(source: str, line: int, message: str) -> None:
    """What minijinja can not parse, and what it could but must not."""
    found = problems(TemplateKind.TEXT, source)
    assert any(at == line and message in said for at, _, said in found), found


def test_problems_of_all_parts_are_reported_together() -> None:
    """An author mends everything in one go; the pointer says where."""
    found = problems(TemplateKind.HTML, "{{ a|x }}", subject="{{ c|x }}", text="{{ e|x }}")
    assert [pointer for _, pointer, _ in found] == ["/source", "/subject", "/text_source"]


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (TemplateKind.TEXT, "x" * (1024 * 1024 + 1)),
        (TemplateKind.TEXT, "\ud800"),
        (TemplateKind.MJML, in_column("<mj-text>" + "<div>" * 20_000 + "</div>" * 20_000 + "</mj-text>")),
        (TemplateKind.MJML, "<mjml><mj-body>" + "<mj-wrapper>" * 9000),
        (TemplateKind.MJML, in_column("<mj-text>a</mj-text>" * 4000)),
        (TemplateKind.HTML, "<style>p{}</style>" + "<div>" * 100_000),
        (TemplateKind.HTML, "<style>" + "b{p:q}" * 9000 + "</style>" + "<b></b>" * 9000),
        (TemplateKind.MJML, in_column("<mj-raw><style></style></mj-raw>").replace(
            "<mj-body>", "<mj-head><mj-style inline='inline'>" + "b{p:q}" * 9000 + "</mj-style></mj-head><mj-body>")),
        (TemplateKind.HTML, '<a href="https://x.example/">x</a>' * 501),
        (TemplateKind.HTML, f'<a href="https://x.example/{"y" * 2001}">x</a>'),
        (TemplateKind.HTML, '<a href="{% if a %}https://x.example/">x</a>{% endif %}'),
        (TemplateKind.HTML, "<style>p{color:red}</style><p {% if a %}title='b'{% endif %}>c</p>"),
        (TemplateKind.TEXT, "{{ " + "(" * 50_000 + " }}"),
        (TemplateKind.TEXT, "{% if a %}" * 20_000),
        (TemplateKind.TEXT, "{{ " + "a+" * 100_000 + "a }}"),
        (TemplateKind.TEXT, "{{ a" + ".b" * 100_000 + " }}"),
        (TemplateKind.TEXT, "{{ " + "not " * 100_000 + "a }}"),
        (TemplateKind.TEXT, "{% if a %}" + "{% elif a %}" * 70_000 + "{% endif %}"),
        (TemplateKind.TEXT, "\n" * 400_000 + "{{ a|x }}\n" * 50_000),
        (TemplateKind.HTML, "<p>" * 60_000),
        (TemplateKind.HTML, "<p " + "b=c " * 200_000 + ">"),
        (TemplateKind.TEXT, "https://x.example/" + ")" * 1_000_000),
    ],
    ids=range(22),
)  # fmt: skip
def test_source_beyond_the_bounds_is_refused(kind: TemplateKind, source: str) -> None:
    """Size, depth and amplification: none of these may reach the native libraries, which crash or run for minutes."""
    assert problems(kind, source)


def test_from_json_of_something_else_is_refused() -> None:
    """A stored template that is not one is an error, not a mail."""
    good = compile_template(TemplateKind.TEXT, "s", "https://x.example/", None).to_json()
    several: tuple[Any, ...] = (
        {},
        {**good, "kind": "word"},
        {**good, "links": [{**good["links"][0], "number": 3}]},
        [],
        "x",
    )
    for bad in several:
        with pytest.raises(ValueError, match=r".+"):
            CompiledTemplate.from_json(bad)


def test_hidden_elements_and_head_are_not_in_the_text_part() -> None:
    """The preview line is for the list of mails; scripts and styles are for nobody to read."""
    source = (
        "<head><title>t</title></head><body><div style='display:none'>hidden<div>x</div></div>"
        "<script>s</script><p>seen</p><ol><li>a<li>b</ol>"
        '<a href="https://x.example/"><img src="i" alt="logo"></a><hr>end</body>'
    )
    text = compile_template(TemplateKind.HTML, "s", source, None).text
    assert re.sub(r"-{40}", "----", text) == "seen\n\n1. a\n2. b\n\nlogo: {{ _hb_track }}/0\n\n----\n\nend\n"
