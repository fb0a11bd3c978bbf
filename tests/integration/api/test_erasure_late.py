"""What comes in about an erased person's mails afterwards, or was on its way meanwhile, brings nothing of them back."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import BounceEvent, Event, EventBatch
from hayabin.database import ledger, unsubscribing
from hayabin.database.engine import Connection, Database
from hayabin.database.ledger import Outcome
from hayabin.database.unsubscribing import Hand, Scope
from hayabin.domain.message import MessageState
from hayabin.domain.token import TokenKey, TokenRing, UnsubscribeClaim
from hayabin.domain.transfer import ExportSubject
from hayabin.domain.verp import issue_return_path, unsubscribe_address
from services.api.exports.subjects import SUBJECTS
from services.api.people_jobs import erase
from services.api.people_jobs.jobs import claim
from services.bounce.projection import Reports
from services.tracker.projection import Fact, project
from tests.integration.api.person_everywhere import EMAIL, World, erased, found_in, person_everywhere, work_off
from tests.integration.api.rest import Client, done
from tests.support.returned_mail import complaint, dsn

RING = TokenRing((TokenKey(1, b"k" * 32),), active=1)
DOMAIN = "bounce.hayabin.example"
NOW = datetime.now(UTC)


@dataclass
class Delivered:
    """A batch of the belt in the hands of whoever handles it."""

    body: bytes
    queue: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    redelivered: bool = False


async def claim_of(database: Database, message_id: int, contact_id: int) -> UnsubscribeClaim:
    """What the unsubscribe link of a mail says."""
    row = await database.pool.fetchrow(
        "SELECT m.tenant_id, c.list_id FROM messages m JOIN campaigns c ON c.id = m.campaign_id WHERE m.id = $1",
        message_id,
    )
    assert row is not None
    return UnsubscribeClaim(row["tenant_id"], row["list_id"], contact_id, message_id)


async def reported(database: Database, message_id: int, link: UnsubscribeClaim) -> None:
    """Reports of the mail's failure, of an attempt that never was, a complaint, and an unsubscribe by mail."""
    first, ninth = (issue_return_path(message_id, attempt, RING, DOMAIN) for attempt in (1, 9))
    words = f"smtp; 550 5.1.1 <{EMAIL}>: no such user"
    by_mail = unsubscribe_address(RING.seal_unsubscribe(link), DOMAIN)
    mails = [
        (first, dsn(first, diagnostic=words), ""),
        (ninth, dsn(ninth, diagnostic=words), ""),
        (f"fbl@{DOMAIN}", complaint(first), "fbl@provider.example"),
        (by_mail, f"From: {EMAIL}\r\nSubject: unsubscribe\r\n\r\nno more\r\n", EMAIL),
    ]
    events = [
        Event(
            event_id=bytes(15) + bytes([number]),
            occurred_ms=int(NOW.timestamp() * 1000),
            bounce=BounceEvent(rcpt_to=to, mail_from=sender, content=content.encode()),
        )
        for number, (to, content, sender) in enumerate(mails)
    ]
    arrived: Any = Delivered(encode(EventBatch(events=events)))
    await Reports(database.pool, RING).handle(arrived)


async def engaged(connection: Connection, message_id: int, link: UnsubscribeClaim) -> None:
    """An opening and a one-click unsubscribe."""
    await project(connection, [Fact(b"o" * 16, message_id, "open", None, "zqmarkeragent", NOW)])
    hand = Hand(ip="203.0.113.77", user_agent="zqmarkeragent")
    await unsubscribing.stop(connection, link, Scope.LIST, NOW, hand)


async def test_what_comes_after_an_erasure_brings_nothing_back(client: Client, database: Database) -> None:
    """Reports, an opening, unsubscribes and the outcome of what was unknown: counted, and nobody's."""
    world = await person_everywhere(client, database)
    link = await claim_of(database, world.sent_id, world.contact_id)
    await database.pool.execute("UPDATE messages SET state = 'unknown' WHERE id = $1", world.sent_id)
    job = await erased(client, database)
    async with database.pool.acquire() as connection, connection.transaction():
        outcome = Outcome(
            world.sent_id, 1, MessageState.BOUNCED, reason="user_unknown", code=550, reply=f"550 <{EMAIL}>",
            mx="zqmarkervalue", lane="mx:zqmarkervalue", address="203.0.113.77",
        )  # fmt: skip
        assert await ledger.record(connection, [outcome])
        await ledger.keep_transcripts(connection, [(world.sent_id, 1, f"C: RCPT TO:<{EMAIL}>")])
        await engaged(connection, world.sent_id, link)
    await reported(database, world.sent_id, link)
    assert await found_in(database) == {}
    kinds = await database.pool.fetch("SELECT kind FROM events WHERE message_id = $1 ORDER BY id", world.sent_id)
    assert [row["kind"] for row in kinds][-3:] == ["open", "bounce", "complaint"]
    assert not await database.pool.fetchval("SELECT count(*) FROM consents WHERE address_key LIKE 'erased:%'")
    await _shown(client, database, world, job["address_hash"])


async def _shown(client: Client, database: Database, world: World, address_hash: str) -> None:
    """What stands for the address is never shown: the list says `erased`, files have an empty cell."""
    answer = await client.get("/v1/suppressions")
    (row,) = (await done(answer, 200))["items"]
    assert (row["email"], row["erased"], row["reason"]) == (None, True, "erased")
    assert address_hash not in answer.text
    assert (await client.get(f"/v1/suppressions/erased:{address_hash}")).status_code == 422
    tenant_id = await database.pool.fetchval("SELECT tenant_id FROM messages WHERE id = $1", world.sent_id)
    for name, filters in (("suppressions", [None]), ("events", [world.campaign_id, None, None])):
        statement = SUBJECTS[ExportSubject(name)].statement(["email"])
        rows = await database.pool.fetch(statement, tenant_id, *filters)
        assert {row["email"] for row in rows} == {None}, name


async def test_whoever_had_seen_the_address_meanwhile_is_waited_for(client: Client, database: Database) -> None:
    """An unsubscribe and an opening that began before the ledger was anonymous and are committed after it."""
    world = await person_everywhere(client, database)
    link = await claim_of(database, world.sent_id, world.contact_id)
    job = await done(await client.post("/v1/people/erase", json={"email": EMAIL}), 202)
    async with database.pool.acquire() as connection:
        taken = await claim(connection)
        while taken is not None and taken.step != erase.Step.LEDGER:
            await erase.take_step(taken, None)
        connection.terminate()
    async with database.pool.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        await engaged(late, world.sent_id, link)
        await work_off(database)
        state = await database.pool.fetchval("SELECT state FROM person_jobs WHERE id = $1", job["id"])
        assert state == "running"
        await transaction.commit()
    await work_off(database)
    assert await database.pool.fetchval("SELECT state FROM person_jobs WHERE id = $1", job["id"]) == "completed"
    assert await found_in(database) == {}


async def test_copy_that_is_being_made_is_waited_for_and_dropped(client: Client, database: Database) -> None:
    """An export that was asked for before, by whatever address of theirs, leaves neither document nor reason."""
    former = "zq-marker.local@two.example"
    contact = await done(await client.post("/v1/contacts", json={"email": EMAIL}), 201)
    old = await done(await client.post("/v1/contacts", json={"email": former}), 201)
    await done(await client.post(f"/v1/contacts/{contact['id']}/merge", json={"from": old["id"]}), 200)
    for address in (EMAIL, former):
        form = {"email": address, "reason": f"{address} asked"}
        await done(await client.post("/v1/people/export", json=form), 202)
    await database.pool.execute("UPDATE person_jobs SET not_before = now() + interval '1 hour'")
    job = await done(await client.post("/v1/people/erase", json={"email": EMAIL}), 202)
    state = "SELECT state FROM person_jobs WHERE id = $1"
    await work_off(database, 1)
    assert await database.pool.fetchval(state, job["id"]) == "running"
    await work_off(database)
    assert await database.pool.fetchval(state, job["id"]) == "completed"
    assert await found_in(database) == {}
