"""The erasure of one person, step by step.

Promises: each step is a transaction, or a few, and may be done again; a job that is broken off goes on with the step
that it was at. A step that has to wait for somebody else (a dispatcher's outcome, an import under way, an older
transaction) gives the worker back and is asked again a little later. The certificate is written with the end.
Fails: database errors come out; see ``jobs``.
"""

from enum import StrEnum
from typing import assert_never

from hayabin.broker import Broker
from services.api.people_jobs import certificate
from services.api.people_jobs.erase_belt import clear_parked, clear_tables
from services.api.people_jobs.erase_contact import (
    close_the_gate,
    others_are_through,
    remove_contact,
    replace_suppressions,
)
from services.api.people_jobs.erase_files import forget_exports, forget_imports
from services.api.people_jobs.erase_ledger import forget_late, look_again, next_pages
from services.api.people_jobs.erase_papers import drop_quarantined, forget_answers, forget_import_errors
from services.api.people_jobs.jobs import Job
from services.api.people_jobs.mentions import Mentions

WAIT_S = 2.0

_END_SQL = """
UPDATE person_jobs SET state = 'completed', step = '', finished_at = now(), address_key = NULL,
    notes = '{}', reason = $2, counts = $3, error = NULL WHERE id = $1 RETURNING finished_at"""
_CERTIFY_SQL = "UPDATE person_jobs SET certificate = $2 WHERE id = $1"


class Step(StrEnum):
    """What an erasure does, in order; the value is stored."""

    GATE = "gate"
    CONTACT = "contact"
    OTHERS = "others"  # transactions that began before
    CONTACT_AGAIN = "contact_again"
    LEDGER = "ledger"
    UNDER_WAY = "under_way"  # rows that somebody had in hand
    OTHERS_AGAIN = "others_again"  # transactions that began before the ledger was anonymous
    LATE = "late"  # what these wrote: a report, an opening, an unsubscribe
    BELT = "belt"
    PARKED = "parked"  # apart: the embedded belt's own connection must not wait for this one's locks
    ANSWERS = "answers"
    QUARANTINE = "quarantine"
    IMPORT_ERRORS = "import_errors"
    IMPORTS = "imports"
    EXPORTS = "exports"
    SUPPRESSIONS = "suppressions"
    CERTIFY = "certify"


_FOLLOWING = dict(zip(Step, list(Step)[1:], strict=False))


async def take_step(job: Job, broker: Broker | None) -> bool:
    """Do the job's next step in a transaction; false once all is done, or where it has to wait (``job.waits_s``)."""
    step = Step(job.step or Step.GATE)
    job.waits_s = 0.0
    async with job.connection.transaction():
        if step is Step.CERTIFY:
            await _end(job)
            return False
        stays = await _do(step, job, broker)
        await job.save(step if stays else _FOLLOWING[step])
    return job.waits_s == 0.0


async def _do(step: Step, job: Job, broker: Broker | None) -> bool:  # noqa: C901, PLR0912 - a table of steps
    """Do a step; true where it is not over."""
    match step:
        case Step.GATE:
            await close_the_gate(job)
        case Step.CONTACT | Step.CONTACT_AGAIN:
            await remove_contact(job)
        case Step.OTHERS | Step.OTHERS_AGAIN:
            return _waits(job, not await others_are_through(job))
        case Step.LEDGER:
            return await next_pages(job)
        case Step.UNDER_WAY:
            return _waits(job, await look_again(job))
        case Step.LATE:
            await forget_late(job)
        case Step.BELT:
            await clear_tables(job)
        case Step.PARKED:
            if broker is not None:
                await clear_parked(job, broker)
        case Step.ANSWERS:
            await forget_answers(job)
        case Step.QUARANTINE:
            await drop_quarantined(job)
        case Step.IMPORT_ERRORS:
            await forget_import_errors(job)
        case Step.IMPORTS:
            return _waits(job, await forget_imports(job))
        case Step.EXPORTS:
            return _waits(job, await forget_exports(job))
        case Step.SUPPRESSIONS:
            await replace_suppressions(job)
        case Step.CERTIFY:
            pass
        case _:
            assert_never(step)
    return False


def _waits(job: Job, waits: bool) -> bool:
    job.waits_s = WAIT_S if waits else 0.0
    return waits


async def _end(job: Job) -> None:
    mentions = Mentions([job.address_key, *job.notes.get("written", [])])
    finished_at = await job.connection.fetchval(_END_SQL, job.id, mentions.without(job.reason, "[erased]"), job.counts)
    issued = certificate.issue(
        job_id=job.id,
        address_hash=job.hash,
        requested_at=job.created_at,
        started_at=job.started_at,
        finished_at=finished_at,
        counts=job.counts,
    )
    await job.connection.execute(_CERTIFY_SQL, job.id, issued)
