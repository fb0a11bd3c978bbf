"""Static links: from a message to the destinations in the template version of its campaign.

Promises: message → campaign and campaign → links are immutable after the launch, so both are kept, the least recently
used ones forgotten.
Fails: ``None`` for a message, campaign or link that does not exist; database errors as they are.
"""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from hayabin.content.compiled import CompiledTemplate
from hayabin.database.engine import Pool
from hayabin.telemetry.logging import get_logger

MAX_MESSAGES: Final = 50_000
MAX_CAMPAIGNS: Final = 256

_CAMPAIGN_SQL = "SELECT campaign_id FROM recipients WHERE message_id = $1"
_COMPILED_SQL = """
SELECT v.compiled FROM campaigns c JOIN template_versions v ON v.id = c.template_version_id WHERE c.id = $1"""
_BIGINT_MAX = 2**63 - 1

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


class Links:
    """Looks destinations up."""

    def __init__(self, pool: Pool) -> None:
        """Read by ``pool``."""
        self._pool = pool
        self._campaigns: Kept[int] = Kept(MAX_MESSAGES)
        self._urls: Kept[tuple[str | None, ...]] = Kept(MAX_CAMPAIGNS)

    async def url(self, message_id: int, link: int) -> str | None:
        """The URL of static link number ``link`` in the template of the message's campaign."""
        campaign_id = await self._campaign(message_id)
        if campaign_id is None:
            return None
        urls = self._urls.get(campaign_id) or self._urls.put(campaign_id, await self._load(campaign_id))
        return urls[link] if link < len(urls) else None

    async def _campaign(self, message_id: int) -> int | None:
        if message_id > _BIGINT_MAX:
            return None
        kept = self._campaigns.get(message_id)
        if kept is not None:
            return kept
        found: int | None = await self._pool.fetchval(_CAMPAIGN_SQL, message_id)
        return None if found is None else self._campaigns.put(message_id, found)

    async def _load(self, campaign_id: int) -> tuple[str | None, ...]:
        """The URL of each link by its number; None for a dynamic one, whose destination comes with a MAC."""
        compiled = await self._pool.fetchval(_COMPILED_SQL, campaign_id)
        try:
            template = CompiledTemplate.from_json(compiled)
        except ValueError as error:
            get_logger().error("template_unreadable", campaign_id=campaign_id, error=str(error))
            return ()
        return tuple(None if link.dynamic else link.url for link in template.links)
