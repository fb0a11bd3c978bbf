"""The ledger's part of an erasure: what waits is suppressed, what was sent is nobody's any more.

Promises: rows keep what numbers are made of (state, reason, codes, times), so that reports stay right, and lose whose
they are: address, snapshot, replies, transcript, details of events. A row that a dispatcher has in hand is left until
its outcome is there, and looked at again; so is one whose outcome is younger than ``SETTLE_S``, as its transcript may
be on the way. Once no row has the address any more and every transaction is through that may have seen it, what these
wrote goes, too; whoever writes after that sees that the row is nobody's (``hayabin.database.erasing``).
Fails: database errors come out; that page is done again.
"""

from collections.abc import Sequence
from typing import Final

from hayabin.database import ledger
from hayabin.domain.message import WAITING, MessageState
from services.api.people_jobs.erase_contact import forget_traces, note_transaction, stand_in
from services.api.people_jobs.jobs import Became, Job
from services.api.people_jobs.person import Person, ledger_page

SETTLE_S: Final = 10.0
PAGES_A_TURN: Final = 5

_RECENT_SQL = """
SELECT id, state FROM messages
WHERE id = ANY($1) AND (state = 'claimed' OR (state <> 'suppressed' AND changed_at > now() - make_interval(secs => $2)))
ORDER BY id"""

_MESSAGES_SQL = "UPDATE messages SET address_key = $2 WHERE id = ANY($1) AND address_key <> $2"
_RECIPIENTS_SQL = """
UPDATE recipients SET wire = '', name = '', variables = '{}', contact_id = 0
WHERE message_id = ANY($1) AND (wire <> '' OR name <> '' OR contact_id <> 0)"""
_ATTEMPTS_SQL = """
UPDATE attempts SET reply = NULL, mx = NULL, address = NULL, lane = CASE WHEN lane NOT LIKE 'mx:%' THEN lane END
WHERE message_id = ANY($1) AND (reply IS NOT NULL OR mx IS NOT NULL OR address IS NOT NULL)"""
_TRANSCRIPTS_SQL = "DELETE FROM transcripts WHERE message_id = ANY($1)"
_EVENTS_SQL = "UPDATE events SET detail = '' WHERE message_id = ANY($1) AND detail <> ''"


async def next_pages(job: Job) -> bool:
    """Some pages of the ledger, from where the job is; false where there are no more."""
    person = Person.from_notes(job.tenant_id, job.notes)
    for _ in range(PAGES_A_TURN):
        page = await ledger_page(job.connection, person, int(job.notes.get("through", 0)))
        waiting = [i for i, state in page.states.items() if state in WAITING]
        if waiting:
            await ledger.move(job.connection, waiting, MessageState.SUPPRESSED, "erased")
        job.notes["messages"] = [*job.notes.get("messages", []), *page.ids]
        await anonymise(job, await _settled(job, page.ids))
        job.notes["through"] = page.through_id
        if page.last:
            return False
    return True


async def look_again(job: Job) -> bool:
    """Anonymise what was in somebody's hands; true while some of it still is."""
    ids: list[int] = job.notes.get("messages", [])
    settled = await _settled(job, ids)
    await anonymise(job, settled)
    await note_transaction(job)
    return len(settled) < len(ids)


async def forget_late(job: Job) -> None:
    """Anonymise what was written by whoever had seen the address in the ledger."""
    await anonymise(job, job.notes.get("messages", []))
    await forget_traces(job, Person.from_notes(job.tenant_id, job.notes))


async def _settled(job: Job, ids: Sequence[int]) -> list[int]:
    recent = {row["id"] for row in await job.connection.fetch(_RECENT_SQL, list(ids), SETTLE_S)}
    return [i for i in ids if i not in recent]


async def anonymise(job: Job, ids: Sequence[int]) -> None:
    """Take from rows of the ledger, and from what belongs to them, whose they are."""
    if not ids:
        return
    some = list(ids)
    await job.run("messages", Became.ANONYMISED, _MESSAGES_SQL, some, stand_in(job))
    await job.run("recipients", Became.ANONYMISED, _RECIPIENTS_SQL, some)
    await job.run("attempts", Became.ANONYMISED, _ATTEMPTS_SQL, some)
    await job.run("transcripts", Became.ERASED, _TRANSCRIPTS_SQL, some)
    await job.run("events", Became.ANONYMISED, _EVENTS_SQL, some)
