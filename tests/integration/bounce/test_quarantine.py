"""Inbound mail that must change nothing: kept for a look, bounded, counted by reason."""

import asyncio
import secrets
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from hayabin.broker import Outgoing, connect
from hayabin.broker.topology import EVENTS, EVENTS_BOUNCE, PARKED_QUEUE
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import BounceEvent, DeliveryEvent, Event, EventBatch
from services.bounce import quarantine
from services.bounce.quarantine import CONTENT_MAX_BYTES, keep
from tests.integration.bounce.conftest import DOMAIN, FORGER, Bounce, Ledger, complaint, dsn, return_path
from tests.support.waiting import eventually

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def count(name: str, **labels: str) -> float:
    """The value of a counter now."""
    return REGISTRY.get_sample_value(f"{name}_total", labels) or 0.0


async def test_forged_unmatched_and_unreadable_mail_changes_nothing_and_is_kept(bounce: Bounce, book: Ledger) -> None:
    """Each kind is taken with 250, changes nothing, stands in the quarantine with its reason, and is counted."""
    forged, good = return_path(book.ids[0], ring=FORGER), return_path(book.ids[0])
    mails = {
        "forged": (forged, dsn(forged)),
        "no_reference": (f"abuse@{DOMAIN}", dsn(f"abuse@{DOMAIN}")),
        "unrecognised": (good, "From: a@b.example\r\nSubject: hello\r\n\r\nHow are you?\r\n"),
        "unknown_message": (return_path(10**9), dsn(return_path(10**9))),
        "never_attempted": (return_path(book.ids[0], 2), dsn(return_path(book.ids[0], 2))),
        "conflicting_references": (good, complaint(return_path(book.ids[1]))),
    }
    before = {reason: count("hayabin_bounce_quarantined", reason=reason) for reason in mails}
    for to, content in mails.values():
        assert await bounce.send(to, content, "somebody@else.example") == 250
    await eventually(book.quarantine, lambda found: sorted(found) == sorted(mails))
    assert await book.untouched()
    for reason, was in before.items():
        assert count("hayabin_bounce_quarantined", reason=reason) == was + 1
    row = await book.pool.fetchrow("SELECT * FROM quarantine WHERE reason = 'forged'")
    assert row is not None
    assert (row["mail_from"], row["rcpt_to"], row["remote_address"]) == ("somebody@else.example", forged, "127.0.0.1")
    assert b"Undelivered Mail" in row["content"]


async def test_any_changed_character_of_a_return_path_changes_nothing(bounce: Bounce, book: Ledger) -> None:
    """Each single change of the signed local part is quarantined (or refused at RCPT where it lost its form)."""
    good = return_path(book.ids[0])
    body = good[2 : good.index("@")]
    wrong = [f"b-{body[:i]}{ALPHABET[ALPHABET.index(body[i]) ^ 1]}{body[i + 1 :]}@{DOMAIN}" for i in range(len(body))]
    codes = await asyncio.gather(*(bounce.send(to, dsn(to)) for to in wrong[:15]))
    codes += await asyncio.gather(*(bounce.send(to, dsn(to)) for to in wrong[15:30]))
    codes += await asyncio.gather(*(bounce.send(to, dsn(to)) for to in wrong[30:]))
    taken = [code for code in codes if code == 250]
    assert set(codes) <= {250, 550}
    await eventually(book.quarantine, lambda found: len(found) == len(taken))
    assert set(await book.quarantine()) <= {"forged", "retired_key"}
    assert await book.untouched()


async def test_mail_that_is_understood_and_no_failure_is_counted_and_not_kept(bounce: Bounce, book: Ledger) -> None:
    """Out-of-office notes, warnings, reports of success and not-spam would push out what is worth a look."""
    to = return_path(book.ids[0])
    mails = {
        "auto_reply": (to, "From: a@b.example\r\nSubject: away\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"),
        "delayed": (to, dsn(to, "4.4.1", "smtp; 451 later", "delayed")),
        "not_a_failure": (to, dsn(to, "2.0.0", "smtp; 250 ok", "delivered")),
        "not_a_complaint": (f"fbl@{DOMAIN}", complaint(to, "not-spam")),
    }
    before = {kind: count("hayabin_bounce_inbound", kind=kind) for kind in mails}
    for address, content in mails.values():
        assert await bounce.send(address, content) == 250

    async def counted() -> bool:
        return all(count("hayabin_bounce_inbound", kind=kind) == was + 1 for kind, was in before.items())

    await eventually(counted, bool)
    assert await book.quarantine() == []
    assert await book.untouched()


async def test_huge_and_binary_mail_is_kept_cut_to_its_bound(bounce: Bounce, book: Ledger) -> None:
    """Half a megabyte of noise: taken, 64 KiB of it kept; over the size limit it is refused in the session."""
    to = return_path(book.ids[0])
    noise = b"".join(secrets.token_bytes(300).replace(b"\n", b"").replace(b"\r", b"") + b"\r\n" for _ in range(1700))
    assert await bounce.send(to, noise) == 250
    assert await bounce.send(to, b"x" * 70 + b"\r\n" + noise * 4) in {552, 554}
    await eventually(book.quarantine, lambda found: len(found) == 1)
    assert await book.pool.fetchval("SELECT length(content) FROM quarantine") == CONTENT_MAX_BYTES
    assert await book.untouched()


async def test_quarantine_keeps_the_newest_up_to_its_bound(book: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers at once never exceed the bound, the oldest go first, and the same mail from the belt stands once."""
    monkeypatch.setattr(quarantine, "MAX_ROWS", 20)
    now = datetime.now(UTC)

    async def write(number: int) -> None:
        mail = BounceEvent(rcpt_to=f"a{number}\x00@b", content=b"%d" % number)
        async with book.pool.acquire() as connection, connection.transaction():
            await keep(connection, mail, now, "forged")

    for number in range(30):
        await write(number)
    await write(29)
    assert await book.pool.fetchval("SELECT array_agg(content ORDER BY id) FROM quarantine") == [
        b"%d" % number for number in range(10, 30)
    ]
    await asyncio.gather(*(write(100 + number) for number in range(8)))
    assert await book.pool.fetchval("SELECT count(*) FROM quarantine") == 20
    assert await book.pool.fetchval("SELECT rcpt_to FROM quarantine WHERE content = '29'") == "a29 @b"


async def test_malformed_belt_message_is_parked_with_its_reason(bounce: Bounce, book: Ledger, empty_belt: str) -> None:
    """Garbage, a fact of another kind and an impossible time on ``events.bounce`` are parked; the service goes on."""
    good = Event(event_id=bytes(16), occurred_ms=1, bounce=BounceEvent())
    bodies = [
        b"\xff\xff garbage",
        encode(EventBatch(events=[Event(event_id=bytes(16), delivery=DeliveryEvent())])),
        encode(EventBatch(events=[Event(event_id=bytes(16), occurred_ms=2**64 - 1, bounce=BounceEvent())])),
        EventBatch(version=7, events=[good]).SerializeToString(),
    ]
    async with connect(empty_belt, name="test") as broker:
        await broker.publish([Outgoing(EVENTS, EVENTS_BOUNCE, body) for body in bodies])

        async def parked() -> int:
            return (await broker.depth([PARKED_QUEUE]))[PARKED_QUEUE]

        await eventually(parked, lambda depth: depth == len(bodies))
    to = return_path(book.ids[0])
    await bounce.send(to, dsn(to))
    await eventually(book.states, lambda states: states[0] == "bounced")
