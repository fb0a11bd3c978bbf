"""States of an import or export job, the modes of an import, and every move between states.

Promises: ``IMPORT_TRANSITIONS`` and ``EXPORT_TRANSITIONS`` are the only tables of moves; the values are stored, and
part of the API. Fails: never.
"""

from enum import StrEnum


class TransferState(StrEnum):
    """Where a job stands."""

    PREVIEW = "preview"  # uploaded and looked at; waits for a person to start it
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker has it, or had it and died: then another takes it up
    COMPLETED = "completed"
    FAILED = "failed"  # could not be done as a whole; the reason is a sentence
    CANCELLED = "cancelled"  # stopped by a person; what was merged before stays
    EXPIRED = "expired"  # an export whose file was dropped


T = TransferState

IMPORT_TRANSITIONS: dict[TransferState, frozenset[TransferState]] = {
    T.PREVIEW: frozenset({T.QUEUED, T.CANCELLED}),
    T.QUEUED: frozenset({T.RUNNING, T.CANCELLED}),
    T.RUNNING: frozenset({T.COMPLETED, T.FAILED, T.CANCELLED, T.PREVIEW}),  # back to the preview: a dry run
    T.COMPLETED: frozenset(),
    T.FAILED: frozenset(),
    T.CANCELLED: frozenset(),
}

EXPORT_TRANSITIONS: dict[TransferState, frozenset[TransferState]] = {
    T.QUEUED: frozenset({T.RUNNING, T.CANCELLED}),
    T.RUNNING: frozenset({T.COMPLETED, T.FAILED, T.CANCELLED}),
    T.COMPLETED: frozenset({T.EXPIRED}),
    T.FAILED: frozenset(),
    T.CANCELLED: frozenset(),
    T.EXPIRED: frozenset(),
}


class ImportMode(StrEnum):
    """What becomes of a row."""

    INSERT = "insert"
    """A new contact; whoever exists stays as they are, and is told as a row error ``exists``."""
    UPDATE = "update"
    """A change of who exists; unknown addresses are told as row errors ``unknown``."""
    UPSERT = "upsert"
    """Either."""
    UNSUBSCRIBE = "unsubscribe"
    """Off the list, or, without a list, no mail at all; also for addresses that are no contacts."""


class ExportSubject(StrEnum):
    """What an export is of."""

    CONTACTS = "contacts"
    LIST_MEMBERS = "list_members"
    SUPPRESSIONS = "suppressions"
    CONSENTS = "consents"
    CAMPAIGN_MESSAGES = "campaign_messages"
    EVENTS = "events"


def leading_to(table: dict[TransferState, frozenset[TransferState]], state: TransferState) -> list[str]:
    """The states from which a move leads to ``state``, for the WHERE of the statement that makes it."""
    return sorted(before.value for before, after in table.items() if state in after)
