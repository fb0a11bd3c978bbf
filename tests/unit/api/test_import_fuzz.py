"""Files that are imported, under inputs made from small files in every form."""

import pytest

from services.api.imports.csv_rows import CsvRows
from tests.fuzz.__main__ import fuzz
from tests.fuzz.import_files import feed_import, import_seeds


@pytest.mark.parametrize("name", ["import", "mapping"])
def test_import_fuzz_short_form_finds_nothing(name: str) -> None:
    """Some thousand inputs: no crash, every row a contact or an error, none over time."""
    assert fuzz(name, 2_000, 1) == ""


def test_import_fuzz_names_the_input_that_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were rows lost at the end of a file, the fuzz would say so."""
    monkeypatch.setattr(CsvRows, "finish", lambda _self: [])
    assert fuzz("import", 2_000, 1).startswith("import, seed 1, input ")


def test_import_seeds_are_read_without_a_word() -> None:
    """What inputs are made from keeps the promises itself."""
    for content in import_seeds():
        feed_import(content)
