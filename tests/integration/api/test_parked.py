"""``hayabin parked``: what an operator does about messages that no service could work on."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
import structlog
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hayabin.broker import Broker, Delivery, Outgoing, Parked, connect
from hayabin.broker.topology import EVENTS, RENDER, pool_queues
from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.contracts.event_pb2 import ENGAGEMENT_KIND_CLICK, BounceEvent, EngagementEvent, Event, EventBatch
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.telemetry.logging import address_hash
from services.api.parked_content import readable, without_addresses
from services.standalone.command import hayabin

T = TypeVar("T")
CHUNK = encode(RenderChunk(tenant_id=1, campaign_id=7, attempt=2, message_ids=[11, 12]))
BATCH = encode(
    MailBatch(
        campaign_id=7,
        pool="main",
        lane="gmail",
        mails=[Mail(message_id=11, return_path="b+sig@r.example", recipient="taro@example.jp", content=b"Dear Taro")],
    )
)
BOUNCE = BounceEvent(mail_from="x@y.example", rcpt_to="taro@example.jp", remote_address="192.0.2.7", content=b"secret")
CLICK = EngagementEvent(message_id=11, kind=ENGAGEMENT_KIND_CLICK, link=3, user_agent="Taro's phone")
EVENTS_BODY = encode(EventBatch(events=[Event(event_id=b"\x01" * 16, bounce=BOUNCE), Event(engagement=CLICK)]))


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """The command logs to its own stderr; give the tests after it theirs back."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(params=["rabbitmq", "embedded"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """The URL of a belt of each kind, with nothing parked."""
    url = str(request.getfixturevalue("amqp_url" if request.param == "rabbitmq" else "database_url"))

    async def empty(broker: Broker) -> None:
        await broker.drop_parked([parked.id for parked in await broker.parked(1000)])
        for queue in ("render.bulk", "events.bounce"):
            await take(broker, queue)

    on_belt(url, empty)
    return url


def on_belt(url: str, work: Callable[[Broker], Awaitable[T]]) -> T:
    """Do some work on the belt."""

    async def run() -> T:
        async with connect(url, name="test") as broker:
            await broker.declare(pool_queues("main"))
            return await work(broker)

    return asyncio.run(run())


async def take(broker: Broker, queue: str) -> list[bytes]:
    """Take what is on a queue."""
    taken: list[bytes] = []

    async def ack(delivery: Delivery) -> None:
        taken.append(delivery.body)
        await delivery.ack()

    subscription = await broker.consume(queue, ack, prefetch=100)
    await asyncio.sleep(0.5)
    await subscription.cancel()
    return taken


def park(url: str, queue: str, outgoing: Outgoing, reason: str, detail: str = "") -> None:
    """Put a message on its queue and have it parked from there."""

    async def work(broker: Broker) -> None:
        parked = asyncio.Event()

        async def refuse(delivery: Delivery) -> None:
            await delivery.park(reason, detail)
            parked.set()

        subscription = await broker.consume(queue, refuse, prefetch=1)
        await broker.publish([outgoing])
        async with asyncio.timeout(20):
            await parked.wait()
        await subscription.cancel()

    on_belt(url, work)


def invoke(url: str | None, *words: str, answer: str = "") -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(hayabin, ["parked", *words], env={"HAYABIN_BROKER_URL": url}, input=answer)


def listed(url: str, *words: str) -> list[dict[str, str]]:
    """What ``list --json`` gives."""
    result = invoke(url, "list", "--json", *words)
    assert result.exit_code == 0, result.stderr
    answer: list[dict[str, str]] = json.loads(result.stdout)
    return answer


def test_parked_message_is_listed_shown_retried_and_dropped(broker_url: str) -> None:
    """An operator sees reason and queue, reads what the message says, has one delivered again and drops another."""
    park(
        broker_url, "render.bulk", Outgoing(RENDER, "bulk", CHUNK, {"traceparent": "t"}), "unknown_version", "version 9"
    )
    park(broker_url, "events.bounce", Outgoing(EVENTS, "bounce", b"\xff\xfe"), "undecodable", "of taro@example.jp")
    chunk, event = listed(broker_url)
    assert (chunk["queue"], chunk["reason"], chunk["detail"]) == ("render.bulk", "unknown_version", "version 9")
    assert "taro" not in event["detail"]
    assert listed(broker_url, "--queue", "events.bounce") == [event]
    assert listed(broker_url, "--reason", "unknown_version") == [chunk]
    assert listed(broker_url, "--reason", "nothing") == []
    text = invoke(broker_url, "list").stdout
    assert chunk["id"] in text
    assert "unknown_version" in text
    shown = json.loads(invoke(broker_url, "show", chunk["id"]).stdout)
    assert shown["content"]["message_ids"] == [11, 12]
    assert shown["headers"] == {"traceparent": "t"}
    assert json.loads(invoke(broker_url, "show", event["id"]).stdout)["content"]["head"] == "ff fe"

    retried = invoke(broker_url, "retry", chunk["id"])
    assert (retried.exit_code, retried.stdout) == (0, "Put back 1 of 1 parked messages.\n"), retried.stderr
    assert on_belt(broker_url, lambda broker: take(broker, "render.bulk")) == [CHUNK]
    refused = invoke(broker_url, "drop", event["id"], answer="n\n")
    assert (refused.exit_code, listed(broker_url)) == (1, [event])
    dropped = invoke(broker_url, "drop", "--all", "--reason", "undecodable", "--yes")
    assert (dropped.exit_code, dropped.stdout) == (0, "Dropped 1 of 1 parked messages.\n"), dropped.stderr
    assert listed(broker_url) == []
    assert invoke(broker_url, "list").stdout == "No message is parked.\n"


def test_drop_that_is_agreed_to_throws_away(broker_url: str) -> None:
    """Without --yes it asks, with the number."""
    park(broker_url, "events.bounce", Outgoing(EVENTS, "bounce", b"\xff"), "undecodable")
    agreed = invoke(broker_url, "drop", "--all", answer="y\n")
    assert agreed.exit_code == 0, agreed.stderr
    assert "Throw 1 parked messages away" in agreed.stdout
    assert listed(broker_url) == []


def test_parked_says_what_it_was_not_given(broker_url: str) -> None:
    """No id and no --all, both, or an id that is not there: a sentence, no traceback, and nothing done."""
    assert invoke(broker_url, "retry").exit_code == 2
    assert invoke(broker_url, "drop", "--all", "abc", "--yes").exit_code == 2
    for words in (("retry", "abc"), ("show", "abc"), ("drop", "abc", "--yes")):
        result = invoke(broker_url, *words)
        assert result.exit_code == 1
        assert "abc" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "set HAYABIN_BROKER_URL"),
        ("amqp://guest:secret@127.0.0.1:1/", "cannot be had"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be had"),
        ("http://127.0.0.1/", "must begin with amqp://"),
    ],
)
def test_parked_without_a_belt_says_so(url: str | None, says: str) -> None:
    """Unset, away or of another kind: a sentence that says what to do, without the password."""
    environment = {name: value for name, value in os.environ.items() if name != "HAYABIN_BROKER_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "services.api.main", "parked", "list"],
        env=environment if url is None else {**environment, "HAYABIN_BROKER_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_look_at_more_than_the_limit_says_that_there_are_more(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody believes to have seen everything."""
    for _ in range(3):
        park(database_url, "events.bounce", Outgoing(EVENTS, "bounce", b"\xff"), "undecodable")
    monkeypatch.setattr("hayabin.broker.embedded_parked.PARKED_LIMIT", 2)
    result = invoke(database_url, "list")
    assert len(result.stdout.splitlines()) == 2
    assert "about 1 more" in result.stderr


def parked_of(queue: str, body: bytes) -> Parked:
    """A parked message with this body."""
    return Parked("id", queue, "reason", "", None, len(body), {}, body)


def test_content_of_our_messages_is_shown_without_personal_data() -> None:
    """Ids and sizes are shown; mails, addresses and what a browser says of a person are not."""
    batch = readable(parked_of("dispatch.main.gmail", BATCH))
    assert batch["mails"] == [
        {
            "message_id": 11,
            "return_path_hash": address_hash("b+sig@r.example"),
            "recipient_hash": address_hash("taro@example.jp"),
            "content_size_bytes": 9,
        }
    ]
    events = readable(parked_of("events.bounce", EVENTS_BODY))
    assert events["events"][0]["bounce"]["content_size_bytes"] == 6
    assert events["events"][1]["engagement"]["kind"] == "ENGAGEMENT_KIND_CLICK"
    said = json.dumps([batch, events])
    for personal in ("taro", "Taro", "Dear", "secret", "192.0.2.7", "phone"):
        assert personal not in said


@given(st.sampled_from(["render.bulk", "dispatch.main.gmail", "events.bounce", "strange", ""]), st.binary(max_size=200))
def test_content_of_any_bytes_is_shown_or_said_to_be_undecodable(queue: str, body: bytes) -> None:
    """Whatever was published, the operator gets JSON."""
    assert json.loads(json.dumps(readable(parked_of(queue, body))))["kind"]


@given(st.text(max_size=30), st.from_regex(r"[a-z0-9.+_-]{1,20}", fullmatch=True))
def test_addresses_in_free_text_are_replaced(text: str, local: str) -> None:
    """The detail of a failure may quote an address; it is not shown."""
    for quoted in (
        f"<{local}@example.jp>",
        f"'{local}@example.jp'",
        f"rcpt={local}@example.jp,",
        f"{local}@example.jp",
    ):
        assert f"{local}@example.jp" not in without_addresses(f"{text} {quoted} {text}")
