"""Works off jobs about people, one at a time in each scheduler; drops exports whose time is over.

Promises: see ``jobs``. A job that waits for somebody else is put down and taken up again when its time has come, so
that it keeps nobody. Fails: while the database is away, full or otherwise in trouble that passes, that error comes out
and the job stays; any other failure is logged and ends the job as ``failed``, but an erasure: that is tried again.
"""

from hayabin.broker import Broker
from hayabin.database.engine import AWAY, Database, Pool
from hayabin.telemetry.logging import get_logger
from services.api.people_jobs import erase, person_export
from services.api.people_jobs.jobs import Job, Kind, claim, fail, let_go, put_off, session

RETRY_S = 60.0
_EXPIRED_SQL = "UPDATE person_jobs SET result = NULL, expires_at = NULL WHERE expires_at <= now()"


async def run_next_person_job(database: Database, instance: str, broker: Broker | None = None) -> bool:
    """Take up a job and finish it, or go as far as it can go now; False if there is none.

    ``broker``: where messages that were set aside are; without one they are not looked at.
    """
    async with session(database) as connection:
        job = await claim(connection)
        if job is None:
            return False
        log = get_logger().bind(person_job_id=job.id, kind=job.kind, tenant_id=job.tenant_id, worker=instance)
        try:
            while await _step(job, broker):
                pass
            log.info("person_job_waits" if job.waits_s else "person_job_completed", step=job.step)
        except AWAY:
            raise
        except Exception:
            log.exception("person_job_broken", step=job.step)
            await _give_up(job)
        finally:
            await let_go(job)
    return True


async def _step(job: Job, broker: Broker | None) -> bool:
    if job.kind is Kind.ERASE:
        return await erase.take_step(job, broker)
    return await person_export.take_step(job)


async def _give_up(job: Job) -> None:
    """A person who wants to be erased has a right to it: nobody gives that up."""
    if job.kind is Kind.ERASE:
        await put_off(job, RETRY_S, "This is our fault, and it was logged. It is tried again each minute.")
    else:
        await fail(job, "This is our fault, and it was logged. Ask your operator, then ask for the export again.")


async def drop_expired(pool: Pool) -> None:
    """Drop exports whose days are over."""
    await pool.execute(_EXPIRED_SQL)
