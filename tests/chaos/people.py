"""What recipients and their servers do while things break: open, click, unsubscribe, return mail, complain.

Promises: each act says whether the service confirmed it; only what was confirmed may be asked for afterwards.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiosmtplib
import httpx

from hayabin.domain.token import UnsubscribeClaim
from hayabin.domain.verp import issue_return_path
from tests.chaos.world import ChaosWorld
from tests.support.returned_mail import complaint, dsn

RETURN_PATH_DOMAIN = "bounce.hayabin.example"
PROMPT_S = 0.4
"""The tracker answers after half a second whether the belt has the event or not; what it answers sooner is there."""


@dataclass(slots=True)
class Acts:
    """What was confirmed, by message id."""

    opened: set[int] = field(default_factory=set)
    unsubscribed: dict[int, float] = field(default_factory=dict)  # when the answer came (Unix time)
    returned: set[int] = field(default_factory=set)
    sent_back: set[int] = field(default_factory=set)  # confirmed or not: it may have an effect
    complained: set[int] = field(default_factory=set)


async def open_mail(world: ChaosWorld, message_id: int, acts: Acts) -> None:
    """Load the pixel of a mail."""
    token = world.ring.issue_tracking(message_id)
    begun_s = asyncio.get_running_loop().time()
    answer = await _tracker(world, "GET", f"/o/{token}")
    if answer is not None and answer.status_code == 200 and asyncio.get_running_loop().time() - begun_s < PROMPT_S:
        acts.opened.add(message_id)


async def unsubscribe(world: ChaosWorld, claim: UnsubscribeClaim, at: float, acts: Acts) -> None:
    """POST what RFC 8058 says, until it is confirmed."""
    token = world.ring.issue_unsubscribe(claim)
    for _ in range(50):
        answer = await _tracker(world, "POST", f"/u/{token}", data={"List-Unsubscribe": "One-Click"})
        if answer is not None and answer.status_code == 200:
            acts.unsubscribed[claim.message_id] = at
            return
        await asyncio.sleep(0.2)


async def _tracker(
    world: ChaosWorld, method: str, path: str, data: dict[str, str] | None = None
) -> httpx.Response | None:
    async with httpx.AsyncClient(base_url=world.random.choice(world.fleet.urls("tracker")), timeout=10) as client:
        with contextlib.suppress(httpx.HTTPError):
            return await client.request(method, path, data=data)
    return None


async def give_back(world: ChaosWorld, message_id: int, acts: Acts, *, times: int = 1) -> None:
    """Return a mail by a failure report, as often as asked; confirmed where one of them was taken."""
    to = issue_return_path(message_id, 1, world.ring, RETURN_PATH_DOMAIN)
    acts.sent_back.add(message_id)
    for _ in range(times):
        if await _deliver(world, to, dsn(to)):
            acts.returned.add(message_id)


async def complain(world: ChaosWorld, message_id: int, acts: Acts, *, times: int = 1) -> None:
    """Report a mail as spam."""
    of = issue_return_path(message_id, 1, world.ring, RETURN_PATH_DOMAIN)
    for _ in range(times):
        if await _deliver(world, f"fbl@{RETURN_PATH_DOMAIN}", complaint(of)):
            acts.complained.add(message_id)


async def _deliver(world: ChaosWorld, to: str, content: str) -> bool:
    replica = world.random.choice(world.fleet.of("bounce"))
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=int(replica.variables["bounce_port"]), start_tls=False, timeout=10
    )
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with client:
            await client.ehlo()
            await client.mail("")
            await client.rcpt(to)
            return (await client.data(content.encode())).code == 250
    return False


async def act_for_ever(world: ChaosWorld, campaign_id: int, acts: Acts) -> None:
    """Let recipients of a campaign open mails, and their servers return a few, until cancelled."""
    done: set[int] = set()
    while True:
        rows = await world.query(
            "SELECT id FROM messages WHERE campaign_id = $1 AND state = 'accepted' ORDER BY changed_at DESC LIMIT 50",
            campaign_id,
        )
        fresh = [row["id"] for row in rows if row["id"] not in done]
        for message_id in fresh[:5]:
            done.add(message_id)
            if message_id % 7 == 0:
                await give_back(world, message_id, acts)
            else:
                await open_mail(world, message_id, acts)
        await asyncio.sleep(0.05)


async def missing(world: ChaosWorld, acts: Acts, *, within_s: float = 20.0) -> dict[str, int]:
    """Count confirmed acts that have no effect in the database after a while."""
    end_s = asyncio.get_running_loop().time() + within_s
    while True:
        left = {
            "opened": await _without(
                world, acts.opened, "SELECT message_id AS id FROM engagements WHERE kind = 'open'"
            ),
            "returned": await _without(world, acts.returned, "SELECT id FROM messages WHERE state = 'bounced'"),
            "complained": await _without(world, acts.complained, "SELECT id FROM messages WHERE state = 'complained'"),
        }
        if not any(left.values()) or asyncio.get_running_loop().time() > end_s:
            return left
        await asyncio.sleep(0.5)


async def _without(world: ChaosWorld, ids: Sequence[int] | set[int], sql: str) -> int:
    found = {row["id"] for row in await world.query(f"SELECT id FROM ({sql}) f WHERE id = ANY($1)", list(ids))}
    return len(set(ids) - found)
