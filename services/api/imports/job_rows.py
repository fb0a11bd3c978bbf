"""How the API shows an import job: what it is, and how far.

Promises: percent grows from 0 to 100, half of it for reading (by bytes), half for merging (by people); what remains is
estimated from the time so far. Fails: never.
"""

from datetime import datetime
from typing import Any, Final

from hayabin.domain.transfer import TransferState
from services.api.imports.job import MAX_KEPT_ERRORS

_SHOWN: Final = (
    "id, list_id, filename, state, mode, format, encoding, delimiter, mapping, consent, dry_run, size_bytes, "
    "bytes_read, rows_read, rows_imported, rows_duplicate, rows_invalid, rows_exists, rows_unknown, rows_erased, "
    "rows_unsubscribed, rows_kept_unsubscribed, error, created_at, started_at, finished_at"
)
COLUMNS: Final = (
    f"{_SHOWN}, people, people_merged, COALESCE(finished_at, now()) AS seen_at, "
    f"GREATEST(rows_invalid + rows_exists + rows_unknown + rows_erased - {MAX_KEPT_ERRORS}, 0) AS errors_not_kept"
)
_HIDDEN: Final = ("people", "people_merged", "seen_at")


def shown_job(row: Any) -> dict[str, Any]:
    """A row of ``COLUMNS`` as the API answers with it."""
    job = {name: value for name, value in row.items() if name not in _HIDDEN}
    percent = _percent(row)
    elapsed_s = _elapsed_s(row["started_at"], row["seen_at"])
    running = row["state"] == TransferState.RUNNING and percent > 0
    job["progress"] = {
        "percent": percent,
        "rows_per_s": round(row["rows_read"] / elapsed_s) if elapsed_s else 0,
        "remaining_s": round(elapsed_s * (100 - percent) / percent) if running else None,
    }
    return job


def _percent(row: Any) -> float:
    if row["state"] == TransferState.COMPLETED:
        return 100.0
    read = min(row["bytes_read"] / row["size_bytes"], 1.0) if row["size_bytes"] else 0.0
    if row["dry_run"]:
        return round(100 * read, 1)
    merged = row["people_merged"] / row["people"] if row["people"] else 0.0
    return round(50 * read + 50 * min(merged, 1.0), 1)


def _elapsed_s(started_at: datetime | None, seen_at: datetime) -> float:
    return 0.0 if started_at is None else max((seen_at - started_at).total_seconds(), 0.001)
