"""What the import benchmark works out (``benchmarks.csv_import_parts``)."""

from pathlib import Path

import pytest

from benchmarks.csv_import_parts.people_csv import write_people
from benchmarks.csv_import_parts.profile import own_time


@pytest.mark.parametrize("rows", [0, 1, 49, 50, 51, 5_000, 12_345])
def test_people_file_has_as_many_rows_and_addresses_as_it_says(tmp_path: Path, rows: int) -> None:
    """The benchmark holds the import to these counts, so they must be those of the file."""
    people = write_people(tmp_path / "people.csv", rows)
    lines = people.path.read_text().splitlines()[1:]
    assert len(lines) == people.rows == rows
    assert len({line.partition(",")[0].lower() for line in lines}) == people.addresses
    assert people.size_bytes == len(people.path.read_bytes())


def test_own_time_counts_the_innermost_function_of_each_stack() -> None:
    """Shares are of all samples; a name with a blank in it is whole."""
    stacks = "main;run;parse (csv.py:3) 6\nmain;run;copy (db.py:9) 3\nmain;parse (csv.py:3) 1\n"
    assert own_time(stacks) == [
        {"function": "parse (csv.py:3)", "percent": 70.0},
        {"function": "copy (db.py:9)", "percent": 30.0},
    ]
