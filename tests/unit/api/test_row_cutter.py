"""Rows out of bytes: whatever the quotes, the chunks and the lengths are."""

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.imports.row_cutter import MAX_ROW_BYTES, BrokenRow, Row, RowCutter

CELLS = st.text(alphabet=st.sampled_from('ab,";\t\r\n 表ソ'), max_size=8)
TABLES = st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8)


def cut(content: bytes, size: int = 1 << 18) -> list[Row | BrokenRow]:
    """All rows, fed in chunks of a size."""
    cutter = RowCutter()
    found = [row for at in range(0, len(content), size) for row in cutter.feed(content[at : at + size])]
    return found + list(cutter.finish())


@given(st.binary(max_size=200) | st.text(alphabet='a",\n\r', max_size=60).map(str.encode), st.integers(1, 20))
def test_rows_whatever_the_chunks_are_the_same(content: bytes, size: int) -> None:
    """Where the network happened to cut the file says nothing."""
    assert cut(content, size) == cut(content)


@given(TABLES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["utf-8", "cp932"]))
def test_rows_of_a_written_table_are_its_rows(table: list[list[str]], end: str, encoding: str) -> None:
    """What the standard library writes comes out row by row, quoted line ends, quotes and delimiters included."""
    header = ["email", "b", "c"]
    if end == "\n":  # the writer quotes a CR only where it is part of its line end
        table = [[cell.replace("\r", "") for cell in row] for row in table]
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=end).writerows([header, *table])
    rows = cut(written.getvalue().encode(encoding))
    assert all(isinstance(row, Row) for row in rows)
    read = [next(csv.reader([row.content.decode(encoding)])) for row in rows if isinstance(row, Row)]
    assert read == [header, *table]


@given(st.binary(max_size=300))
def test_rows_account_for_every_line(content: bytes) -> None:
    """A line is in a row, in a broken row, or empty: none is lost without a word."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = content.split(b"\n")
    told: set[int] = set()
    for row in cut(content):
        last = row.last_line if isinstance(row, BrokenRow) else row.line + row.content.count(b"\n")
        told |= set(range(row.line, last + 1))
    assert all(number in told for number, line in enumerate(lines, 1) if line.strip(b"\r"))


def test_quote_inside_a_value_opens_nothing() -> None:
    """``5" disk`` is a value; the rows after it are rows."""
    rows = cut(b'email,x\na@b.example,5" disk\nc@d.example,"6"" disk"\ne@f.example,7\n')
    assert [row.line for row in rows] == [1, 2, 3, 4]


def test_unclosed_quote_says_which_lines_it_swallowed() -> None:
    """At the end of the file, and where a row grows over the limit; in the second case the rest is read on."""
    assert cut(b'email\n"a\nb\nc')[1:] == [BrokenRow(2, 4, "unclosed_quote")]
    filler = b"x" * 1000 + b"\n"
    rows = cut(b'email\n"a\n' + filler * 1100 + b"z@b.example\n")
    assert isinstance(rows[1], BrokenRow)
    assert (rows[1].line, rows[1].reason) == (2, "unclosed_quote")
    assert rows[1].last_line == pytest.approx(2 + MAX_ROW_BYTES / 1001, abs=2)
    assert rows[-1] == Row(1103, b"z@b.example")


def test_line_over_the_limit_is_forgotten_alone() -> None:
    """A line of 10 MB, also as the last one without an end, costs itself and nothing else."""
    long = b"y" * 10_000_000
    assert cut(b"email\n" + long + b"\na@b.example\n")[1:] == [
        BrokenRow(2, 2, "line_too_long"), Row(3, b"a@b.example")]  # fmt: skip
    assert cut(b"email\na@b.example\n" + long)[1:] == [Row(2, b"a@b.example"), BrokenRow(3, 3, "line_too_long")]


@pytest.mark.parametrize("line", [b"\n", b'a"b,"\n', b'""\n', b'"\n', b',"\n'])
def test_time_is_linear_in_the_bytes(line: bytes) -> None:
    """Files made to be slow are not: a quote left open before a million short lines, and its relatives."""
    content = b'email,b\n"' + line * (1_200_000 // len(line))
    started = time.process_time()
    cut(content)
    assert time.process_time() - started < 4
