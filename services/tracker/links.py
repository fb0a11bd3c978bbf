"""Static links: from a message to the destinations in the template version of its campaign, as ready answers.

Promises: message → campaign and campaign → links are immutable after the launch, so both are kept, the least recently
used ones forgotten. Whatever number of messages is asked for, one statement at a time looks them up.
Fails: no answers for a message or campaign that does not exist; database errors as they are.
"""

import asyncio
from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

from hayabin.content.compiled import CompiledTemplate
from hayabin.database.engine import Connection, Pool
from hayabin.database.lending import borrowed
from hayabin.telemetry.logging import get_logger
from services.tracker.answers import Ready, redirect
from services.tracker.destination import to_location

MAX_MESSAGES: Final = 50_000
MAX_CAMPAIGNS: Final = 256

MAX_LOOKED_UP: Final = 500
WINDOW_S: Final = 0.005
"""How long a look-up gathers: nobody sees it in a click, and a statement for each would be half of its cost."""

_CAMPAIGNS_SQL = """
SELECT r.message_id, r.campaign_id FROM unnest($1::bigint[]) AS a(id)
CROSS JOIN LATERAL (SELECT message_id, campaign_id FROM recipients WHERE message_id = a.id OFFSET 0) r"""
_COMPILED_SQL = """
SELECT v.compiled FROM campaigns c JOIN template_versions v ON v.id = c.template_version_id WHERE c.id = $1"""
_BIGINT_MAX = 2**63 - 1

Answers = tuple[Ready | None, ...]
V = TypeVar("V")


class Kept(Generic[V]):
    """Values by id, at most ``size`` of them; the least recently used one goes first."""

    def __init__(self, size: int) -> None:
        """Begin with none."""
        self._size = size
        self._values: OrderedDict[int, V] = OrderedDict()

    def get(self, key: int) -> V | None:
        """The value, if it is kept."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: int, value: V) -> V:
        """Keep a value, and return it."""
        self._values[key] = value
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value


class _Asked(NamedTuple):
    message_id: int
    found: asyncio.Future[Answers]
    until_s: float


class Links:
    """Looks destinations up."""

    def __init__(self, pool: Pool, within_s: float) -> None:
        """Read by ``pool``; who asks is answered, or told so, ``within_s``."""
        self._pool = pool
        self._within_s = within_s
        self._campaigns: Kept[int] = Kept(MAX_MESSAGES)
        self._answers: Kept[Answers] = Kept(MAX_CAMPAIGNS)
        self._asked: list[_Asked] = []
        self._looking: asyncio.Task[None] | None = None

    def kept(self, message_id: int) -> Answers | None:
        """Answers by the number of the link, where they are known already."""
        campaign_id = self._campaigns.get(message_id)
        return None if campaign_id is None else self._answers.get(campaign_id)

    async def look_up(self, message_id: int) -> Answers:
        """Answers by number: redirects, None where a link leads nowhere; no answers for a message that is not ours."""
        if message_id > _BIGINT_MAX:
            return ()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Answers] = loop.create_future()
        self._asked.append(_Asked(message_id, found, loop.time() + self._within_s))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await found

    async def _look(self) -> None:
        """Look up what was asked; what is asked while one statement is under way gathers for the next one."""
        while self._asked:
            await asyncio.sleep(WINDOW_S)
            asked, self._asked = self._asked[:MAX_LOOKED_UP], self._asked[MAX_LOOKED_UP:]
            try:
                answers = await self._find([one.message_id for one in asked], asked[0].until_s)
            except Exception as error:  # noqa: BLE001 - each of those who asked says what it means
                for one in asked:
                    if not one.found.done():
                        one.found.set_exception(error)
            else:
                for one in asked:
                    if not one.found.done():
                        one.found.set_result(answers.get(one.message_id, ()))

    async def _find(self, message_ids: list[int], until_s: float) -> dict[int, Answers]:
        """Give the answers of messages, as long as who asked first can wait: a time-out for each would cost more."""
        clock = asyncio.get_running_loop().time
        answers: dict[int, Answers] = {}
        left_s = max(0.0, until_s - clock())
        async with borrowed(self._pool, wait_s=left_s, within_s=left_s) as loan:
            loan.allow(max(0.0, until_s - clock()))
            for row in await loan.connection.fetch(_CAMPAIGNS_SQL, message_ids):
                message_id, campaign_id = row["message_id"], row["campaign_id"]
                found = self._answers.get(campaign_id)
                if found is None:
                    found = self._answers.put(campaign_id, await _load(loan.connection, campaign_id))
                self._campaigns.put(message_id, campaign_id)
                answers[message_id] = found
        return answers


async def _load(connection: Connection, campaign_id: int) -> Answers:
    """A dynamic link has no answer here: its destination comes with a MAC."""
    compiled = await connection.fetchval(_COMPILED_SQL, campaign_id)
    try:
        template = CompiledTemplate.from_json(compiled)
    except ValueError as error:
        get_logger().error("template_unreadable", campaign_id=campaign_id, error=str(error))
        return ()
    locations = [None if link.dynamic else to_location(link.url) for link in template.links]
    return tuple(None if location is None else redirect(location) for location in locations)
