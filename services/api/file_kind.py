"""The kinds of file that the API gives out as a stream."""

from enum import StrEnum
from typing import assert_never


class FileKind(StrEnum):
    """What kind of file."""

    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        match self:
            case FileKind.CSV:
                return "text/csv; charset=utf-8"
            case FileKind.NDJSON:
                return "application/x-ndjson"
            case _:
                assert_never(self)
