"""A job that a worker has: what it is to do, and what it writes down of how far it is.

Promises: each note is a statement of its own or part of the page it speaks of, and a sign of life; at most
``MAX_KEPT_ERRORS`` row errors are kept, all are counted.
Fails: ``Cancelled`` once the job is no longer this worker's to do; database errors come out.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from hayabin.database.consent import Evidence
from hayabin.database.engine import Connection
from hayabin.domain.consent import ConsentAction, ConsentBasis
from hayabin.domain.transfer import IMPORT_TRANSITIONS, ImportMode, TransferState, leading_to
from services.api.imports.contact_rows import RowError
from services.api.imports.file_form import FileForm
from services.api.imports.merging import Merged

SLICE_BYTES: Final = 512 * 1024
"""What is parsed at a time; bounds the rows in memory: those of two such parts."""
MAX_KEPT_ERRORS: Final = 100_000
LEFT_OUT: Final = ("exists", "unknown", "erased")
"""Reasons that the merge gives; they are counted apart, and stay when the file is read again."""

_READ_SQL = """
UPDATE import_jobs SET rows_read = rows_read + $2, rows_invalid = rows_invalid + $3, bytes_read = bytes_read + $4,
    heartbeat_at = now() WHERE id = $1 AND state = 'running' RETURNING true"""

_MERGED_SQL = """
UPDATE import_jobs SET people_merged = people_merged + $2, rows_imported = rows_imported + $3,
    rows_exists = rows_exists + $4, rows_unknown = rows_unknown + $5, rows_erased = rows_erased + $6,
    rows_unsubscribed = rows_unsubscribed + $7, rows_kept_unsubscribed = rows_kept_unsubscribed + $8,
    merged_through = $9, heartbeat_at = now()
WHERE id = $1 AND state = 'running' RETURNING true"""

_PEOPLE_SQL = """
UPDATE import_jobs SET people = $2, rows_duplicate = rows_read - rows_invalid - $2, heartbeat_at = now()
WHERE id = $1 AND state = 'running' RETURNING true"""

_END_SQL = """
UPDATE import_jobs SET state = $2, finished_at = CASE WHEN $2 = 'completed' THEN now() END, heartbeat_at = now()
WHERE id = $1 AND state = ANY($3) RETURNING true"""

_ERRORS_SQL = """
INSERT INTO import_errors (job_id, line, column_name, reason, value)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING"""


class Cancelled(Exception):
    """Somebody cancelled the job, or another worker has it."""


@dataclass(slots=True)
class Job:
    """See the module."""

    connection: Connection
    id: int
    tenant_id: int
    list_id: int | None
    form: FileForm | None
    """None: of a release that did not say; to be found out."""
    filename: str
    mode: ImportMode
    mapping: Mapping[str, str] | None
    consent: Mapping[str, Any]
    dry_run: bool
    merged_through: str
    kept_errors: int = field(default=0)

    def evidence(self) -> Evidence:
        """How we know that the people of this file want mail, or do not."""
        at = self.consent.get("at")
        opt_out = self.mode is ImportMode.UNSUBSCRIBE
        return Evidence(
            action=ConsentAction.OPT_OUT if opt_out else ConsentAction.OPT_IN,
            basis=ConsentBasis(self.consent.get("basis") or (ConsentBasis.IMPORT if opt_out else "unspecified")),
            source=f"import:{self.id}",
            wording=self.consent.get("wording") or "",
            note=self.consent.get("source") or "",
            occurred_at=datetime.fromisoformat(at) if at else None,
        )

    async def slices(self) -> AsyncIterator[bytes]:
        """The file, in small parts."""
        number = 0
        while True:
            chunk: bytes | None = await self.connection.fetchval(
                "SELECT content FROM import_chunks WHERE job_id = $1 AND number = $2", self.id, number
            )
            if chunk is None:
                return
            for start in range(0, len(chunk), SLICE_BYTES):
                yield chunk[start : start + SLICE_BYTES]
            number += 1

    async def forget_reading(self) -> None:
        """Begin anew with the errors of reading; what the merge said stays, as it is not done again."""
        await self.connection.execute(
            "DELETE FROM import_errors WHERE job_id = $1 AND reason <> ALL($2)", self.id, list(LEFT_OUT)
        )
        self.kept_errors = await self.connection.fetchval(
            "SELECT count(*) FROM import_errors WHERE job_id = $1", self.id
        )

    async def note_form(self, form: FileForm) -> None:
        """Say what the file is written in."""
        await self.connection.execute(
            "UPDATE import_jobs SET format = $2, encoding = $3, delimiter = NULLIF($4, '') WHERE id = $1",
            self.id, form.format.value, form.encoding.value, form.delimiter,
        )  # fmt: skip

    async def note_read(self, rows: int, errors: Sequence[RowError], size_bytes: int) -> None:
        """So many rows, of so many bytes, were read, and these are errors."""
        async with self.connection.transaction():
            await self.note_errors(errors)
            await self._note(_READ_SQL, rows, len(errors), size_bytes)

    async def note_people(self, people: int) -> None:
        """All rows are read; they are of so many people."""
        await self._note(_PEOPLE_SQL, people)

    async def note_merged(self, merged: Merged) -> None:
        """A page was merged; in its transaction."""
        await self.note_errors(merged.errors)
        await self._note(
            _MERGED_SQL, merged.rows, merged.imported, merged.exists, merged.unknown, merged.erased,
            merged.unsubscribed, merged.kept_unsubscribed, merged.through,
        )  # fmt: skip

    async def note_end(self) -> None:
        """Done; a dry run goes back to where it can be started, with its file."""
        state = TransferState.PREVIEW if self.dry_run else TransferState.COMPLETED
        async with self.connection.transaction():
            await self._note(_END_SQL, state.value, leading_to(IMPORT_TRANSITIONS, state))
            if not self.dry_run:
                await self.connection.execute("DELETE FROM import_chunks WHERE job_id = $1", self.id)

    async def note_errors(self, errors: Sequence[RowError]) -> None:
        """Keep what there is room for."""
        some = errors[: max(MAX_KEPT_ERRORS - self.kept_errors, 0)]
        if some:
            await self.connection.execute(
                _ERRORS_SQL,
                self.id,
                [error.line for error in some],
                [error.column for error in some],
                [error.reason for error in some],
                [error.value for error in some],
            )
            self.kept_errors += len(some)

    async def _note(self, sql: str, *values: Any) -> None:
        if not await self.connection.fetchval(sql, self.id, *values):
            raise Cancelled


def job_of(connection: Connection, row: Any) -> Job:
    """The job of a row of ``import_jobs``."""
    form = None
    if row["format"] and row["encoding"]:
        form = FileForm.of(row["format"], row["encoding"], row["delimiter"])
    return Job(
        connection, row["id"], row["tenant_id"], row["list_id"], form, row["filename"], ImportMode(row["mode"]),
        row["mapping"], row["consent"], row["dry_run"], row["merged_through"],
    )  # fmt: skip
