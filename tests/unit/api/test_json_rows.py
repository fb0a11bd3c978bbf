"""NDJSON: contacts and errors out of lines."""

from codecs import BOM_UTF8

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hayabin.domain.attribute import AttributeType, Definition
from services.api.imports.contact_rows import Contact, RowError
from services.api.imports.json_rows import JsonRows
from services.api.imports.vocabulary import Vocabulary

KNOWN = Vocabulary({"age": Definition(name="age", type=AttributeType.NUMBER, label_ja="年齢")})


def read(content: bytes, size: int = 1 << 20, **options: object) -> list[Contact | RowError]:
    """Everything that a file has."""
    reader = JsonRows(**options)  # type: ignore[arg-type]
    found = [item for at in range(0, len(content), size) for item in reader.feed(content[at : at + size])]
    return found + reader.finish()


def test_object_is_read_like_a_row_and_like_an_answer_of_the_api() -> None:
    """Members by their names, an object of attributes, JSON types where nothing is defined, typed where it is."""
    lines = (
        b'{"email": "A@b.example", "name": " Ada  L. ", "locale": "en", "n": 1.5, "tags": ["x"], "age": "\xef\xbc\x92"}\n'
        b'\n{"email": "c@d.example", "attributes": {"city": "Oslo", "age": 7, "none": null}, "stage": "won"}'
    )
    one, two = read(lines, vocabulary=KNOWN)
    assert isinstance(one, Contact)
    assert isinstance(two, Contact)
    assert (one.key, one.name, one.locale, one.attributes) == ("a@b.example", "Ada L.", "en",
                                                               {"n": 1.5, "tags": ["x"], "age": 2})  # fmt: skip
    assert (two.line, two.stage, two.attributes) == (3, "won", {"city": "Oslo", "age": 7})


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        (b"nonsense", "malformed", ""),
        (b"[1]", "not_an_object", ""),
        (b"{}", "empty", "email"),
        (b'{"email": 7}', "not_a_string", "email"),
        (b'{"email": "a..b@example.com"}', "misplaced_dot", "email"),
        (b'{"email": "a@b.example", "age": "old"}', "not_a_number", "age"),
        (b'{"email": "a@b.example", "x": "\\u0000"}', "nul_character", "x"),
        (b'{"email": "a@b.example", "x": [[[[[[[[[1]]]]]]]]]}', "invalid_value", "x"),
        (b'{"email": "a@b.example", "_hb_x": 1}', "invalid_name", "_hb_x"),
        (b'{"email": "a@b.example", "time zone": "Mars/Olympus"}', "unknown_time_zone", "time zone"),
        (b'{"email": "a@b.example", "x": "' + b"y" * 10_001 + b'"}', "value_too_long", "x"),
        (b'{"email": "' + b"a" * 1_100_000 + b'"}', "line_too_long", ""),
        (b"\xff", "malformed", ""),
        (b"[" * 5000, "malformed", ""),
        (b'{"email": ' + b"[" * 1020 + b"]" * 1020 + b"}", "not_a_string", "email"),
        (b'{"email": "a@b.example", "x": ' + b"[" * 1020 + b"]" * 1020 + b"}", "invalid_value", "x"),
        (b'{"email": "a@b.example", "age": ' + b"[" * 1020 + b"]" * 1020 + b"}", "not_a_number", "age"),
        (b'{"email": "a@b.example", "a\\u0000b": 1}', "invalid_name", "ab"),
        (b'{"email": "a@b.example", "mail": "c@d.example"}', "ambiguous", "mail"),
        (b'{"email": "a@b.example", "age": 1, "\xe5\xb9\xb4\xe9\xbd\xa2": 2}', "ambiguous", "\u5e74\u9f62"),
    ],
)
def test_wrong_line_says_where_and_why(line: bytes, reason: str, column: str) -> None:
    """The reason is stable, the member named, and the lines around it are read."""
    found = read(b'{"email":"u@x.example"}\n' + line + b'\n{"email":"v@x.example"}', vocabulary=KNOWN)
    assert [type(item) for item in found] == [Contact, RowError, Contact]
    assert isinstance(found[1], RowError)
    assert (found[1].line, found[1].reason, found[1].column) == (2, reason, column)
    assert len(found[1].value) <= 200


LINES = st.one_of(
    st.binary(max_size=20).map(lambda noise: noise.replace(b"\n", b"")),
    st.sampled_from([b'{"email":"a@b.example"}', b'{"email":"a@b.example","x":"1"}', b'{"email":null}', b"{", b" "]),
)


@given(st.lists(LINES, max_size=10), st.integers(1, 30))
@example([BOM_UTF8 + b" ", b"{"], 1)
def test_every_line_is_a_contact_or_an_error_whatever_the_pieces(lines: list[bytes], size: int) -> None:
    """Lines that are not empty are as many as items, in order, however the file is cut; a byte order mark is no text."""
    content = b"\n".join(lines)
    lines = content.removeprefix(BOM_UTF8).split(b"\n")
    found = read(content)
    assert found == read(content, size)
    assert [item.line for item in found] == [number for number, line in enumerate(lines, 1) if line.strip()]


def test_mark_alone_on_the_first_line_is_an_empty_line() -> None:
    """A byte order mark is no row."""
    (contact,) = read(b'\xef\xbb\xbf\n{"email":"a@b.example"}\n')
    assert (type(contact), contact.line) == (Contact, 2)
