"""The readers of template syntax and markup: they cover what they read, and never fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.content.destination import read_destination, write_destination
from hayabin.content.markup import TokenKind, read_markup
from hayabin.content.placeholder import ProtectedSource
from hayabin.content.syntax import PieceKind, SyntaxBroken, split_template

MARKUP = st.text(alphabet="<>/!-=\"' \nabstyle&;", max_size=60)


@given(MARKUP)
def test_markup_tokens_cover_the_source(source: str) -> None:
    """An edit replaces spans, so there must be no gap and no overlap; and any bytes are some markup."""
    position = 0
    for token in read_markup(source):
        assert token.start == position
        assert token.end > token.start
        assert all(token.start < a.start <= a.end <= token.end for a in token.attributes)
        position = token.end
    assert position == len(source)


@pytest.mark.parametrize(
    ("source", "attributes"),
    [
        ("<a href='x' b=c d>", [("href", "x"), ("b", "c"), ("d", "")]),
        ('<A HREF = "x>y"/>', [("href", "x>y")]),
        ("<a/b='1'c=\"2\">", [("b", "1"), ("c", "2")]),
        ("<a href=''>", [("href", "")]),
        ('<a href="x', [("href", "x")]),
    ],
)  # fmt: skip
def test_markup_attributes_are_read_as_browsers_read_them(source: str, attributes: list[tuple[str, str]]) -> None:
    """Quotes of both kinds or none, white space around =, and what is never closed."""
    token = next(read_markup(source))
    assert token.kind is TokenKind.START
    assert [(a.name, a.value) for a in token.attributes] == attributes
    assert all(source[a.start : a.end] == a.value for a in token.attributes)


@given(st.text(alphabet="{}%#-+ \n\"'\\ab|.*[](),=0é", max_size=60))
def test_pieces_of_a_template_are_its_source(source: str) -> None:
    """Every piece stands where it says; without comments and raw blocks nothing is lost."""
    try:
        pieces = split_template(source)
    except SyntaxBroken:
        return
    for piece in pieces:
        assert source[piece.start : piece.start + len(piece.text)] == piece.text
        assert all(source[token.start : token.end] == token.text for token in piece.tokens)
    if "{#" not in source:
        assert "".join(piece.text for piece in pieces) == source


@pytest.mark.parametrize("source", ["{{ '}}' }}", '{{ "a\\"}}" }}', "{%- if x -%}", "{{ a.b['c'] }}"])
def test_expression_ends_where_its_strings_allow(source: str) -> None:
    """Braces in a string do not end an expression."""
    (piece,) = split_template(source)
    assert piece.text == source
    assert piece.kind is not PieceKind.TEXT


def test_protected_source_finds_lines_and_restores_itself() -> None:
    """Lines of the source survive syntax of several lines; restoring gives the source back, guarded."""
    source = "one {{ a\n}} two\n<p>{% if b\n %}three hbq0z\nfour{% endif %}"
    protected = ProtectedSource(source, split_template(source), markup=True)
    assert "{" not in protected.text
    assert [protected.line(protected.text.index(word)) for word in ("one", "two", "three", "four")] == [1, 2, 4, 5]
    assert protected.restore_all() == source


@given(st.text(alphabet=st.characters(min_codepoint=0x21, exclude_characters="\x7f", exclude_categories=["Cs"])))
def test_destination_survives_the_link(rest: str) -> None:
    """What the renderer puts in, the tracker takes out."""
    url = f"https://{rest}/"
    assert read_destination(write_destination(url)) == url


@pytest.mark.parametrize(
    "encoded", ["", "=", "a", "aHR0cA", write_destination("javascript:1"), "x" * 6000, "あ", "____"]
)
def test_destination_that_is_none_is_refused(encoded: str) -> None:
    """The tracker leads to web addresses only, whatever it is given."""
    with pytest.raises(ValueError, match=r".+"):
        read_destination(encoded)
