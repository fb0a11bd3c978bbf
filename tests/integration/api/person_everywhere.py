"""A person who went everywhere, and a scan that finds whatever is left of them."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import zstandard

from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.contracts.event_pb2 import BounceEvent, Event, EventBatch
from hayabin.database import consent, ledger
from hayabin.database.consent import Evidence
from hayabin.database.engine import Database
from hayabin.database.ledger import Outcome
from hayabin.domain.consent import ConsentAction, ConsentBasis
from hayabin.domain.message import MessageState
from services.api.imports.runner import run_next_import
from services.api.people_jobs.runner import run_next_person_job
from tests.integration.api.rest import CSV, OVERRIDE, Client, a_template, done

EMAIL: Final = "Zq-Marker.Local@someone.example.jp"
KEY: Final = EMAIL.lower()
MARKERS: Final = ("zq-marker.local", "ZQマーカー花子", "zqmarkervalue", "zqmarkeragent", "zqmarkerold", "203.0.113.77")
"""What nobody else has: of the address, the name, attributes now and before, the browser, its address."""
BYSTANDER: Final = "bystander@someone.example.jp"


@dataclass(frozen=True, slots=True)
class World:
    """Ids of what there is of the person and of a bystander."""

    contact_id: int
    campaign_id: int
    sent_id: int
    waiting_id: int
    bystander_id: int
    import_id: int


async def person_everywhere(client: Client, database: Database) -> World:
    """Make the world."""
    listed = await done(await client.post("/v1/lists", json={"name": "news"}), 201)
    await _imported(client, database, listed["id"])
    contact = await _known(client)
    sent, waiting, other = await _mailed(client, database, listed["id"])
    await _answered(database, sent, contact["id"])
    await _on_the_belt(database)
    import_id = await _filed(client, database)
    async with database.pool.acquire() as connection:
        await consent.record_opt_out(
            connection,
            await connection.fetchval("SELECT id FROM tenants WHERE slug = 'acme'"),
            listed["id"],
            KEY,
            Evidence(
                action=ConsentAction.OPT_OUT, basis=ConsentBasis.FORM, source="form:1", ip="203.0.113.77",
                user_agent="zqmarkeragent", note=f"{EMAIL} asked",
            ),
        )  # fmt: skip
    campaign_id = await database.pool.fetchval("SELECT campaign_id FROM messages WHERE id = $1", sent)
    return World(contact["id"], campaign_id, sent, waiting, other, import_id)


async def _imported(client: Client, database: Database, list_id: int) -> None:
    rows = f"email,name,company\n{EMAIL},ZQマーカー花子,zqmarkerold\n{BYSTANDER},B,C\n{EMAIL};x@y.example,,\n"
    await done(await client.post(f"/v1/imports?list_id={list_id}", content=rows.encode(), headers=CSV), 202)
    assert await run_next_import(database, "test")


async def _known(client: Client) -> Any:
    form = {"email": EMAIL, "name": "ZQマーカー花子", "attributes": {"company": "zqmarkervalue"}}
    contact = await done(await client.post("/v1/contacts", json=form, headers={"Idempotency-Key": "k1"}), 200)
    suppressed = await client.post(
        "/v1/suppressions", json={"emails": [EMAIL], "list_id": 0}, headers={"Idempotency-Key": f"for {KEY}"}
    )
    await done(suppressed, 201)
    await done(await client.delete(f"/v1/suppressions/{EMAIL}"), 204)
    return contact


async def _mailed(client: Client, database: Database, list_id: int) -> tuple[int, int, int]:
    """A campaign whose mail bounced, one that waits, one to the address alone; a bystander in each."""
    template = await a_template(client, source="<mjml><mj-body></mj-body></mjml>")
    await done(await client.post("/v1/domains", json={"name": "mail.example.jp"}), 201)
    form = {
        "name": "c", "template_version_id": template["version"]["id"], "list_id": list_id, "from_name": "A",
        "from_address": "news@mail.example.jp",
    }  # fmt: skip
    ids = []
    for _ in range(2):
        campaign = await done(await client.post("/v1/campaigns", json=form), 201)
        await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
        ids.append(campaign["id"])
    test = {"to": [EMAIL], "variables": {"company": "zqmarkervalue"}}
    await done(await client.post(f"/v1/campaigns/{ids[0]}/test", json=test), 202)
    one = "SELECT id FROM messages WHERE campaign_id = $1 AND address_key = $2"
    sent, waiting = [await database.pool.fetchval(one, campaign_id, KEY) for campaign_id in ids]
    other = await database.pool.fetchval(one, ids[0], BYSTANDER)
    async with database.pool.acquire() as connection, connection.transaction():
        outcomes = []
        for message_id, address in ((sent, KEY), (other, BYSTANDER)):
            await ledger.claim(connection, [(message_id, 0)], "d")
            reply = f"550 5.1.1 <{address}>: no such user"
            outcomes.append(
                Outcome(message_id, 1, MessageState.BOUNCED, reason="unknown_user", code=550, reply=reply, mx="mx.x")
            )
        await ledger.record(connection, outcomes)
        lines = [(sent, 1, f"C: RCPT TO:<{EMAIL}>"), (other, 1, f"C: RCPT TO:<{BYSTANDER}>")]
        await ledger.keep_transcripts(connection, lines)
    await database.pool.execute("UPDATE messages SET changed_at = now() - interval '1 minute' WHERE id = $1", sent)
    return sent, waiting, other


async def _answered(database: Database, message_id: int, contact_id: int) -> None:
    await database.pool.execute(
        "INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, detail, occurred_at) "
        "SELECT decode(md5(k), 'hex'), tenant_id, campaign_id, id, k, d, now() FROM messages, "
        "(VALUES ('bounce', $2), ('open', 'zqmarkeragent')) AS v(k, d) WHERE id = $1",
        message_id,
        f"unknown_user 5.1.1 {EMAIL}",
    )
    await database.pool.execute(
        "INSERT INTO confirmations (tenant_id, kind, list_ids, address, wire, address_key, name, attributes, locale, ip, "
        "user_agent, contact_id) SELECT tenant_id, 'sign_up', '{}', $2, $2, $3, name, attributes, 'ja', '203.0.113.77', "
        "'zqmarkeragent', id FROM contacts WHERE id = $1",
        contact_id,
        EMAIL,
        KEY,
    )
    encoded = base64.encodebytes(f"ユーザー {EMAIL} は存在しません。ZQマーカー花子 様".encode())
    for content in (f"To: <{EMAIL}>\n\nno".encode(), b"Content-Transfer-Encoding: base64\n\n" + encoded, b"other mail"):
        await database.pool.execute(
            "INSERT INTO quarantine (reason, mail_from, rcpt_to, remote_address, content) VALUES ('x','','','',$1)",
            content,
        )


async def _on_the_belt(database: Database) -> None:
    mails = [Mail(message_id=1, recipient=EMAIL, content=f"To: {EMAIL}\r\n\r\nzqmarkervalue".encode())]
    await database.pool.execute(
        "INSERT INTO belt_messages (queue, headers, body) VALUES ('dispatch.main.gmail', '{}', $1)",
        encode(MailBatch(tenant_id=1, mails=mails)),
    )
    reports = [
        Event(event_id=bytes(16), bounce=BounceEvent(rcpt_to="b", content=f"user {to} unknown".encode()))
        for to in (EMAIL, BYSTANDER)
    ]
    await database.pool.execute(
        "INSERT INTO outbox (exchange, routing_key, body) VALUES ('hayabin.events', 'events.bounce', $1)",
        encode(EventBatch(events=reports)),
    )


async def _filed(client: Client, database: Database) -> int:
    """A file that waits for its import, an export with the person in it, and one of somebody else."""
    rows = f"email,name\n{EMAIL},ZQマーカー花子\n".encode("utf-16")
    job = await done(await client.post("/v1/imports", content=rows, headers=CSV), 202)
    for address in (EMAIL, BYSTANDER):
        export_id = await database.pool.fetchval(
            "INSERT INTO export_jobs (tenant_id, what, columns, format, encoding, masked, state) "
            "SELECT id, 'contacts', '{email}', 'csv', 'utf-8', false, 'completed' FROM tenants WHERE slug = 'acme' "
            "RETURNING id"
        )
        content = f"email,company\r\n{address},{'zqmarkervalue' if address == EMAIL else ''}\r\n".encode()
        half = len(content) // 2
        for number, chunk in enumerate((content[:half], content[half:])):
            await database.pool.execute("INSERT INTO export_chunks VALUES ($1, $2, $3)", export_id, number, chunk)
    return int(job["id"])


_COLUMNS_SQL: Final = """
SELECT c.relname AS table, a.attname AS column, a.atttypid = 'bytea'::regtype AS bytes
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped
  AND c.relnamespace = 'public'::regnamespace ORDER BY 1, a.attnum"""


async def found_in(database: Database, markers: tuple[str, ...] = MARKERS) -> Mapping[str, list[str]]:
    """Every table and column of the database (from its own catalogue) that has one of the markers, with which."""
    found: dict[str, set[str]] = {}
    tables: dict[str, list[str]] = {}
    for row in await database.pool.fetch(_COLUMNS_SQL):
        tables.setdefault(row["table"], [])
        if row["bytes"]:
            for content in await database.pool.fetch(f'SELECT "{row["column"]}" AS bytes FROM "{row["table"]}"'):
                seen = {marker for marker in markers if in_bytes(content["bytes"], marker)}
                found.setdefault(f"{row['table']}.{row['column']}", set()).update(seen)
        else:
            tables[row["table"]].append(row["column"])
    assert len(tables) > 40
    for table, columns in tables.items():
        texts = ", ".join(f"('{column}', t.\"{column}\"::text)" for column in columns)
        rows = await database.pool.fetch(
            f'SELECT DISTINCT v.name, m.marker FROM "{table}" t CROSS JOIN LATERAL (VALUES {texts}) AS v(name, text) '
            "JOIN unnest($1::text[]) AS m(marker) ON position(lower(m.marker) IN lower(v.text)) > 0",
            list(markers),
        )
        for row in rows:
            found.setdefault(f"{table}.{row['name']}", set()).add(row["marker"])
    return {place: sorted(seen) for place, seen in sorted(found.items()) if seen}


def in_bytes(content: bytes | None, marker: str) -> bool:
    """Whether bytes have the marker: as they are, unpacked, decoded, in UTF-16."""
    return any(
        wanted in view.lower()
        for view in _views(content or b"")
        for wanted in (marker.lower().encode(), marker.lower().encode("utf-16-le"), marker.lower().encode("utf-16-be"))
    )


def _views(content: bytes) -> Iterator[bytes]:
    yield content
    if content[:4] == b"\x28\xb5\x2f\xfd":
        yield zstandard.ZstdDecompressor().decompressobj().decompress(content)
    for line in content.replace(b"\r", b"").split(b"\n\n"):
        try:
            yield base64.b64decode(line.replace(b"\n", b""), validate=True)
        except ValueError:
            continue


async def work_off(database: Database, turns: int = 3) -> None:
    """Let the scheduler's duty have its turns, as if the time that it waits in between had passed."""
    for _ in range(turns):
        await run_next_person_job(database, "test")
        await database.pool.execute("UPDATE person_jobs SET not_before = NULL")


async def erased(client: Client, database: Database, email: str = EMAIL) -> dict[str, Any]:
    """The finished job of an erasure."""
    job = await done(await client.post("/v1/people/erase", json={"email": email, "reason": f"{email} wrote"}), 202)
    await work_off(database)
    answer: dict[str, Any] = await done(await client.get(f"/v1/people/jobs/{job['id']}"), 200)
    return answer
