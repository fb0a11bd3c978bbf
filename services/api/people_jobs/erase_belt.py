"""What of the person is on its way: in the outbox, on the embedded belt, and among the messages that were set aside.

Promises: a batch of mails that has one of this person is dropped, which loses nobody else's mail: what is due in the
ledger is put on the belt again when its lease ends. Reports that came in (bounces, complaints) lose the person's alone.
Parked messages are looked at on either broker. What is in queues of RabbitMQ is not looked at: nobody can search
there; it is minutes old, and the gate refuses it.
Fails: database errors come out. A belt that is away makes the step wait.
"""

from typing import Final

from hayabin.broker import Broker
from hayabin.broker.interface import PARKED_LIMIT
from hayabin.contracts.codec import decode, encode
from hayabin.contracts.event_pb2 import EventBatch
from hayabin.domain.errors import PoisonMessage
from services.api.people_jobs.jobs import Became, Job
from services.api.people_jobs.mentions import Mentions
from services.api.people_jobs.person import Person

PAGE_ROWS: Final = 50
_TABLES: Final = {
    "outbox": (
        "SELECT id, body, headers FROM outbox WHERE id > $1 ORDER BY id LIMIT $2",
        "DELETE FROM outbox WHERE id = $1",
        "UPDATE outbox SET body = $2 WHERE id = $1",
    ),
    "belt_messages": (
        "SELECT id, body, headers FROM belt_messages WHERE id > $1 ORDER BY id LIMIT $2",
        "DELETE FROM belt_messages WHERE id = $1",
        "UPDATE belt_messages SET body = $2 WHERE id = $1",
    ),
}


async def clear_tables(job: Job) -> None:
    """The outbox and the embedded belt."""
    mentions = Person.from_notes(job.tenant_id, job.notes).mentions()
    for table, (select, delete, update) in _TABLES.items():
        after = 0
        while rows := await job.connection.fetch(select, after, PAGE_ROWS):
            for row in rows:
                if not (mentions.in_bytes(row["body"]) or mentions.in_text(str(row["headers"]))):
                    continue
                others = _without(row["body"], mentions)
                if others is None:
                    await job.run(table, Became.ERASED, delete, row["id"])
                else:
                    await job.run(table, Became.ANONYMISED, update, row["id"], others)
            after = rows[-1]["id"]


async def clear_parked(job: Job, broker: Broker) -> None:
    """Messages that were set aside, on whichever broker."""
    mentions = Person.from_notes(job.tenant_id, job.notes).mentions()
    found = [
        parked.id
        for parked in await broker.parked(PARKED_LIMIT)
        if mentions.in_bytes(parked.body) or mentions.in_text(f"{parked.detail} {parked.headers}")
    ]
    if found:
        job.count("parked", Became.ERASED, await broker.drop_parked(found))


def _without(body: bytes, mentions: Mentions) -> bytes | None:
    """A batch of reports without the person's; ``None`` where nothing is left, or it is no such batch."""
    try:
        batch = decode(EventBatch, body)
    except PoisonMessage:
        return None
    others = [event for event in batch.events if not mentions.in_bytes(event.SerializeToString())]
    if not others or len(others) == len(batch.events):
        return None
    return encode(EventBatch(events=others))
