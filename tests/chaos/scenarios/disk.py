"""Room: a full disk under PostgreSQL, a full disk and alarms under RabbitMQ.

10. The API says 503 with the reason, nothing is lost, and it goes on when there is room again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.chaos.scenario import Result, Scale, Skipped, clock_s, finished
from tests.chaos.world import ChaosWorld
from tests.support.small_disk import SmallDisk

TOLD_WITHIN_S = 30.0
ASK_EVERY_S = 1.5
DRAFTS = 60
PEOPLE_OF_DRAFT = 50
Draft = tuple[int, frozenset[str]]
LEFT_BYTES = 8 * 2**20
"""Less than the broker wants to be free."""


@dataclass(frozen=True, slots=True)
class Disks:
    """The small disks of a world."""

    postgres: SmallDisk
    rabbitmq: SmallDisk


async def database_disk_full(world: ChaosWorld, scale: Scale) -> Result:
    """The disk under PostgreSQL fills up in the middle of a run."""
    disks = _disks(world)
    drafts = [await world.campaign(PEOPLE_OF_DRAFT) for _ in range(DRAFTS)]
    campaign = await world.launch(scale.fewer)
    await world.taken(campaign, 0.2)
    disks.postgres.fill()
    told = await _told(world, drafts, {"storage-full", "unavailable"})
    disks.postgres.free()
    if not world.postgres.running:  # it ends by itself where no WAL can be written; a cluster starts it again
        await asyncio.to_thread(world.postgres.start)
    result = await finished(world, "disk full under PostgreSQL", [campaign, *world.taken_also()])
    result.hold("the API answers 503 with the reason", holds=told in {"storage-full", "unavailable"}, but=told)
    result.more["told"] = told
    return result


async def belt_full(world: ChaosWorld, scale: Scale) -> Result:
    """The disk under RabbitMQ fills up to its limit; then its memory alarm; then, in the full run, to the last byte."""
    disks = _disks(world)
    drafts = [await world.campaign(PEOPLE_OF_DRAFT) for _ in range(DRAFTS)]
    ids = [await world.launch(scale.fewer)]
    told = {}
    told["disk alarm"] = await _told(
        world, drafts, {"belt-unavailable"}, lambda: disks.rabbitmq.fill(leave_bytes=LEFT_BYTES)
    )
    disks.rabbitmq.free()
    ids.append(await world.launch(scale.small))  # the client asks again until it is taken on
    await asyncio.to_thread(world.rabbitmq.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        told["memory alarm"] = await _told(world, drafts, {"belt-unavailable"})
    finally:
        await asyncio.to_thread(world.rabbitmq.control, "set_vm_memory_high_watermark", "0.4")
    if not scale.short:
        ids.append(await world.launch(scale.small))
        disks.rabbitmq.fill()
        told["disk full"] = await _told(world, drafts, {"belt-unavailable"})
        disks.rabbitmq.free()
        await asyncio.to_thread(world.rabbitmq.kill)  # its log of queues does not come back without: see the runbook
        await asyncio.to_thread(world.rabbitmq.start)
    result = await finished(world, "RabbitMQ: disk alarm, memory alarm, disk full", [*ids, *world.taken_also()])
    result.more["told"] = told
    wrong = {name: word for name, word in told.items() if word != "belt-unavailable"}
    result.hold("the API answers 503 with the reason", holds=not wrong, but=wrong)
    return result


def _disks(world: ChaosWorld) -> Disks:
    """The small disks.

    Raises: Skipped where there are none.
    """
    if world.disks is None:
        raise Skipped("nothing can be mounted here, so there is no small disk to fill")
    disks: Disks = world.disks
    return disks


async def _told(
    world: ChaosWorld, drafts: list[Draft], words: set[str], press: Callable[[], None] = lambda: None
) -> str:
    """Ask for launches until an answer is 503 for one of these reasons; gives the last answer's kind.

    ``press`` is done before each, as a server makes room by removing what it need not keep. A draft that is launched all the same is one more campaign that has to be through.
    """
    end_s = clock_s() + TOLD_WITHIN_S
    kind = ""
    async with httpx.AsyncClient(base_url=world.fleet.urls("api")[0], timeout=40) as client:
        while clock_s() < end_s and kind not in words:
            await asyncio.sleep(ASK_EVERY_S)
            press()
            campaign, addresses = drafts[-1]
            answer = await client.post(
                f"/v1/campaigns/{campaign}/launch",
                json={"allow_unverified_domain": True},
                headers={"Authorization": f"Bearer {world.key}", "Idempotency-Key": f"told-{campaign}"},
            )
            if answer.status_code == 200:
                kind = "launched"
                world.remember(campaign, addresses)
                world.also.append(campaign)
                drafts.pop()
                continue
            kind = answer.json().get("type", "").rpartition("/")[2]
            if answer.status_code == 503 and "retry-after" not in answer.headers:
                kind = "503 without Retry-After"
    return kind
