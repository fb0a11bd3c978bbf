"""The mailto of List-Unsubscribe: what comes to a signed address takes a person off, unless no person sent it."""

from collections.abc import AsyncIterator

import pytest

from hayabin.domain.token import TokenRing, UnsubscribeClaim
from hayabin.domain.verp import unsubscribe_address
from tests.integration.bounce.conftest import DOMAIN, FORGER, RING, Bounce, Ledger, dsn, running_bounce
from tests.support.waiting import eventually

TARO = "taro@example.jp"
MAIL = "From: taro@example.jp\r\nTo: <u@x>\r\nSubject: unsubscribe\r\n\r\nunsubscribe\r\n"


@pytest.fixture
async def bounce(database_url: str) -> AsyncIterator[Bounce]:
    """A bounce service on the embedded belt."""
    async with running_bounce(database_url, database_url) as running:
        yield running


def address(book: Ledger, message_id: int, contact_id: int, ring: TokenRing = RING) -> str:
    """The address in the mail of a message."""
    claim = UnsubscribeClaim(book.seeded.tenant_id, book.seeded.list_id, contact_id, message_id)
    return unsubscribe_address(ring.seal_unsubscribe(claim), DOMAIN)


async def of_taro(book: Ledger, ring: TokenRing = RING) -> str:
    """The address in Taro's mail."""
    contact_id = await book.pool.fetchval("SELECT contact_id FROM recipients WHERE message_id = $1", book.ids[0])
    return address(book, book.ids[0], contact_id, ring)


async def test_mail_to_the_signed_address_takes_the_person_off_once(bounce: Bounce, book: Ledger) -> None:
    """In whatever case a mail system writes the address: suppression, membership and event, and again nothing more."""
    to = await of_taro(book)
    for spelled in (to, to.upper()):
        assert await bounce.send(spelled, MAIL, TARO) == 250
    await eventually(book.suppressions, lambda rows: len(rows) == 1)
    assert (await book.suppressions())[0][:3] == (TARO, book.seeded.list_id, "unsubscribe")
    states = await book.pool.fetch(
        "SELECT lm.state FROM list_members lm JOIN contacts c ON c.id = lm.contact_id WHERE c.address_key = $1", TARO
    )
    assert [row["state"] for row in states] == ["unsubscribed"]
    assert [event[1] for event in await book.events()] == ["unsubscribe"]


AUTOMATIC = [
    ("", MAIL),
    (TARO, "Auto-Submitted: auto-replied\r\n" + MAIL),
    (TARO, MAIL.replace("Subject: unsubscribe", "Subject: =?utf-8?B?6Ieq5YuV6L+U5L+hOiDkuI3lnKjjgafjgZk=?=")),
    (TARO, "X-Autoreply: yes\r\n" + MAIL),
    (TARO, "Precedence: auto_reply\r\n" + MAIL),
    ("MAILER-DAEMON@there.example", MAIL),
    (TARO, dsn(TARO)),
]


async def test_mail_that_no_person_sent_changes_nothing(bounce: Bounce, book: Ledger) -> None:
    """Bounces, reports and automatic replies to the address leave everybody where they are, and are not even kept."""
    to = await of_taro(book)
    for mail_from, content in AUTOMATIC:
        assert await bounce.send(to, content, mail_from) == 250
    second = await book.pool.fetchval("SELECT contact_id FROM recipients WHERE message_id = $1", book.ids[1])
    assert await bounce.send(address(book, book.ids[1], second), MAIL, "hanako@example.jp") == 250
    rows = await eventually(book.suppressions, lambda found: found != [])
    assert [row[0] for row in rows] == ["hanako@example.jp"]
    assert await book.quarantine() == []


async def test_forged_address_is_kept_for_a_look_and_changes_nothing(bounce: Bounce, book: Ledger) -> None:
    """Somebody else's signature unsubscribes nobody; another domain's address is not even taken."""
    to = await of_taro(book, FORGER)
    assert await bounce.send(to, MAIL, TARO) == 250
    assert await bounce.send(to.replace(DOMAIN, "elsewhere.example"), MAIL, TARO) == 550
    assert await eventually(book.quarantine, bool) == ["forged"]
    assert await book.untouched()
