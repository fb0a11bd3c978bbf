"""The mail that asks to confirm, from the form's request to its bytes: by the scheduler's duty and the real renderer."""

import html
import re
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest

from hayabin.broker import Broker, Outgoing, connect
from hayabin.broker.consumer import handle
from hayabin.broker.topology import RENDER, render_queue
from hayabin.database import confirming
from hayabin.database.engine import Pool
from hayabin.database.signing_up import SignUp, answer_received, take_down
from hayabin.domain.address import parse_address
from services.renderer.campaigns import Campaigns
from services.renderer.providers import KnownProviders
from services.renderer.worker import Names, Worker
from tests.integration.renderer.test_worker import RING, batches, pool
from tests.support.seed import seed_campaign
from tests.support.sign_up import seed_form

__all__ = ["pool"]
NEW = "shinjin@example.jp"


@pytest.fixture
async def broker(database_url: str, pool: Pool) -> AsyncIterator[Broker]:
    """The embedded broker with a renderer's worker on the urgent queue."""
    async with connect(database_url, name="render") as broker:
        worker = Worker(
            pool=pool,
            broker=broker,
            campaigns=Campaigns(pool, bytes(32), 200_000),
            providers=KnownProviders(pool),
            ring=RING,
            names=Names("https://t.example", "bounce.example", 50),
        )
        await broker.consume(render_queue("transactional"), handle(worker.handle), prefetch=2)
        yield broker


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_confirmation_mail_has_the_link_and_nothing_to_unsubscribe_from(
    pool: Pool, broker: Broker, language: str
) -> None:
    """Urgent belt, own subject and language, the signed link in both parts, no List-Unsubscribe, no tracked link, no pixel."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, [])
    seeded_form = await seed_form(pool, seeded)
    async with pool.acquire() as connection, connection.transaction():
        form = await connection.fetchrow("SELECT * FROM sign_up_forms WHERE id = $1", seeded_form.id)
        sign_up = SignUp(
            form=form, version=1, address=parse_address(NEW), name="新人", attributes={}, locale=language, ip="",
            user_agent="", network="",
        )  # fmt: skip
        assert await take_down(connection, sign_up)
    assert await answer_received(pool) == 1
    assert await answer_received(pool) == 0
    for row in await pool.fetch("DELETE FROM outbox RETURNING routing_key, body"):
        assert row["routing_key"] == "transactional"
        await broker.publish([Outgoing(RENDER, row["routing_key"], row["body"])])
    (batch,) = await batches(broker, 1)
    (envelope,) = batch.mails
    assert envelope.recipient == NEW
    mail = message_from_bytes(envelope.content, policy=policy.default)
    for name in ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id"):
        assert mail[name] is None
    assert {"ja": "ご登録の確認", "en": "Please confirm"}[language] in mail["Subject"]
    text, rich = (cast("EmailMessage", part).get_content() for part in mail.iter_parts())
    (url,) = re.findall(r"https?://\S+", text)
    assert re.findall(r'href="([^"]+)"', rich) == [html.escape(url)]
    assert "<img" not in rich
    assert "everybody" in text
    token = url.removeprefix("https://t.example/s/")
    async with pool.acquire() as connection:
        asked = await confirming.look(connection, RING.look_at_confirm(token))
    assert asked is not None
    RING.check_confirm(token, asked.address)
    campaign = await pool.fetchrow("SELECT kind, state, audience, list_id FROM campaigns WHERE kind = 'confirmation'")
    assert tuple(campaign or ()) == ("confirmation", "sending", 1, None)
