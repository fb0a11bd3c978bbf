"""Contacts and errors out of rows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.attribute import AttributeType, Definition
from services.api.imports.columns import TypedColumn
from services.api.imports.contact_rows import RowRefused, moment_of
from services.api.imports.csv_rows import Contact, CsvRows, FileRefused, RowError


def read(content: bytes, encoding: str = "utf-8") -> list[Contact | RowError]:
    """Everything that a file has."""
    reader = CsvRows(encoding)
    return reader.feed(content) + reader.finish()


LINES = st.text(alphabet=st.sampled_from("ab@.,;\t \r\x00　表ソé\\1"), max_size=12).map(
    "u@x.example,{}".format
) | st.text(alphabet=st.sampled_from("ab@.,;\t \r\x00　表ソ"), max_size=12)


@given(
    st.lists(LINES, max_size=12),
    st.sampled_from(["email,x", "x,email", "email", "mail,name,氏名", "email,locale"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "cp932"]),
    st.binary(max_size=3).filter(lambda noise: b'"' not in noise),
)
def test_lines_without_quotes_read_many_at_a_time_are_as_one_by_one(
    lines: list[str], header: str, end: str, encoding: str, noise: bytes
) -> None:
    """The short way for files without quotes gives the contacts, errors and line numbers of the long one, to the letter.

    The long way is taken by all lines together as soon as one of them, here the last, has a quote.
    """
    body = end.join(lines).encode(encoding, "replace") + noise + end.encode()
    quoted = b'q@x.example,"q"\n'
    short, long = CsvRows(encoding), CsvRows(encoding)
    for reader in (short, long):
        reader.feed(f"{header}\n".encode(encoding))
    found = short.feed(body) + short.feed(quoted)
    assert found == long.feed(body + quoted)
    assert short.finish() == long.finish()


@given(st.lists(LINES, max_size=12), st.integers(1, 40))
def test_rows_whatever_the_chunks_are_the_same(lines: list[str], size: int) -> None:
    """Where the file is cut says nothing, whichever way its lines are read."""
    content = ("email,x\n" + "\n".join(lines) + '\nv@x.example,"q"\nw@x.example,1').encode()
    reader = CsvRows("utf-8")
    found = [item for at in range(0, len(content), size) for item in reader.feed(content[at : at + size])]
    assert found + reader.finish() == read(content)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30), max_size=10))
def test_every_row_is_a_contact_or_an_error(cells: list[str]) -> None:
    """No text breaks the file: what is read is as many rows as there are, each one or the other."""
    lines = ["".join(c for c in cell if c not in '\n\r"') for cell in cells]
    found = read(("email,x\n" + "".join(f"u{n}@x.example,{line}\n" for n, line in enumerate(lines))).encode())
    assert len(found) == len(cells)
    assert [item.line for item in found] == list(range(2, len(cells) + 2))


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        (b"a@b.example", "column_count", ""),
        (b"a@b.example,1,2", "column_count", ""),
        (b"a..b@example.com,1", "misplaced_dot", "email"),
        (b"\xef\xbc\xa1@b.example,1", "fullwidth_character", "email"),
        (b",1", "empty", "email"),
        (b"a@b.example,\x00", "nul_character", "x"),
        (b"a@b.example,\xff", "undecodable", ""),
        (b'"a@b.example"z,1', "malformed", ""),
        (b"a@b.example,1\r2", "malformed", ""),
        (b"a@b.example," + b"x" * 10_001, "value_too_long", "x"),
    ],
)
def test_wrong_row_says_where_and_why(row: bytes, reason: str, column: str) -> None:
    """The reason is stable, the column named, and the rows around it are read."""
    found = read(b"email,x\nu@x.example,1\n" + row + b"\nv@x.example,2\n")
    assert [type(item) for item in found] == [Contact, RowError, Contact]
    assert isinstance(found[1], RowError)
    assert (found[1].line, found[1].reason, found[1].column) == (3, reason, column)
    assert len(found[1].value) <= 200


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no header"),
        (b"\n\r\n\n", "no header"),
        (b"name,company\nx,y\n", "name, company"),
        (b"email,mail\n", "one column"),
        (b"email,a,a\n", "name of its own"),
        (b"email,\n", "name of its own"),
        (b"email,_hb_x\n", "_hb"),
        (b"email,a\x00b\n", "name of its own"),
        (b"email," + b",".join(b"c%d" % n for n in range(100)) + b"\n", "101 columns"),
        (b"email\ra@b.example\r", "LF or CRLF"),
        ("taro@x.example,田中".encode(), "^The first line has an address where the names of columns belong: put a"),
        (b"\xff\xfee\x00m\x00", "UTF-8"),
        (b'"email\n', "not closed"),
        (b"x" * 2_000_000, "1 MiB"),
    ],
)
def test_unusable_header_says_what_to_do(content: bytes, word: str) -> None:
    """The file is refused as a whole, with a sentence."""
    with pytest.raises(FileRefused, match=word):
        read(content)


def test_what_is_remembered_of_a_column_is_bounded() -> None:
    """Values that repeat are read once; a file of long or ever new ones does not fill the memory."""
    column = TypedColumn("n", Definition(name="n", type=AttributeType.STRING, max_chars=10_000))
    for number in range(10_000):
        column.value("n", str(number))
    column.value("n", "x" * 10_000)
    assert 0 < len(column._seen) <= 4096
    assert max(map(len, column._seen)) <= 32


def test_name_has_no_control_characters() -> None:
    """As the API has it: what a terminal or a mail program takes for a command is left out, whatever the way of reading."""
    for name in ("A\x1bd\x7fa\x85", '"A\x1bd\x7fa\x85"'):
        (contact,) = read(f"email,name\na@b.example,{name}\n".encode())
        assert isinstance(contact, Contact)
        assert contact.name == "Ada"


def test_header_of_excel_in_japan_is_understood() -> None:
    """BOM, quotes, Japanese names in any order, a tab or semicolon between."""
    for sign in "\t;,":
        content = (
            "\ufeff"
            + sign.join(['"会社"', "氏名", "メールアドレス"])
            + "\r\n"
            + sign.join(["①社", " 髙橋　次郎 ", "A@B.example"])
        )
        (contact,) = read(content.encode())
        assert isinstance(contact, Contact)
        assert (contact.address, contact.key, contact.name) == ("A@B.example", "a@b.example", "髙橋 次郎")
        assert contact.attributes == {"会社": "①社"}


def test_long_line_without_quotes_is_read_or_refused_as_ever() -> None:
    """What is too long for a row or a value is an error on the short way, too, and the next row is read."""
    reader = CsvRows("utf-8")
    reader.feed(b"email,x\n")
    found = reader.feed(b"a@b.example," + b"x" * 10_001 + b"\nc@d.example,1\n")
    assert [getattr(item, "reason", "") for item in found] == ["value_too_long", ""]
    found = reader.feed(b"a@b.example," + b"x" * 1_100_000) + reader.feed(b"\nc@d.example,1\n")
    assert [(item.line, getattr(item, "reason", "")) for item in found] == [(4, "line_too_long"), (5, "")]


def test_empty_cells_are_no_attributes() -> None:
    """What the file leaves empty is not said, so it cannot overwrite what is known."""
    (contact,) = read(b"email,name,locale,x\na@b.example,,,\n")
    assert isinstance(contact, Contact)
    assert (contact.name, contact.locale, contact.attributes) == ("", "", {})


def test_day_of_consent_may_be_today_wherever_that_has_begun() -> None:
    """Japan writes a day nine hours before UTC does: that counts as now; the day after is refused, a clock's minutes not."""
    now = datetime.now(UTC)
    farthest = (now + timedelta(hours=14)).date()
    found = moment_of("on", f"{farthest:%Y/%m/%d}")
    assert found is not None
    assert found <= datetime.now(UTC)
    soon = moment_of("on", f"{now + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}")
    assert soon is not None
    assert soon <= datetime.now(UTC)
    for ahead in (f"{farthest + timedelta(days=1):%Y-%m-%d}", f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"):
        with pytest.raises(RowRefused, match="date_in_the_future"):
            moment_of("on", ahead)
