"""What people ask of the API while a campaign is sent: its own route functions, on a connection of its own pool.

HTTP, authentication and JSON are left out: they do not depend on the ledger.
Units: milliseconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.engine_parts.exactness import percentile
from benchmarks.ledger_parts.fill import Filled
from hayabin.database.engine import Connection, open_pool
from hayabin.domain.message import MessageState
from services.api.access import Principal, Scope
from services.api.routes import campaign_reports, messages

_PAUSE_S = 0.005
_PAGE = 100

Question = Callable[[Connection], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """How long the answers to each question took."""

    times_ms: dict[str, list[float]]

    def summary(self) -> dict[str, dict[str, float]]:
        """The median, the 99th percentile and how often, of each."""
        return {
            name: {
                "p50_ms": round(percentile(times, 50), 2),
                "p99_ms": round(percentile(times, 99), 2),
                "asked": len(times),
            }
            for name, times in self.times_ms.items()
            if times
        }


def questions(filled: Filled) -> dict[str, Question]:
    """The common ones: a campaign's counters, a page of its messages, those in a state, and one message."""
    campaign_id = filled.seeded.campaign_id
    who = Principal(filled.seeded.tenant_id, 0, frozenset(Scope))
    middle = filled.ids[len(filled.ids) // 2]
    past = filled.last_past_id or campaign_id
    return {
        "stats": lambda db: campaign_reports.stats(db, who, campaign_id),
        "messages_of_campaign": lambda db: campaign_reports.messages(db, who, campaign_id, limit=_PAGE),
        "messages_accepted": lambda db: campaign_reports.messages(
            db, who, campaign_id, limit=_PAGE, state=MessageState.ACCEPTED
        ),
        "messages_bounced_of_past": lambda db: messages.listed(
            db, who, limit=_PAGE, state=MessageState.BOUNCED, campaign_id=past
        ),
        "message": lambda db: messages.get(db, who, middle),
    }


async def ask_until(url: str, filled: Filled, sent: asyncio.Event) -> Asked:
    """Ask one after the other, with a short pause, until everything is sent."""
    asked = questions(filled)
    times: dict[str, list[float]] = {name: [] for name in asked}
    pool = await open_pool(url, name="bench-api", size=1)
    async with pool.acquire() as connection:
        while not sent.is_set():
            for name, question in asked.items():
                began_s = time.monotonic()
                await question(connection)
                times[name].append((time.monotonic() - began_s) * 1000)
                await asyncio.sleep(_PAUSE_S)
    await pool.close()
    return Asked(times)
