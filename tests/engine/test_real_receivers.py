"""A campaign delivered to Postfix, Exim, OpenSMTPD and Haraka: real servers with their own manners and limits."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hayabin.broker import Outgoing, connect
from hayabin.broker.topology import DISPATCH, pool_queues
from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.database.engine import Pool, open_pool
from hayabin.domain.lane import lane_of
from tests.support.dns_zone import DnsZone
from tests.support.receivers.maildir import content_digest
from tests.support.receivers.receiver import Receiver
from tests.support.receivers.running import SERVERS, running_receivers
from tests.support.seed import launch_whole, seed_campaign
from tests.support.system import System, running_system
from tests.support.waiting import eventually

MAILS = int(os.environ.get("HAYABIN_TEST_RECEIVER_MAILS", "700"))  # for each receiver
STRANGERS = 100  # for each receiver: addresses that it refuses
BATCH = 50
SOURCE_IP = "127.0.0.77"
REQUIRE_TLS = 'tls = "required"\n'
# One connection for everything: past the hundred mails after which OpenSMTPD takes none, and Exim's thousand.
ONE_LONG_CONNECTION = "connections = 1\nmessages_per_connection = 100000\nrecipients_per_session = 100000\n"
LONG = 1100
LINES = (
    b".",
    b"..",
    b".hidden",
    b"",
    b"plain words, as in most mails",
    "お世話になっております。早便をご利用いただきありがとうございます。".encode(),
    b"caf\xe9 \xff\xfe\x80",  # no UTF-8
    b"From here on, a line that mbox would quote",
    b"x" * 900,
)


def _waiting_and_stored(receiver: Receiver) -> tuple[int, int]:
    return receiver.queued(), receiver.stored()


@dataclass(frozen=True, slots=True)
class Row:
    """A mail of the ledger, as it is to be sent."""

    id: int
    recipient: str
    content: bytes

    @property
    def domain(self) -> str:
        """Whose mail it is."""
        return self.recipient.rpartition("@")[2]


def mail_content(number: int, recipient: str) -> bytes:
    """A mail of 4 to 20 KB that differs from all others; the same number gives the same mail."""
    dice = random.Random(number)
    size_bytes = dice.randrange(4_000, 20_000)
    lines = [
        b"Message-ID: <%d@acme.example>" % number,
        b"Date: Tue, 01 Sep 2026 09:00:00 +0900",
        b"From: Acme <news@acme.example>",
        b"To: <%s>" % recipient.encode(),
        b"Subject: =?utf-8?B?44GK55+l44KJ44Gb?=",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        b"",
        b"Number %d" % number,
    ]
    written = sum(map(len, lines))
    while written < size_bytes:
        lines.append(dice.choice(LINES))
        written += len(lines[-1]) + 2
    return b"\r\n".join(lines) + b"\r\n"


def batches(rows: Iterable[Row], campaign_id: int) -> Iterator[Outgoing]:
    """Batches by lane, in the order of the rows."""
    by_lane: dict[str, list[Row]] = {}
    for row in rows:
        by_lane.setdefault(lane_of(row.domain, "bulk"), []).append(row)
    for lane, mine in by_lane.items():
        for start in range(0, len(mine), BATCH):
            mails = [
                Mail(message_id=row.id, return_path="b@acme.example", recipient=row.recipient, content=row.content)
                for row in mine[start : start + BATCH]
            ]
            batch = MailBatch(
                tenant_id=1,
                campaign_id=campaign_id,
                attempt=0,
                pool="main",
                lane=lane,
                mails=mails,
                lease_expires_ms=int((time.time() + 600) * 1000),
                launched_ms=int(time.time() * 1000),
            )
            yield Outgoing(DISPATCH, f"main.{lane}", encode(batch))


async def launched(pool: Pool, domains: list[str], mails: int) -> tuple[int, list[Row]]:
    """A launched campaign to everybody at every receiver, mixed, and its rows."""
    numbered = [*(f"reader{number}" for number in range(mails)), *(f"nobody{number}" for number in range(STRANGERS))]
    random.Random(1).shuffle(numbered)
    people = [f"{local_part}@{domain}" for local_part in numbered for domain in domains]
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, people)
        await launch_whole(connection, seeded)
    rows = await pool.fetch("SELECT id, wire FROM messages JOIN recipients ON message_id = id ORDER BY id")
    return seeded.campaign_id, [Row(row["id"], row["wire"], mail_content(row["id"], row["wire"])) for row in rows]


@dataclass(frozen=True, slots=True)
class World:
    """A ledger, a belt, and the receivers of a test."""

    pool: Pool
    system: System
    amqp_url: str
    receivers: list[Receiver]
    mails: int = MAILS

    async def deliver(self, policy: str = "") -> list[Row]:
        """Send the campaign by one dispatcher, with another policy if given, until every row has its end."""
        policies = self.system.folder / "policies"
        policies.mkdir()
        (policies / "default.toml").write_text(policy, encoding="ascii")
        campaign_id, rows = await launched(self.pool, [r.place.domain for r in self.receivers], self.mails)
        zone: dict[str, Any] = {r.place.domain: {"MX": f"10 {r.place.host}."} for r in self.receivers}
        zone |= {r.place.host: {"A": r.place.address} for r in self.receivers}
        async with DnsZone({**zone}) as dns, connect(self.amqp_url, name="test") as broker:
            await broker.declare(pool_queues("main"))
            await broker.publish(list(batches(rows, campaign_id)))
            service = self.system.start(
                "dispatcher",
                pool="main",
                source_ips=f"{SOURCE_IP}=out.hayabin.example",
                smtp_port=str(self.receivers[0].place.port),
                dns_servers=f"127.0.0.1:{dns.port}",
                allow_private_mx="true",
                policy_dir=str(policies),
            )

            async def fed() -> dict[str, int]:
                await broker.publish(list(batches(await self.given_back(rows), campaign_id)))
                return await self.states()

            await eventually(fed, lambda seen: not {"due", "claimed"} & seen.keys(), timeout_s=180, every_s=0.5)
            assert await asyncio.to_thread(self.system.stop, service) == 0
        return rows

    async def given_back(self, rows: list[Row]) -> list[Row]:
        """Mails that a busy destination gave back unattempted and that are due again: the belt brings them anew."""
        due = await self.pool.fetch(
            "UPDATE messages SET next_attempt_at = NULL WHERE state = 'due' AND next_attempt_at <= now() RETURNING id"
        )
        ids = {row["id"] for row in due}
        return [row for row in rows if row.id in ids]

    async def states(self) -> dict[str, int]:
        """How many rows are in each state."""
        rows = await self.pool.fetch("SELECT state, count(*) AS count FROM messages GROUP BY state")
        return {row["state"]: row["count"] for row in rows}

    async def check_ledger(self, *, tls: bool) -> None:
        """Readers are accepted and strangers refused, at the first attempt, by the right way."""
        attempts = await self.pool.fetch("SELECT mx, source_ip, tls, state, phase, code, reason FROM attempts")
        ways = [(r.place.host, SOURCE_IP, tls) for r in self.receivers]
        read: dict[tuple[Any, ...], int] = {(*way, "accepted", "dot", 250, None): self.mails for way in ways}
        refused = {(*way, "bounced", "rcpt", 550, "user_unknown"): STRANGERS for way in ways}
        assert Counter(tuple(attempt.values()) for attempt in attempts) == read | refused
        everybody = len(self.receivers)
        assert await self.states() == {"accepted": self.mails * everybody, "bounced": STRANGERS * everybody}

    async def check_journals(self, rows: list[Row]) -> None:
        """Each receiver's journal has each of its mails once, as it was sent, and nothing waits in its queues."""
        for receiver in self.receivers:
            await eventually(
                partial(asyncio.to_thread, partial(_waiting_and_stored, receiver)),
                lambda seen: seen[0] == 0 and seen[1] >= self.mails,
                timeout_s=60,
                every_s=0.5,
            )
            stored = await asyncio.to_thread(receiver.journal)
            sent = [row for row in rows if row.recipient.startswith("reader") and row.domain == receiver.place.domain]
            assert Counter((mail.message_id, mail.recipient, mail.sha256) for mail in stored) == Counter(
                (f"<{row.id}@acme.example>", row.recipient, content_digest(row.content)) for row in sent
            ), receiver.tail()


@asynccontextmanager
async def world(
    urls: tuple[str, str], folder: Path, *, starttls: bool = False, names: Iterable[str] = SERVERS, mails: int = MAILS
) -> AsyncIterator[World]:
    """Receivers and what the dispatcher needs beside them; ``urls`` are the database's and the broker's."""
    pool = await open_pool(urls[0], name="test", size=3)
    with running_receivers(names, starttls=starttls) as receivers, running_system(folder, *urls) as system:
        yield World(pool, system, urls[1], receivers, mails)
    await pool.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_campaign_to_receivers_without_starttls_is_stored_once(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """By the shipped policy, every receiver stores each of its 2,000 mails once and refuses its strangers."""
    async with world((database_url, amqp_url), tmp_path) as here:
        rows = await here.deliver()
        await here.check_ledger(tls=False)
        await here.check_journals(rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_campaign_to_receivers_with_tls_required_is_stored_once(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """With STARTTLS and a certificate that nobody vouches for, the same."""
    async with world((database_url, amqp_url), tmp_path, starttls=True) as here:
        rows = await here.deliver(REQUIRE_TLS)
        await here.check_ledger(tls=True)
        await here.check_journals(rows)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_campaign_over_connections_that_receivers_end_is_stored_once(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """Where a server takes no more mails over a connection, the others go over new ones, in the same attempt."""
    async with world((database_url, amqp_url), tmp_path, names=("exim", "opensmtpd"), mails=LONG) as here:
        rows = await here.deliver(ONE_LONG_CONNECTION)
        await here.check_ledger(tls=False)
        await here.check_journals(rows)
