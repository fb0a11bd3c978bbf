"""What a dispatcher asks of the ledger, by its own gate and outcome writer, without the SMTP between them.

``CONNECTIONS`` tasks stand for SMTP connections: each claims a group of as many mails as a connection of production
does at the most, of one destination of ``DESTINATIONS``, whose mails stand so many rows apart in the ledger. The gate
and the outcome writer gather them as they do in production, so the statements have the sizes that they have there. Each
outcome has an attempt and a transcript, as by default.
Units: seconds; mails a second.
Fails: SystemExit where the gate refuses a mail that is due, or an outcome is not taken.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.ledger_parts.fill import BOUNCED_EVERY
from hayabin.database.engine import Pool, open_pool
from hayabin.database.installation import Watch
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from services.dispatcher.carrier import MAX_GROUP
from services.dispatcher.gate import Gate, stop
from services.dispatcher.outcomes import OutcomeWriter, Report

CONNECTIONS = 32
DESTINATIONS = 40
AHEAD = 2_000
"""So many mails of a campaign are on the way at a time, so groups are made of rows that are no further apart."""
_POOL = 8
_OWNER = "bench-dispatcher"
SAID = """connected 192.0.2.10 -> 198.51.100.25:25 mx.d1.example TLSv1.3, mail 17 of the connection
C: MAIL FROM:<b-0123456789abcdef0123456789@bounce.hayabin.example> BODY=8BITMIME SIZE=20480
C: RCPT TO:<somebody@d1.example>
C: DATA
S: 250 2.1.0 Ok
S: 250 2.1.5 Ok
S: 354 End data with <CR><LF>.<CR><LF>
C: (20480 bytes of content)
S: 250 2.0.0 Ok: queued as 4bK2mD6Q8Tz3"""


@dataclass(frozen=True, slots=True)
class Dispatching:
    """A gate and an outcome writer that run."""

    gate: Gate
    writer: OutcomeWriter

    async def claim(self, ids: Sequence[int]) -> None:
        """Have a group let through."""
        granted = await self.gate.claim([(message_id, 0) for message_id in ids])
        if len(granted) < len(ids):
            raise SystemExit(f"the gate let {len(granted)} of {len(ids)} mails through that were due")

    async def settle(self, ids: Sequence[int]) -> None:
        """Have the outcomes of a group written; returns after the commit."""
        written = asyncio.Event()
        left = len(ids)

        def done() -> None:
            nonlocal left
            left -= 1
            if not left:
                written.set()

        await self.writer.room()
        for message_id in ids:
            self.writer.put(Report(outcome(message_id), "other", suppress=False, done=done, said=lambda: SAID))
        await written.wait()

    async def carry(self, ids: Sequence[int]) -> None:
        """Claim a group and settle it."""
        await self.claim(ids)
        await self.settle(ids)


@asynccontextmanager
async def dispatching(url: str) -> AsyncIterator[Dispatching]:
    """Run the gate and the outcome writer of a dispatcher on that database, with its pool."""
    pool: Pool = await open_pool(url, name="bench-dispatcher", size=_POOL, look_ups=True)
    watch = Watch()
    await watch.read(pool)
    async with AsyncExitStack() as warm:  # a dispatcher at work has its connections
        for _ in range(_POOL):
            await warm.enter_async_context(pool.acquire())
    gate, writer = Gate(pool, _OWNER, watch), OutcomeWriter(pool, clock=watch.clock)
    tasks = [asyncio.create_task(gate.run()), asyncio.create_task(writer.run())]
    try:
        yield Dispatching(gate, writer)
    finally:
        for task in tasks:
            await stop(task)
        await pool.close()  # what the sessions counted is in the statistics then


async def rate(step: Callable[[Sequence[int]], Awaitable[None]], ids: Sequence[int]) -> float:
    """Have a step done for all of it, group by group; returns mails a second."""
    waiting = iter(groups(ids))

    async def connection() -> None:
        for group in waiting:
            await step(group)

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as connections:
        for _ in range(CONNECTIONS):
            connections.create_task(connection())
    return len(ids) / (time.monotonic() - began_s)


def groups(ids: Sequence[int]) -> list[Sequence[int]]:
    """Give the mails as connections take them: of one destination each, out of ``AHEAD`` at a time."""
    found: list[Sequence[int]] = []
    for first in range(0, len(ids), AHEAD):
        ahead = ids[first : first + AHEAD]
        for destination in range(DESTINATIONS):
            mails = ahead[destination::DESTINATIONS]
            found += [mails[at : at + MAX_GROUP] for at in range(0, len(mails), MAX_GROUP)]
    return found


def outcome(message_id: int) -> Outcome:
    """Give what a mail came to."""
    bounced = message_id % BOUNCED_EVERY == 0
    return Outcome(
        message_id=message_id,
        attempt=1,
        state=MessageState.BOUNCED if bounced else MessageState.ACCEPTED,
        reason="user_unknown" if bounced else None,
        phase="end_of_data",
        code=550 if bounced else 250,
        enhanced="5.1.1" if bounced else "2.0.0",
        reply="No such user" if bounced else "Ok: queued as 4bK2mD6Q8Tz3",
        source_ip="192.0.2.10",
        mx="mx.d1.example",
        lane="example",
        tls=True,
        duration_ms=212,
        address="198.51.100.25",
        tls_version="TLSv1.3",
        tls_policy="opportunistic",
        tls_result="unverified",
    )
