"""``hayabin parked``: the messages that were set aside; talks to the belt of HAYABIN_BROKER_URL.

Promises: nothing is lost by looking; a message that is tried again is on its queue before it leaves the parked ones.
One call sees the oldest ``PARKED_LIMIT`` messages and says where there are more.
Fails: with exit code 1 and a sentence that says what to do, never a traceback, where the belt cannot be had.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from logging import CRITICAL, getLogger
from typing import Any, TypeVar

import asyncpg
import click
from pydantic import ValidationError

from hayabin.broker import Broker, Parked, PublishFailed, connect
from hayabin.broker.interface import PARKED_LIMIT
from hayabin.broker.topology import PARKED_QUEUE
from hayabin.settings import BrokerSettings
from hayabin.telemetry.logging import setup
from services.api.parked_content import readable, without_addresses

T = TypeVar("T")
DETAIL_CHARS = 60


def on_belt(work: Callable[[Broker], Awaitable[T]]) -> T:
    """Do some work on a connection to the belt.

    Raises: ClickException where the belt cannot be had.
    """
    try:
        url = BrokerSettings().broker_url.get_secret_value()
    except ValidationError as error:
        raise click.ClickException("set HAYABIN_BROKER_URL, such as amqp://user:password@host/") from error

    setup("parked", "command", "WARNING")  # to stderr, so that --json is clean
    getLogger("aiormq").setLevel(CRITICAL)  # it logs a traceback for a server that is away, which we say in a sentence

    async def run() -> T:
        try:
            async with connect(url, name="hayabin parked") as broker:
                return await work(broker)
        except PublishFailed as error:
            raise click.ClickException(f"the belt did not take them back, try again: {error}") from error
        except asyncpg.UndefinedTableError as error:
            raise click.ClickException("the database has no schema: run `hayabin admin migrate`") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise click.ClickException(f"the belt of HAYABIN_BROKER_URL cannot be had: {error!r}") from error
        except ValueError as error:  # the URL's
            raise click.ClickException(str(error)) from error

    return asyncio.run(run())


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the parked messages are meant."""

    ids: tuple[str, ...] = ()
    every: bool = False
    queue: str | None = None
    reason: str | None = None

    def check(self) -> None:
        """Have the operator say what is meant.

        Raises: UsageError.
        """
        if bool(self.ids) == self.every:
            raise click.UsageError("name the messages by their ids, or say --all (with --queue, --reason to narrow it)")

    def includes(self, parked: Parked) -> bool:
        """Whether the message is meant."""
        named = self.every or parked.id in self.ids
        return named and self.queue in (None, parked.queue) and self.reason in (None, parked.reason)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look saw."""

    chosen: list[Parked]
    seen: int
    waiting: int

    def say_what_is_beyond(self) -> None:
        """Tell on stderr that there are more than were looked at, so that output for programs stays clean."""
        beyond = self.waiting - self.seen
        if beyond > 0:
            click.echo(
                f"Looked at the oldest {self.seen} parked messages; about {beyond} more stand behind them. "
                "Retry or drop those in front, then ask again.",
                err=True,
            )


async def _look(broker: Broker, choice: Choice) -> Sight:
    waiting = (await broker.depth([PARKED_QUEUE]))[PARKED_QUEUE]
    seen = await broker.parked(PARKED_LIMIT)
    return Sight([parked for parked in seen if choice.includes(parked)], len(seen), waiting)


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its ways to say which messages."""
    for decorate in (
        click.option("--reason", help="Only those parked for this reason, such as undecodable."),
        click.option("--queue", help="Only those that came from this queue, such as render.bulk."),
        click.option("--all", "every", is_flag=True, help=f"All of the oldest {PARKED_LIMIT}."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = decorate(command)
    return command


@click.group()
def parked() -> None:
    """Messages that were set aside because no service could work on them.

    Look with `list` and `show`, take away the cause (finish a rollout, roll a bug back), then `retry`. `drop` only what
    can never be worked on: a dropped event is missing from reports and suppressions for good. Chunks and mail batches
    are fed again from the ledger, so dropping those loses no mail.
    """


@parked.command("list")
@click.option("--queue", help="Only those that came from this queue, such as render.bulk.")
@click.option("--reason", help="Only those parked for this reason, such as undecodable.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array, for programs.")
def list_parked(queue: str | None, reason: str | None, *, as_json: bool) -> None:
    """List the oldest parked messages, which stay parked."""
    sight = on_belt(lambda broker: _look(broker, Choice(every=True, queue=queue, reason=reason)))
    if as_json:
        click.echo(json.dumps([_about(one) for one in sight.chosen], indent=2))
    elif not sight.chosen:
        click.echo("No message is parked." if not sight.seen else "No parked message is like that.")
    else:
        for one in sight.chosen:
            about = _about(one)
            when = about["parked_at"] or "unknown time"
            detail = about["detail"][:DETAIL_CHARS]
            click.echo(f"{one.id}  {when}  {one.queue}  {one.reason}  {one.size_bytes} bytes  {detail}".rstrip())
        click.echo("Next: hayabin parked show ID, then hayabin parked retry ID", err=True)
    sight.say_what_is_beyond()


@parked.command()
@click.argument("id_", metavar="ID")
def show(id_: str) -> None:
    """Show one message as JSON: no mail, and addresses only as hashes."""
    sight = on_belt(lambda broker: _look(broker, Choice(ids=(id_,))))
    sight.say_what_is_beyond()
    if not sight.chosen:
        raise click.ClickException(f"no parked message has the id {id_}: `hayabin parked list`")
    one = sight.chosen[0]
    headers = {without_addresses(name): without_addresses(value) for name, value in one.headers.items()}
    click.echo(json.dumps({**_about(one), "headers": headers, "content": readable(one)}, indent=2))


@parked.command()
@_chosen
def retry(ids: tuple[str, ...], queue: str | None, reason: str | None, *, every: bool) -> None:
    """Put messages back on the queue that they came from, where they are delivered again.

    A message whose cause is still there is parked again, with a new id. One that is tried again while this command is
    killed may be delivered twice, which all services bear.
    """
    _do(Choice(ids, every, queue, reason), "Put back", lambda broker, chosen: broker.retry_parked(chosen))


@parked.command()
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(ids: tuple[str, ...], queue: str | None, reason: str | None, *, every: bool, yes: bool) -> None:
    """Throw messages away for good."""
    choice = Choice(ids, every, queue, reason)
    choice.check()
    if not yes:
        agreed = [one.id for one in on_belt(lambda broker: _look(broker, choice)).chosen]
        if agreed:
            click.confirm(f"Throw {len(agreed)} parked messages away for good?", abort=True)
            choice = Choice(tuple(agreed))  # and no other that comes meanwhile
    _do(choice, "Dropped", lambda broker, chosen: broker.drop_parked(chosen))


def _do(choice: Choice, done: str, act: Callable[[Broker, set[str]], Awaitable[int]]) -> None:
    choice.check()

    async def work(broker: Broker) -> tuple[Sight, int]:
        sight = await _look(broker, choice)
        return sight, await act(broker, {one.id for one in sight.chosen}) if sight.chosen else 0

    sight, count = on_belt(work)
    click.echo(f"{done} {count} of {len(sight.chosen)} parked messages.")
    sight.say_what_is_beyond()
    unknown = set(choice.ids) - {one.id for one in sight.chosen}
    if unknown:
        raise click.ClickException(f"no such parked message: {', '.join(sorted(unknown))}")
    if count < len(sight.chosen):
        raise click.ClickException("the others stay parked: the log lines above say why, or somebody else took them")


def _about(one: Parked) -> dict[str, Any]:
    return {
        "id": one.id,
        "queue": one.queue,
        "reason": one.reason,
        "detail": without_addresses(one.detail),
        "parked_at": one.parked_at.isoformat() if one.parked_at else None,
        "size_bytes": one.size_bytes,
    }
